//! A kernel's modules that a guest loads, with all that they depend on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::run;

/// What a guest needs: its disks, the host's files, and a network that loses
/// packets. What the kernel has built in is no module.
const WANTED: &[&str] = &["virtio_pci", "virtio_blk", "virtiofs", "veth", "sch_tbf"];

/// The wanted modules' files below `/lib/modules/RELEASE` in the order in which they
/// can be loaded.
pub fn in_order(root: &Path, release: &str) -> Result<Vec<PathBuf>> {
    // Packages of newer releases have all of `lib` under `usr`.
    if !root.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    }
    let mut depmod = Command::new("depmod");
    // It misses lists of what is built in, which kernels from packages lack.
    depmod.stderr(Stdio::null());
    run(depmod
        .env("PATH", super::PATH)
        .arg("-b")
        .arg(root)
        .arg(release))
    .context("modules' dependencies can't be told (`depmod` is of the package kmod)")?;
    let folder = root.join("lib/modules").join(release);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let names = order(&read("modules.dep")?, &read("modules.builtin")?, WANTED)?;
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// The order by modprobe's own table, `FILE: DEPENDENCY…`, whose dependencies are to
/// be loaded from the last to the first (modules.dep(5)).
fn order(table: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>> {
    let mut files: Vec<String> = Vec::new();
    for &name in wanted {
        let lines = table.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(file, _)| module(file) == name);
        let Some((file, dependencies)) = found.next() else {
            let is_builtin = builtin.lines().any(|file| module(file) == name);
            ensure!(is_builtin, "the kernel has no module {name}");
            continue;
        };
        let dependencies = dependencies.split_whitespace().rev();
        for file in dependencies.chain([file]) {
            if !files.iter().any(|known| known == file) {
                files.push(file.to_owned());
            }
        }
    }
    Ok(files)
}

/// The module in a file: `kernel/fs/fuse/virtiofs.ko.xz` is `virtiofs`.
fn module(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.split(".ko").next().unwrap_or(name);
    name.replace('-', "_")
}

/// Writes a module as the kernel loads it: not compressed.
pub fn plain(file: &Path, to: &Path) -> Result<()> {
    let tool = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => "cat",
        Some("xz") => "xzcat",
        Some("zst") => "zstdcat",
        _ => bail!("{} is compressed in an unknown way", file.display()),
    };
    let output = std::fs::File::create(to)?;
    run(Command::new(tool).arg(file).stdout(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "kernel/fs/fuse/virtiofs.ko.xz: kernel/fs/fuse/fuse.ko.xz \
kernel/drivers/virtio/virtio.ko.xz
kernel/fs/fuse/fuse.ko.xz:
kernel/drivers/virtio/virtio.ko.xz:
kernel/net/sched/sch-tbf.ko.xz: kernel/drivers/virtio/virtio.ko.xz
";

    /// Checks that dependencies come before what needs them, each once, and that a
    /// module which the kernel has built in is none, but one that isn't there an error.
    #[test]
    fn dependencies_come_first() {
        let builtin = "kernel/drivers/block/virtio_blk.ko\n";
        let order = |wanted: &[&str]| order(TABLE, builtin, wanted);
        let files = order(&["virtiofs", "virtio_blk", "sch_tbf"]).expect("all there");
        let names: Vec<String> = files.iter().map(|file| module(file)).collect();
        assert_eq!(names, ["virtio", "fuse", "virtiofs", "sch_tbf"]);
        let error = order(&["veth"]).expect_err("not there");
        assert!(error.to_string().contains("veth"), "{error}");
    }
}
