//! Debian's package and RPM's. The tools that make them read a manifest of cargo; it
//! is written here, from [`Contents`], so that no list of files exists twice.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::File;
use super::contents::{CONFIGURATION, Contents};
use super::epoch::Epoch;
use super::target::Target;
use super::{VERSION, tools};
use crate::cargo::run;

/// Who answers for the packages; `invalid` is nobody's domain (RFC 2606).
const MAINTAINER: &str = "The developers of Observer <observer@observer.invalid>";

/// One line of what it is.
const SUMMARY: &str = "shows what a Linux host does, from inside the kernel";

/// The same at more length.
const DESCRIPTION: &str = "\
eBPF probes see system calls, TCP, disks, scheduling, requests and stacks, without \
touching applications. Observer turns them into metrics, spans and profiles that share \
one identity, and sends them over OTLP, or prints a summary.";

/// Scripts of packages.
const SCRIPTS: &str = "deploy/package";

/// A folder that holds what goes into packages, and their manifest.
pub struct Stage {
    folder: PathBuf,
    target: Target,
    epoch: Epoch,
}

impl Stage {
    /// Lays everything out.
    pub fn lay(contents: &Contents, target: Target, epoch: Epoch) -> Result<Self> {
        let folder = crate::target_dir().join("dist-stage").join(target.triple());
        if folder.exists() {
            let cleared = std::fs::remove_dir_all(&folder);
            cleared.with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        let files = contents.system();
        for file in &files {
            write(&folder.join("root").join(&file.path), &file.data, file.mode)?;
        }
        for kind in ["deb", "rpm"] {
            let from = crate::checkout().join(SCRIPTS).join(kind);
            let scripts = std::fs::read_dir(&from);
            for script in scripts.with_context(|| format!("cannot read {}", from.display()))? {
                let script = script?;
                let data = std::fs::read(script.path())?;
                write(&folder.join(kind).join(script.file_name()), &data, 0o755)?;
            }
        }
        // No program of it is built, but a manifest must have one.
        write(&folder.join("main.rs"), b"fn main() {}\n", 0o644)?;
        write(
            &folder.join("Cargo.toml"),
            manifest(&files).as_bytes(),
            0o644,
        )?;
        Ok(Self {
            folder,
            target,
            epoch,
        })
    }

    /// Makes Debian's package below `out`.
    pub fn deb(&self, revision: u32, out: &Path) -> Result<PathBuf> {
        let (architecture, _) = self.target.of_packages();
        let path = out.join(format!("observer_{VERSION}-{revision}_{architecture}.deb"));
        let mut deb = self.command(&tools::DEB)?;
        deb.args([
            "--quiet",
            "--no-build",
            "--no-strip",
            "--target",
            self.target.triple(),
        ]);
        deb.args(["--deb-revision", &revision.to_string(), "--output"]);
        run(deb.arg(&path))?;
        Ok(path)
    }

    /// Makes RPM's.
    pub fn rpm(&self, revision: u32, out: &Path) -> Result<PathBuf> {
        let (_, architecture) = self.target.of_packages();
        let path = out.join(format!("observer-{VERSION}-{revision}.{architecture}.rpm"));
        let mut rpm = self.command(&tools::RPM)?;
        rpm.args(["--arch", architecture, "--auto-req", "no"]);
        rpm.args(["--set-metadata", &format!("release = \"{revision}\"")]);
        run(rpm.arg("--output").arg(&path))?;
        Ok(path)
    }

    fn command(&self, tool: &tools::Tool) -> Result<Command> {
        let mut command = Command::new(tool.install()?);
        command
            .current_dir(&self.folder)
            .env("CARGO", env!("CARGO"))
            .env("SOURCE_DATE_EPOCH", self.epoch.0.to_string())
            .env_remove("CARGO_TARGET_DIR");
        Ok(command)
    }
}

fn write(path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, data)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What both tools read: all that is in packages but for the files' bytes.
fn manifest(files: &[File]) -> String {
    let mut text = format!(
        "[package]\nname = \"observer\"\nversion = \"{VERSION}\"\nedition = \"2024\"\n\
         license = \"Apache-2.0 OR MIT\"\ndescription = {SUMMARY:?}\n\n\
         [workspace]\n\n[[bin]]\nname = \"observer\"\npath = \"main.rs\"\n\n\
         [package.metadata.deb]\nmaintainer = {MAINTAINER:?}\n\
         copyright = \"Observer's contributors\"\n\
         license-file = [\"root/usr/share/doc/observer/LICENSE\", \"0\"]\n\
         extended-description = {DESCRIPTION:?}\nsection = \"admin\"\npriority = \"optional\"\n\
         depends = \"passwd\"\nmaintainer-scripts = \"deb\"\nassets = [\n"
    );
    for File { path, mode, .. } in files {
        let _ = writeln!(text, "  [\"root/{path}\", \"{path}\", \"{mode:o}\"],");
    }
    let _ = write!(
        text,
        "]\n\n[package.metadata.generate-rpm]\nsummary = {SUMMARY:?}\n\
         post_install_script = \"rpm/installed.sh\"\n\
         pre_uninstall_script = \"rpm/removing.sh\"\n\
         post_uninstall_script = \"rpm/removed.sh\"\nassets = [\n"
    );
    for File { path, mode, .. } in files {
        let kind = if path == CONFIGURATION {
            ", config = \"noreplace\""
        } else if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") {
            ", doc = true"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {{ source = \"root/{path}\", dest = \"/{path}\", mode = \"{mode:o}\"{kind} }},"
        );
    }
    text.push_str("]\n");
    text
}
