//! Debian's package under systemd, the first process of a stock kernel in a virtual
//! machine: what no tree that isn't booted shows.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};

use super::Made;
use super::tree::{TRIXIE, Tree};
use super::unit::ensure_in_summary;
use crate::vm;

/// Debian 13's own.
const KERNEL: &str = "6.12";

/// What runs in the guest.
const SCRIPT: &str = include_str!("booted.sh");

/// The service that runs it.
const SERVICE: &str = "\
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh /mnt/run.sh
TimeoutStartSec=infinity
";

/// Boots a fresh system, in which the package is installed, started, upgraded, hung,
/// stopped and removed.
pub fn lives(made: &Made) -> Result<()> {
    let tree = Tree::fresh(TRIXIE)?;
    let [first, second] = &made.deb;
    for (deb, name) in [(first, "first.deb"), (second, "second.deb")] {
        fs::copy(deb, tree.root.join(name)).context("cannot copy a package")?;
    }
    // A system without a name of its own would ask for one.
    fs::write(tree.root.join("etc/machine-id"), format!("{:032x}\n", 1))?;
    let units = tree.root.join("etc/systemd/system");
    fs::write(units.join("check.service"), SERVICE)?;
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    symlink("../check.service", wants.join("check.service"))?;

    let left = vm::boot_system(KERNEL, &tree.root, "/usr/lib/systemd/systemd", SCRIPT)?;
    let read = |name: &str| left.result(name).unwrap_or_default();
    ensure!(
        left.status() == Some(0),
        "in the guest:\n{}\n(more in {})",
        read("log.txt"),
        left.folder().display()
    );
    // Its workload is named after the service that started it.
    ensure_in_summary(&read("seen.txt"), "check/dd", "")?;
    let found = read("left.txt");
    let left_behind: Vec<&str> = found
        .lines()
        .filter(|path| !path.starts_with("/var/lib/dpkg/") && !path.starts_with("/sys/"))
        .collect();
    ensure!(left_behind.is_empty(), "left behind: {left_behind:?}");
    let exposure = read("security.txt");
    let verdict = exposure.lines().last().unwrap_or_default();
    println!(
        "  on {KERNEL}; systemd-analyze security: {}",
        verdict.trim()
    );
    Ok(())
}
