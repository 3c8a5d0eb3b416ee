//! What guests run: built here, for their architecture.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::architecture::Architecture;
use crate::cargo::run;
use crate::packages;

/// Builds it, and what prepares it on the host.
///
/// # Errors
/// When it doesn't build, or what it is built with isn't there.
pub fn programs(architecture: &Architecture) -> Result<()> {
    cargo("build", architecture)?;
    if architecture.cross().is_none() {
        return Ok(());
    }
    let mut own = crate::cargo::command();
    own.args(["build", "--package", "observer-testkit"]);
    run(own.args(["--bin", "observer-guest"]))
}

/// Sees whether it compiles.
///
/// # Errors
/// As above.
pub fn check(architecture: &Architecture) -> Result<()> {
    cargo("check", architecture)
}

/// Has cargo build or check it.
fn cargo(verb: &str, architecture: &Architecture) -> Result<()> {
    let mut build = crate::cargo::command();
    build.args([verb, "--package", "observer-userspace"]);
    build.args(["--bin", "observer"]);
    build.args(["--package", "observer-testkit", "--bins"]);
    let Some(cross) = architecture.cross() else {
        return run(&mut build);
    };
    packages::install_named(cross.packages, "programs for virtual machines")?;
    crate::toolchain::install(cross.target)?;
    build.args(["--target", cross.target]);
    build.env(cross.cargo_variable("LINKER"), cross.compiler());
    run(&mut build).with_context(|| format!("cannot {verb} for {}", cross.target))
}

/// Where cargo puts it.
pub fn folder(architecture: &Architecture) -> PathBuf {
    let target = crate::target_dir();
    match architecture.cross() {
        Some(cross) => target.join(cross.target).join("debug"),
        None => target.join("debug"),
    }
}

/// The host's `observer-guest`.
pub fn own_guest() -> PathBuf {
    crate::target_dir().join("debug/observer-guest")
}

/// One of binutils' programs, for the architecture's files.
pub fn tool(architecture: &Architecture, name: &str) -> String {
    let prefix = architecture.cross().map_or("", |cross| cross.prefix);
    format!("{prefix}{name}")
}
