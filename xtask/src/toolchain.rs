//! The compiler's own files.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cargo::run;

/// Installs the standard library for a target.
pub fn install(triple: &str) -> anyhow::Result<()> {
    let sysroot = sysroot()?;
    if sysroot
        .join("lib/rustlib")
        .join(triple)
        .join("lib")
        .exists()
    {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    run(rustup
        .current_dir(crate::checkout())
        .args(["target", "add", triple]))
    .with_context(|| format!("the compiler has no standard library for {triple}"))
}

/// Where the compiler's own files are.
pub fn sysroot() -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    let out = rustc
        .current_dir(crate::checkout())
        .args(["--print", "sysroot"])
        .output()
        .context("cannot start rustc")?;
    ensure!(out.status.success(), "rustc tells no sysroot");
    Ok(String::from_utf8_lossy(&out.stdout).trim().into())
}
