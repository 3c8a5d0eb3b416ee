//! `cargo xtask docs` and `cargo xtask bench`: programs of the tests' package,
//! which links the daemon's library; xtask itself stays quick to build.

use std::process::Command;

use anyhow::{Context, bail};

/// Writes docs/metrics.md from the code, or compares.
pub fn docs(check: bool) -> anyhow::Result<()> {
    let mut cargo = crate::cargo::command();
    cargo.args(["run", "--quiet", "--package", "observer-tests"]);
    cargo.args(["--bin", "metrics-docs", "--"]);
    if check {
        cargo.arg("--check");
    }
    finish(&mut cargo)
}

/// Builds in release mode and runs the benchmark as root.
pub fn bench(args: &[String]) -> anyhow::Result<()> {
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release"]);
    cargo.args(["--package", "observer-tests", "--bin", "bench"]);
    cargo.args(["--package", "observer-userspace", "--bin", "observer"]);
    finish(&mut cargo)?;
    let release = crate::target_dir().join("release");
    let keep = &["OBSERVER_BIN"];
    let mut bench = crate::root::command(release.join("bench"), keep)?;
    finish(
        bench
            .args(args)
            .env("OBSERVER_BIN", release.join("observer")),
    )
}

fn finish(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status}); its messages are above");
    }
    Ok(())
}
