//! Debian's package and RPM's, each by its own people's tool: dpkg-deb and rpmbuild,
//! which most systems have as packages (Debian: dpkg, rpm; Fedora: dpkg, rpm-build).
//! What they are told is written here, from [`Contents`], so that no list of files
//! exists twice.

mod deb;
mod rpm;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::archive::File;
use super::contents::{CONFIGURATION, Contents};
use super::epoch::Epoch;
use super::target::Target;
use crate::cargo::run;

/// Who answers for the packages; `invalid` is nobody's domain (RFC 2606).
const MAINTAINER: &str = "The developers of Observer <observer@observer.invalid>";

/// One line of what it is.
const SUMMARY: &str = "shows what a Linux host does, from inside the kernel";

/// The same at more length, in lines.
const DESCRIPTION: &[&str] = &[
    "eBPF probes see system calls, TCP, disks, scheduling, requests and stacks,",
    "without touching applications. Observer turns them into metrics, spans and",
    "profiles that share one identity, and sends them over OTLP, or prints a summary.",
];

/// Scripts of packages.
const SCRIPTS: &str = "deploy/package";

/// Makes packages of one list of files.
pub struct Packer {
    files: Vec<File>,
    folder: PathBuf,
    target: Target,
    epoch: Epoch,
}

impl Packer {
    /// Packs `contents`; what it lays out meanwhile lies in a folder of that target.
    pub fn new(contents: &Contents, target: Target, epoch: Epoch) -> Self {
        Self {
            files: contents.system(),
            folder: crate::target_dir().join("dist-stage").join(target.triple()),
            target,
            epoch,
        }
    }

    /// Lays the files out in an empty folder, and returns where.
    fn lay(&self, name: &str) -> Result<PathBuf> {
        let root = self.folder.join(name);
        if root.exists() {
            let cleared = std::fs::remove_dir_all(&root);
            cleared.with_context(|| format!("cannot clear {}", root.display()))?;
        }
        for file in &self.files {
            write(&root, &file.path, &file.data, file.mode)?;
        }
        Ok(root)
    }

    /// Runs a tool, which is in a package of that name on Debian, to its end.
    fn run(&self, tool: &mut Command, package: &str) -> Result<()> {
        let program = tool.get_program().to_string_lossy().into_owned();
        let there = Command::new(&program).arg("--version").output();
        there.with_context(|| format!("cannot start {program} (Debian: package {package})"))?;
        tool.env("SOURCE_DATE_EPOCH", self.epoch.0.to_string());
        // What they print is no result; mistakes come on the other stream.
        run(tool.env("LC_ALL", "C").stdout(Stdio::null()))
    }
}

/// Writes a file below a folder; folders on the way to it are for all to read,
/// whatever this process's mask says.
fn write(root: &Path, path: &str, data: &[u8], mode: u32) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let to = root.join(path);
        let folders = to.ancestors().skip(1);
        let ours: Vec<&Path> = folders.take_while(|one| one.starts_with(root)).collect();
        for folder in ours.into_iter().rev() {
            std::fs::create_dir_all(folder)?;
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
        }
        std::fs::write(&to, data)?;
        std::fs::set_permissions(&to, PermissionsExt::from_mode(mode))
    };
    write().with_context(|| format!("cannot write {} below {}", path, root.display()))
}

/// A script of packages, by its kind and name.
fn script(kind: &str, name: &str) -> Result<String> {
    let path = crate::checkout().join(SCRIPTS).join(kind).join(name);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
