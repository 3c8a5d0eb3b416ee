//! `cargo xtask run`: build with stable Rust, run as root.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, bail};

/// The variables that Observer reads and sudo would drop.
const ENVIRONMENT: &[&str] = &[
    "OBSERVER_CONFIG",
    "OBSERVER_LOG",
    "NO_COLOR",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// How the daemon is compiled.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Optimized: what production runs and what is measured.
    #[default]
    Release,
    /// Hardly optimized, built in a third of the time: for a first look. Sees the
    /// same, but the daemon itself uses more CPU time.
    Quick,
}

impl Profile {
    /// The name of Cargo's profile, and of its folder under the target folder.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

/// Builds the binary and returns its path.
pub fn build(profile: Profile) -> anyhow::Result<PathBuf> {
    let status = crate::cargo::command()
        .args([
            "build",
            "--profile",
            profile.name(),
            "--package",
            "observer-userspace",
            "--bin",
            "observer",
        ])
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the build of observer failed; its messages are above");
    }
    Ok(crate::target_dir().join(profile.name()).join("observer"))
}

/// Replaces this process by `observer run ARGS`, so that signals and the exit
/// status are the daemon's own.
pub fn main(profile: Profile, args: &[String]) -> anyhow::Result<()> {
    let observer = build(profile)?;
    let otel: Vec<String> = std::env::vars()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("OTEL_"))
        .collect();
    let keep: Vec<&str> = otel
        .iter()
        .map(String::as_str)
        .chain(ENVIRONMENT.iter().copied())
        .collect();
    let error = crate::root::command(&observer, &keep)?
        .arg("run")
        .args(args)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", observer.display()))
}
