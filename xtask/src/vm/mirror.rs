//! Where this machine has Debian's packages from: the addresses of its own apt,
//! since none stands in the repository.

use std::path::Path;

use anyhow::{Context, Result};

/// Debian's keys, where its package puts them; also for entries that name none.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites of the archive that have kernels which are booted.
const SUITES: &[&str] = &[
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
];

/// Suites of the security archive that have them.
const SECURITY_SUITES: &[&str] = &["bookworm-security", "trixie-security"];

/// Names of Debian's releases, by which its archive is told from others'.
const RELEASES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "stable",
    "oldstable",
    "testing",
    "unstable",
];

/// What an entry of apt's sources says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suites: Vec<String>,
    keyring: Option<String>,
}

/// apt's list of the suites that have kernels, at the mirrors that this machine
/// uses.
///
/// # Errors
/// When it uses none of Debian's.
pub fn sources(etc_apt: &Path) -> Result<String> {
    let entries = read(etc_apt);
    let is_release = |suite: &String| RELEASES.contains(&suite.as_str());
    let is_security = |suite: &String| {
        suite
            .strip_suffix("-security")
            .is_some_and(|release| RELEASES.contains(&release))
    };
    let archive = entries.iter().find(|e| e.suites.iter().any(is_release));
    let archive = archive.with_context(|| {
        format!(
            "kernels come from Debian's archive, and no entry under {} names a mirror of it; \
             add one (`deb URI trixie main`)",
            etc_apt.display()
        )
    })?;
    let security = entries.iter().find(|e| e.suites.iter().any(is_security));
    let mut list = String::new();
    let mut add = |entry: &Entry, suites: &[&str]| {
        let keyring = entry.keyring.as_deref().unwrap_or(KEYRING);
        for suite in suites {
            list += &format!("deb [signed-by={keyring}] {} {suite} main\n", entry.uri);
        }
    };
    add(archive, SUITES);
    if let Some(security) = security {
        add(security, SECURITY_SUITES);
    }
    Ok(list)
}

/// All entries for binary packages, in both of apt's formats (sources.list(5)).
fn read(etc_apt: &Path) -> Vec<Entry> {
    let mut files = vec![etc_apt.join("sources.list")];
    let parts = std::fs::read_dir(etc_apt.join("sources.list.d"));
    files.extend(parts.into_iter().flatten().flatten().map(|e| e.path()));
    files.sort();
    let mut entries = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => entries.extend(paragraphs(&text)),
            Some("list") => entries.extend(text.lines().filter_map(one_line)),
            _ => {}
        }
    }
    entries
}

/// The entry of a line `deb [OPTION=VALUE …] URI SUITE COMPONENT…`.
fn one_line(line: &str) -> Option<Entry> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let keyring = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    Some(Entry {
        uri: uri.to_owned(),
        suites: vec![suite.to_owned()],
        keyring: keyring.map(str::to_owned),
    })
}

/// The entries of a file in the newer format.
fn paragraphs(text: &str) -> Vec<Entry> {
    let without_comments: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    let paragraphs = without_comments.split(|line| line.trim().is_empty());
    paragraphs.filter_map(paragraph).collect()
}

fn paragraph(lines: &[&str]) -> Option<Entry> {
    let field = |wanted: &str| {
        let values = lines.iter().filter_map(|line| line.split_once(':'));
        let mut found = values.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.trim())
    };
    let is_binary = field("Types")?.split_whitespace().any(|kind| kind == "deb");
    let is_off = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
    let uri = field("URIs")?.split_whitespace().next()?;
    // Keys may stand in the entry itself.
    let keyring = field("Signed-By").filter(|value| value.starts_with('/'));
    (is_binary && !is_off).then(|| Entry {
        uri: uri.to_owned(),
        suites: field("Suites")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        keyring: keyring.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that Debian's mirrors are found among others, in both formats, and
    /// that what is switched off or for sources isn't.
    #[test]
    fn mirrors_are_this_machines() {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = folder.path().join("sources.list.d");
        std::fs::create_dir(&parts).expect("made");
        let write = |name: &str, text: &str| std::fs::write(parts.join(name), text).expect(name);
        write("a.list", "deb https://others.example/x nodistro main\n");
        write(
            "debian.sources",
            "Types: deb\n# URIs: http://old.example\nURIs: http://mirror.example/debian\n\
             Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /keys.gpg\n\n\
             Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: trixie-security\n\n\
             Types: deb deb-src\nURIs: http://mirror.example/security\n\
             Suites: bookworm-security\nComponents: main\n",
        );
        let list = sources(folder.path()).expect("Debian's");
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), SUITES.len() + SECURITY_SUITES.len());
        assert_eq!(
            lines[0],
            "deb [signed-by=/keys.gpg] http://mirror.example/debian bookworm main"
        );
        let security = format!("deb [signed-by={KEYRING}] http://mirror.example/security");
        assert_eq!(lines[4], format!("{security} bookworm-security main"));
    }

    /// Checks lines with and without options, and that others are left alone.
    #[test]
    fn lines() {
        let entry = one_line("deb [arch=amd64 signed-by=/k] http://m.example/d sid main contrib");
        let entry = entry.expect("an entry");
        assert_eq!(
            (entry.uri.as_str(), entry.keyring.as_deref()),
            ("http://m.example/d", Some("/k"))
        );
        assert_eq!(entry.suites, ["sid"]);
        assert!(one_line("deb http://m.example/d sid main").is_some());
        assert!(one_line("deb-src http://m.example/d sid main").is_none());
        assert!(one_line("# deb http://m.example/d sid main").is_none());
    }

    /// Checks that a machine without Debian's mirrors is told what to do.
    #[test]
    fn without_a_mirror() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = sources(folder.path()).expect_err("none");
        assert!(error.to_string().contains("add one"), "{error}");
    }
}
