//! The crates that are linked into the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::target::Target;

/// The daemon's package.
pub const ROOT: &str = "observer-userspace";

/// A crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as its manifest tells it.
    pub licence: Option<String>,
    /// The folder of its manifest.
    pub folder: PathBuf,
    /// SHA-256 of its package in the registry; none of ours.
    pub checksum: Option<String>,
    /// Names and versions of those that it uses itself.
    pub uses: BTreeSet<(String, String)>,
}

/// The daemon's crate and all that is linked with it, in the order of their names.
/// cargo's tree knows what is (features of this one package, no build scripts, no
/// macros), its metadata the rest.
pub fn linked(target: Target) -> Result<Vec<Crate>> {
    let mut tree = crate::cargo::command();
    tree.args([
        "tree",
        "--locked",
        "--package",
        ROOT,
        "--target",
        target.triple(),
    ]);
    tree.args([
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let tree = linked_names(&output(&mut tree)?);
    let mut metadata = crate::cargo::command();
    metadata.args(["metadata", "--locked", "--format-version=1"]);
    metadata.args(["--filter-platform", target.triple()]);
    let metadata = serde_json::from_str(&output(&mut metadata)?)?;
    let lock = crate::checkout().join("Cargo.lock");
    let lock = std::fs::read_to_string(lock).context("cannot read Cargo.lock")?;
    let crates = read(&metadata, &tree, &checksums(&lock)).context("cargo's metadata")?;
    ensure!(
        crates.len() == tree.len(),
        "cargo's tree has {} crates, its metadata {} of them",
        tree.len(),
        crates.len()
    );
    Ok(crates)
}

fn output(command: &mut Command) -> Result<String> {
    let out = command.output().context("cannot start cargo")?;
    ensure!(
        out.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Names and versions in lines like `aya v0.14.0 (*)`.
fn linked_names(tree: &str) -> BTreeSet<(String, String)> {
    let lines = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let version = words.next()?.strip_prefix('v')?;
        Some((name.to_owned(), version.to_owned()))
    });
    lines.collect()
}

/// The lock file's checksums, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |key: &str| {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            value.map(|value| value.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(sum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), sum);
        }
    }
    found
}

fn read(
    metadata: &Value,
    linked: &BTreeSet<(String, String)>,
    checksums: &BTreeMap<(String, String), String>,
) -> Option<Vec<Crate>> {
    let packages = metadata["packages"].as_array()?;
    let mut by_id = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        let key = (text("name")?, text("version")?);
        by_id.insert(package["id"].as_str()?, (key, package));
    }
    let mut crates = Vec::new();
    for node in metadata["resolve"]["nodes"].as_array()? {
        let (key, package) = by_id.get(node["id"].as_str()?)?;
        if !linked.contains(key) {
            continue;
        }
        let used = node["dependencies"].as_array()?.iter();
        let used = used.filter_map(|id| by_id.get(id.as_str()?));
        let manifest = PathBuf::from(package["manifest_path"].as_str()?);
        crates.push(Crate {
            name: key.0.clone(),
            version: key.1.clone(),
            licence: package["license"]
                .as_str()
                .map(|text| text.replace('/', " OR ")),
            folder: manifest.parent()?.to_path_buf(),
            checksum: checksums.get(key).cloned(),
            uses: used
                .map(|(key, _)| key.clone())
                .filter(|key| linked.contains(key))
                .collect(),
        });
    }
    crates.sort_unstable();
    Some(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that cargo's formats are read as they are: what is linked, what isn't
    /// (a macro, a build's help), and that each crate from a registry has its checksum.
    #[test]
    fn what_is_linked() {
        let crates = linked(Target::X86_64).expect("cargo tells");
        let find = |name: &str| crates.iter().find(|one| one.name == name);
        let daemon = find(ROOT).expect("the daemon");
        assert!(daemon.uses.iter().any(|(name, _)| name == "aya"));
        assert!(daemon.checksum.is_none());
        for name in ["aya", "ring", "mimalloc", "tokio"] {
            assert!(
                find(name).is_some_and(|one| one.checksum.is_some()),
                "{name}"
            );
        }
        for name in ["clap_derive", "cc", "rcgen", "observer-testkit"] {
            assert!(find(name).is_none(), "{name} isn't linked");
        }
        for one in &crates {
            let ours = one.name.starts_with("observer-");
            assert_eq!(one.checksum.is_none(), ours, "{}", one.name);
            assert!(one.licence.is_some(), "{} tells no licence", one.name);
        }
    }
}
