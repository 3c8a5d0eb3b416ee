//! `cargo xtask dist --test`: whether what was made can be installed, started, upgraded
//! and taken away, each judged by others' tools. Needs root, and Debian's packages of
//! `deploy/check-packages.txt`.

mod archive;
mod booted;
mod deb;
mod image;
mod kubernetes;
mod manager;
mod python;
mod rpm;
mod tree;
mod unit;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// What is checked. Of packages there are two, the second a revision later.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    /// Debian's.
    pub deb: [PathBuf; 2],
    /// RPM's.
    pub rpm: [PathBuf; 2],
    /// The archive.
    pub archive: PathBuf,
    /// The image.
    pub image: PathBuf,
    /// Is the program in them that of developers, which needs the libraries of this
    /// machine?
    pub is_rehearsal: bool,
}

/// What root is told to check.
#[derive(clap::Args)]
pub struct RootOptions {
    /// Where it is listed.
    list: PathBuf,
    /// Only checks whose name contains this.
    filter: Option<String>,
}

/// The variables that checks need, also behind sudo.
const ENVIRONMENT: &[&str] = &["PATH", "HOME", "PIP_INDEX_URL", "CARGO_TARGET_DIR", "CI"];

/// A check, by what it says first.
struct Check {
    name: &'static str,
    /// Is it of use with the program of developers, and soon enough over?
    is_rehearsed: bool,
    run: fn(&Made) -> Result<()>,
}

/// All, in order.
const CHECKS: &[Check] = &[
    Check {
        name: "kubernetes: manifests fit the schemas",
        is_rehearsed: true,
        run: |_| kubernetes::manifests(),
    },
    Check {
        name: "archive: sums, files and bill",
        is_rehearsed: true,
        run: archive::is_whole,
    },
    Check {
        name: "deb: without a service manager",
        is_rehearsed: true,
        run: |made| deb::lives(tree::BOOKWORM, made),
    },
    Check {
        name: "deb: with systemd",
        is_rehearsed: true,
        run: |made| deb::lives(tree::TRIXIE, made),
    },
    Check {
        name: "rpm: as rpm reads and installs it",
        is_rehearsed: true,
        run: rpm::lives,
    },
    Check {
        name: "booted: under systemd, on a kernel of its own",
        // On an emulated processor that program needs ten minutes to start five times.
        is_rehearsed: false,
        run: booted::lives,
    },
    Check {
        name: "image: as skopeo reads and runc runs it",
        is_rehearsed: true,
        run: image::sees_the_host,
    },
];

/// Installs what making and checking need.
pub fn prepare() -> Result<()> {
    crate::packages::install("deploy/check-packages.txt", "the checks")
}

/// Has root check what was made.
pub fn start(made: &Made, filter: Option<&str>) -> Result<()> {
    let list = crate::target_dir().join("dist-check.json");
    std::fs::write(&list, serde_json::to_vec(made)?)
        .context("cannot write target/dist-check.json")?;
    let xtask = std::env::current_exe().context("xtask's own path")?;
    let mut command = crate::root::command(xtask, ENVIRONMENT)?;
    crate::cargo::run(command.arg("dist-check-as-root").arg(list).args(filter))
}

/// Checks, all of it even if something fails.
pub fn as_root(options: &RootOptions) -> Result<()> {
    let made = std::fs::read(&options.list).context("no list of what was made")?;
    let made: Made = serde_json::from_slice(&made)?;
    let filter = options.filter.as_deref();
    let is_wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let (mut passed, mut failed) = (0, 0);
    for check in CHECKS.iter().filter(|check| is_wanted(check.name)) {
        println!("{}", check.name);
        if made.is_rehearsal && !check.is_rehearsed && filter.is_none() {
            println!("  left out: of use with the static program only");
            continue;
        }
        match (check.run)(&made) {
            Ok(()) => {
                passed += 1;
                println!("  ok");
            }
            Err(error) => {
                failed += 1;
                println!("  FAILED: {error:#}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    ensure!(passed + failed > 0, "there is no such check");
    if failed > 0 {
        bail!("what was made isn't what it should be; see above");
    }
    Ok(())
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Result<String> {
    let out = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let printed = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "{command:?} failed ({}): {printed}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(printed)
}

/// The names in a folder.
fn listed(folder: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        names.push(entry?.file_name());
    }
    Ok(names)
}
