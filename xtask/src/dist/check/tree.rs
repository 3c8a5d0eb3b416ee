//! Fresh systems to install into: Debian's, by mmdebstrap, each under an overlay, so
//! that what an installation leaves behind is what the overlay's upper folder has.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::cargo::run;

/// A system: its release, and what it has beside the least.
#[derive(Clone, Copy, Debug)]
pub struct System {
    release: &'static str,
    packages: &'static str,
}

/// One in which no service manager is installed, as in many containers.
pub const BOOKWORM: System = System {
    release: "bookworm",
    packages: "",
};

/// One with systemd.
pub const TRIXIE: System = System {
    release: "trixie",
    packages: "systemd",
};

/// What may change in a system though nothing of ours is left: the package managers'
/// own notes, and what `useradd` and `userdel` keep of the last version.
const NOTES: &[&str] = &[
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "run/",
    "tmp/",
    "var/cache/",
    "var/lib/dpkg/",
    "var/lib/rpm/",
    "var/log/",
];

/// Mounts what programs need, for themselves alone, and becomes the program.
const ENTER: &str = r#"
mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount --rbind /dev "$0/dev" &&
exec chroot "$0" "$@"
"#;

/// A fresh system, which is gone when this is dropped.
pub struct Tree {
    _folder: TempDir,
    lower: PathBuf,
    upper: PathBuf,
    /// Where it is mounted.
    pub root: PathBuf,
}

impl Tree {
    /// A system as mmdebstrap makes it; that is kept for the next time.
    pub fn fresh(system: System) -> Result<Self> {
        let trees = crate::target_dir().join("dist-trees");
        fs::create_dir_all(&trees).context("cannot make target/dist-trees")?;
        let lower = trees.join(system.release);
        if !lower.exists() {
            bootstrap(system, &lower)?;
        }
        let folder = TempDir::new_in(&trees).context("cannot make a folder")?;
        let [upper, work, root] = ["upper", "work", "root"].map(|name| folder.path().join(name));
        for part in [&upper, &work, &root] {
            fs::create_dir(part).context("cannot make a folder")?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let kind = Some("overlay");
        mount(kind, &root, kind, MsFlags::empty(), Some(&*options))
            .context("cannot mount an overlay")?;
        Ok(Self {
            _folder: folder,
            lower,
            upper,
            root,
        })
    }

    /// A program in the system; its process is the program's own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]);
        command
            .args(["sh", "-c", ENTER])
            .arg(&self.root)
            .arg(program);
        command.env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C").env("HOME", "/root");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs a program and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        super::output(self.command(program).args(arguments))
    }

    /// Copies a file into the system, and returns its path there.
    pub fn bring(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("no file")?.to_string_lossy();
        let path = format!("/tmp/{name}");
        fs::copy(file, self.root.join(path.trim_start_matches('/')))
            .with_context(|| format!("cannot copy {}", file.display()))?;
        Ok(path)
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> Result<String> {
        let path = self.root.join(path.trim_start_matches('/'));
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Does it have this file?
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path.trim_start_matches('/')).exists()
    }

    /// Fails if the system isn't what it was when it was fresh.
    pub fn ensure_fresh(&self) -> Result<()> {
        let mut changed = BTreeSet::new();
        self.compare(&self.upper, &mut changed)?;
        changed.retain(|path| !NOTES.iter().any(|note| path.starts_with(note)));
        ensure!(changed.is_empty(), "this was left behind: {changed:?}");
        Ok(())
    }

    fn compare(&self, folder: &Path, changed: &mut BTreeSet<String>) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(&self.upper)?;
            let before = self.lower.join(name);
            let name = name.to_string_lossy();
            let was_there = before.symlink_metadata().is_ok();
            if meta.is_dir() {
                if !was_there {
                    changed.insert(format!("{name}/"));
                }
                self.compare(&path, changed)?;
            } else if meta.file_type().is_char_device() && meta.rdev() == 0 {
                // How an overlay notes what was there and isn't any more.
                if was_there {
                    changed.insert(format!("{name} is missing"));
                }
            } else if !was_there || !alike(&path, &before)? {
                changed.insert(name.into_owned());
            }
        }
        Ok(())
    }
}

fn alike(a: &Path, b: &Path) -> Result<bool> {
    if a.is_symlink() || b.is_symlink() {
        return Ok(fs::read_link(a).ok() == fs::read_link(b).ok());
    }
    Ok(fs::read(a)? == fs::read(b)?)
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.root, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.root.display());
        }
    }
}

fn bootstrap(system: System, to: &Path) -> Result<()> {
    eprintln!("making a fresh {} (a minute or two)", system.release);
    let partial = to.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot clear a half-made system")?;
    }
    // What debootstrap makes, in half the time, by apt and dpkg themselves.
    let mut make = Command::new("mmdebstrap");
    make.arg("--variant=minbase");
    if !system.packages.is_empty() {
        make.arg(format!("--include={}", system.packages));
    }
    let log = to.with_extension("log");
    make.stderr(fs::File::create(&log)?);
    run(make.arg(system.release).arg(&partial))
        .with_context(|| format!("why is in {}", log.display()))?;
    fs::rename(&partial, to).context("cannot put a fresh system into its place")
}
