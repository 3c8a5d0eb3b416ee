//! What a kernel starts with: busybox, the modules that it lacks, and a first
//! process that does the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::modules;
use crate::cargo::run;

/// The first process.
const INIT: &str = include_str!("init.sh");

/// A busybox that needs no library, of the package busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Folders on which the first process mounts something.
const FOLDERS: &[&str] = &["bin", "dev", "host", "modules", "proc", "sys"];

/// Writes the archive for a kernel whose packages were unpacked to `root`, and a guest
/// that runs programs of `files`.
pub fn build(root: &Path, release: &str, files: &Path, to: &Path) -> Result<()> {
    let tree = to.with_extension("tree");
    let _ = fs::remove_dir_all(&tree);
    for folder in FOLDERS {
        fs::create_dir_all(tree.join(folder))
            .with_context(|| format!("cannot make {}", tree.display()))?;
    }
    let busybox = files.join(BUSYBOX.trim_start_matches('/'));
    fs::copy(&busybox, tree.join("bin/busybox")).with_context(|| {
        let busybox = busybox.display();
        format!("there is no {busybox}; `apt-get install busybox-static`")
    })?;
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    let mut order = String::new();
    for file in modules::in_order(root, release)? {
        let name = file.file_stem().context("a module's name")?;
        let name = Path::new(name).with_extension("ko");
        modules::plain(&file, &tree.join("modules").join(&name))?;
        order += &format!("{}\n", name.display());
    }
    fs::write(tree.join("modules/order"), order)?;
    archive(&tree, to)?;
    Ok(fs::remove_dir_all(&tree)?)
}

/// Writes a folder's files as the kernel reads them (cpio's format `newc`).
fn archive(tree: &Path, to: &Path) -> Result<()> {
    let mut find = Command::new("find")
        .arg(".")
        .current_dir(tree)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start find")?;
    let names = find.stdout.take().context("a pipe")?;
    let mut cpio = Command::new(BUSYBOX);
    cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(tree);
    // It only says how many blocks there were.
    cpio.stdin(names).stderr(Stdio::null());
    run(cpio.stdout(fs::File::create(to)?))?;
    find.wait()?;
    Ok(())
}
