//! RPM's package, by RPM's own programs, in a fresh system (Debian's: what it needs
//! there, a shell and a way to make a user, every system has).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Made;
use super::tree::{BOOKWORM, Tree};
use super::unit;
use crate::dist::VERSION;
use crate::dist::contents::{CONFIGURATION, UNIT};

/// Reads, installs, starts, upgrades and removes it.
pub fn lives(made: &Made) -> Result<()> {
    let [first, second] = &made.rpm;
    super::output(
        Command::new("rpm")
            .args(["--checksig", "--nosignature"])
            .arg(first),
    )?;
    let format = "[%{FILENAMES} %{FILEMODES:octal} %{FILEFLAGS:fflags}.\n]";
    let listed = query(first, format)?;
    let files: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let expected = [
        ("/usr/bin/observer".to_owned(), "100755 ."),
        (format!("/{CONFIGURATION}"), "100644 cn."),
        (format!("/{UNIT}"), "100644 ."),
        ("/usr/share/man/man1/observer.1.gz".to_owned(), "100644 d."),
    ];
    for (path, how) in &expected {
        let found = files.get(path.as_str());
        ensure!(found == Some(how), "{path}: {found:?} instead of {how}");
    }
    let named = query(first, "%{NAME} %{VERSION} %{ARCH} %{LICENSE}")?;
    ensure!(
        named
            == format!(
                "observer {VERSION} {} Apache-2.0 OR MIT",
                std::env::consts::ARCH
            ),
        "{named}"
    );

    let tree = Tree::fresh(BOOKWORM)?;
    rpm(&tree, "--install", &first.to_string_lossy())?;
    ensure!(
        tree.run("observer", &["--version"])?.trim() == format!("observer {VERSION}"),
        "another version is installed"
    );
    unit::observes(&tree)?;
    let path = tree.root.join(CONFIGURATION);
    let theirs = tree.read(CONFIGURATION)?;
    let mine = theirs.clone() + "# mine\n";
    std::fs::write(&path, &mine)?;
    rpm(&tree, "--upgrade", &second.to_string_lossy())?;
    let release = rpm(&tree, "--query", "observer")?;
    ensure!(
        release.contains(&format!("{VERSION}-2")),
        "after the upgrade: {release}"
    );
    ensure!(
        tree.read(CONFIGURATION)? == mine,
        "the upgrade changed {CONFIGURATION}"
    );
    ensure!(
        tree.run("getent", &["passwd", "observer"]).is_ok(),
        "the upgrade took the user away"
    );
    // RPM keeps what was changed beside; what wasn't goes.
    std::fs::write(&path, theirs)?;
    rpm(&tree, "--erase", "observer")?;
    tree.ensure_fresh()
}

fn query(package: &Path, format: &str) -> Result<String> {
    let mut rpm = Command::new("rpm");
    super::output(
        rpm.args(["--query", "--package", "--queryformat", format])
            .arg(package),
    )
}

fn rpm(tree: &Tree, what: &str, package: &str) -> Result<String> {
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(&tree.root);
    rpm.args(["--dbpath", "/var/lib/rpm", what]);
    if what != "--query" {
        // Of Debian's packages it knows nothing.
        rpm.arg("--nodeps");
    }
    super::output(rpm.arg(package)).with_context(|| format!("rpm {what}"))
}
