//! The files of a guest that can't run the host's programs: Debian's, unpacked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;

/// What the loads in a guest run, one a line with what for.
const PACKAGES: &str = include_str!("guest-packages.txt");

/// Folders on which a guest mounts something.
const MOUNTED: &[&str] = &["dev", "mnt", "proc", "run", "sys", "tmp", "var/tmp"];

/// Folders that moved below `usr`, and that programs look for where they were.
const MOVED: &[&str] = &["bin", "lib", "sbin"];

/// Unpacks them below `folder`, unless they are there; returns where.
///
/// # Errors
/// When they can't be fetched or written.
pub fn unpack(apt: &Apt, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    let complete = folder.join("root-complete");
    if fs::read_to_string(&complete).is_ok_and(|known| known == PACKAGES) {
        return Ok(root);
    }
    let _ = fs::remove_dir_all(&root);
    for name in MOUNTED.iter().chain(&["etc"]) {
        let made = root.join(name);
        fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    for name in MOVED {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    let packages: Vec<&str> = PACKAGES
        .lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .collect();
    eprintln!("fetching a guest's files: {}", packages.join(" "));
    apt.unpack_with_dependencies(&packages, &root)?;
    // What packages' scripts would make of them.
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::write(&complete, PACKAGES)
        .with_context(|| format!("cannot write {}", complete.display()))?;
    Ok(root)
}
