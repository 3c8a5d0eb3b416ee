//! The licences of all that is linked: most ask to be handed on with the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::crates::Crate;

/// How files with licences are called.
const NAMES: &[&str] = &["licen", "copying", "copyright", "notice", "unlicense"];

/// Licences of C parts, which lie deeper in their crates.
const DEEPER: &[(&str, &str)] = &[("libmimalloc-sys", "c_src/mimalloc/v3/LICENSE")];

/// What the toolchain adds.
const TOOLCHAIN: &str = "deploy/licences/toolchain.txt";

/// One text: each licence once, after the names of those that have it.
pub fn of(crates: &[Crate]) -> anyhow::Result<String> {
    let mut by_text: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = Vec::new();
    // Ours are in LICENSE.
    for one in crates.iter().filter(|one| one.checksum.is_some()) {
        let name = format!("{} {}", one.name, one.version);
        let texts = texts(one)?;
        if texts.is_empty() {
            let licence = one.licence.as_deref().unwrap_or("no licence");
            without.push(format!("{name}: {licence}"));
        }
        for text in texts {
            by_text.entry(text).or_default().insert(name.clone());
        }
    }
    let toolchain = std::fs::read_to_string(crate::checkout().join(TOOLCHAIN));
    let mut all = toolchain.with_context(|| format!("cannot read {TOOLCHAIN}"))?;
    let rule = "-".repeat(78);
    let mut sections: Vec<_> = by_text.into_iter().collect();
    sections.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
    for (text, names) in sections {
        let names: Vec<String> = names.into_iter().collect();
        let _ = write!(all, "\n{rule}\n{}\n{rule}\n\n{text}\n", names.join("\n"));
    }
    if !without.is_empty() {
        let _ = write!(
            all,
            "\n{rule}\nThese name their licence, and their packages have no text of it.\n{rule}\n\n{}\n",
            without.join("\n")
        );
    }
    Ok(all)
}

/// The texts in a crate's folder.
fn texts(one: &Crate) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let folder = &one.folder;
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase());
        let fits = name.is_some_and(|name| NAMES.iter().any(|start| name.starts_with(start)));
        if fits && path.is_file() && path.extension().is_none_or(|end| end != "rs") {
            found.insert(text(&path)?);
        }
    }
    for (_, deeper) in DEEPER.iter().filter(|(name, _)| *name == one.name) {
        found.insert(text(&folder.join(deeper))?);
    }
    Ok(found)
}

/// Without spaces at the ends of lines, in which some differ.
fn text(path: &Path) -> anyhow::Result<String> {
    let data = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let text = String::from_utf8_lossy(&data).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n").trim().to_owned())
}
