//! Debian's package through its life, in a fresh system.

use anyhow::{Result, ensure};

use super::Made;
use super::tree::{System, Tree};
use super::unit;
use crate::dist::VERSION;
use crate::dist::contents::{CONFIGURATION, UNIT};

/// Installs, starts, upgrades, removes and purges it.
pub fn lives(system: System, made: &Made) -> Result<()> {
    let [first, second] = &made.deb;
    let tree = Tree::fresh(system)?;
    let manages = tree.has("/usr/bin/systemctl");
    tree.run("dpkg", &["--install", &tree.bring(first)?])?;
    ensure!(
        tree.run("observer", &["--version"])?.trim() == format!("observer {VERSION}"),
        "another version is installed"
    );
    let conffiles = tree.run(
        "dpkg-query",
        &["--show", "--showformat=${Conffiles}", "observer"],
    )?;
    ensure!(
        conffiles.split_whitespace().next() == Some(&format!("/{CONFIGURATION}")),
        "configuration files: {conffiles}"
    );
    ensure!(
        !tree.has("/etc/systemd/system/multi-user.target.wants/observer.service"),
        "it would be started unasked"
    );
    unit::observes(&tree)?;
    if manages {
        unit::filter_is_enough(&tree)?;
        tree.run(
            "systemd-analyze",
            &["verify", "--man=no", &format!("/{UNIT}")],
        )?;
        tree.run("systemctl", &["enable", "observer.service"])?;
    }

    let path = tree.root.join(CONFIGURATION);
    let mine = tree.read(CONFIGURATION)? + "# mine\n";
    std::fs::write(&path, &mine)?;
    std::fs::write(
        tree.root.join("etc/observer/environment"),
        "OBSERVER_LOG=info\n",
    )?;
    tree.run("dpkg", &["--install", &tree.bring(second)?])?;
    let version = tree.run(
        "dpkg-query",
        &["--show", "--showformat=${Version}", "observer"],
    )?;
    ensure!(
        version == format!("{VERSION}-2"),
        "after the upgrade: {version}"
    );
    ensure!(
        tree.read(CONFIGURATION)? == mine,
        "the upgrade changed {CONFIGURATION}"
    );

    tree.run("dpkg", &["--remove", "observer"])?;
    ensure!(
        !tree.has("/usr/bin/observer"),
        "it was removed and is there"
    );
    ensure!(
        tree.read(CONFIGURATION)? == mine,
        "removing it lost {CONFIGURATION}"
    );
    tree.run("dpkg", &["--purge", "observer"])?;
    tree.ensure_fresh()
}
