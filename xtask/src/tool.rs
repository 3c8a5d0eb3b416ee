//! `cargo xtask docs` and `cargo xtask bench`: programs of other packages, which
//! link the daemon's library; xtask itself stays quick to build.

use crate::cargo::run;

/// Writes docs/metrics.md from the code, or compares.
pub fn docs(check: bool) -> anyhow::Result<()> {
    let mut cargo = crate::cargo::command();
    cargo.args(["run", "--quiet", "--package", "observer-dev"]);
    cargo.args(["--bin", "metrics-docs", "--"]);
    if check {
        cargo.arg("--check");
    }
    run(&mut cargo)
}

/// Builds in release mode and runs the benchmark as root.
pub fn bench(args: &[String]) -> anyhow::Result<()> {
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release"]);
    cargo.args(["--package", "observer-bench", "--bin", "bench"]);
    cargo.args(["--package", "observer-testkit"]);
    cargo.args(["--bin", "observer-load", "--bin", "observer-pingpong"]);
    cargo.args(["--package", "observer-userspace", "--bin", "observer"]);
    run(&mut cargo)?;
    let release = crate::target_dir().join("release");
    let keep = &["OBSERVER_BIN", "OBSERVER_PROBEE"];
    let mut bench = crate::root::command(release.join("bench"), keep)?;
    run(bench
        .args(args)
        .env("OBSERVER_BIN", release.join("observer")))
}
