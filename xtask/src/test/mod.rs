//! `cargo xtask test`: every test, those that need a kernel as root.
//!
//! Unit tests run as who calls us, a binary at a time. Those that load the kernel
//! half run as root, one after the other, each in a process of its own: they load
//! the machine and count what happens on it. Every process has a limit
//! ([`limits`]), at which it is killed with all that it started.
//!
//! A failure is a failure. Only a test that says that it needs CPU in time, while
//! others measurably took the CPU away, is tried again, up to three times, each after
//! the machine had some quiet, and shown with all outputs (once, if what was taken is
//! too little to show); if it never holds, it is
//! neither passed nor failed but had *too little CPU*. It counts as skipped, as it says nothing about the code; but nor
//! may a run that tested less be green, so the whole fails, unless the machine
//! was made slow by an option of ours.

mod binaries;
mod limits;
mod processes;
mod report;
mod slow;
mod suite;
mod taken;
mod verdict;
mod waiting;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cargo::run;
use crate::packages;
use binaries::{Binary, INTEGRATION};
use report::Report;
use suite::Suite;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Options {
    /// Only tests whose name, or whose file's name, contains this.
    filter: Option<String>,
    /// Only the tests that need neither root nor a kernel with BPF.
    #[arg(long)]
    unit: bool,
    #[command(flatten)]
    slow: slow::Options,
}

/// Options of the part that runs as root, which `test` itself starts.
#[derive(clap::Args)]
pub struct RootOptions {
    /// Where the binaries are listed, and the results written.
    folder: PathBuf,
    /// As of `test`.
    filter: Option<String>,
    #[command(flatten)]
    slow: slow::Options,
}

/// The user's variables that tests may need, also behind sudo.
const ENVIRONMENT: &[&str] = &[
    "CI",
    "HOME",
    "PIP_INDEX_URL",
    "PATH",
    "OBSERVER_BIN",
    "CARGO_TARGET_DIR",
    "RUST_BACKTRACE",
];

/// The Debian packages that the integration tests use, with reasons.
const PACKAGES: &str = "testkit/packages.txt";

/// Runs the tests, all of them even if some fail; fails if one does. What isn't
/// plain success is told at the end, and then how many there were.
pub fn main(options: &Options) -> anyhow::Result<()> {
    let folder = crate::target_dir().join("xtask-test");
    let filter = options.filter.as_deref();
    let mut report = unit(&folder, filter)?;
    if !options.unit {
        report.join(integration(&folder, options)?);
    }
    println!("{}", report.text());
    if !report.is_good(options.slow.any()) {
        bail!("not all tests passed; what happened is above");
    }
    Ok(())
}

/// The unit tests, and examples in comments.
fn unit(folder: &Path, filter: Option<&str>) -> anyhow::Result<Report> {
    let all = ["--workspace", "--exclude", INTEGRATION];
    let binaries = binaries::build(&all)?;
    let mut suite = Suite::new(folder, filter, false)?;
    for binary in &binaries {
        suite.run(binary)?;
    }
    let mut examples = crate::cargo::command();
    examples.args(["test", "--doc", "--no-fail-fast"]).args(all);
    suite.whole("examples in comments", examples.args(filter))?;
    suite.finish()
}

/// The tests that load the kernel half: built as who calls us, run as root.
fn integration(folder: &Path, options: &Options) -> anyhow::Result<Report> {
    packages::install(PACKAGES, "the tests")?;
    let mut build = crate::cargo::command();
    build.args([
        "build",
        "--package",
        "observer-userspace",
        "--bin",
        "observer",
    ]);
    run(build.args(["--package", "observer-testkit", "--bins"]))?;
    let binaries = binaries::build(&["--package", INTEGRATION])?;
    std::fs::write(list(folder), serde_json::to_vec(&binaries)?)
        .with_context(|| format!("cannot write {}", list(folder).display()))?;
    let mut command = crate::root::command(crate::root::own_path()?, ENVIRONMENT)?;
    command.env("OBSERVER_BIN", crate::target_dir().join("debug/observer"));
    command.arg("test-as-root").args(options.slow.arguments());
    command.arg(folder).args(&options.filter);
    run(&mut command)?;
    let results = std::fs::read(results(folder)).context("the tests' results can't be read")?;
    Ok(serde_json::from_slice(&results)?)
}

/// Runs the listed binaries' tests, and writes what came of them.
pub fn as_root(options: &RootOptions) -> anyhow::Result<()> {
    let binaries = std::fs::read(list(&options.folder)).context("no list of binaries")?;
    let binaries: Vec<Binary> = serde_json::from_slice(&binaries)?;
    let _slow = slow::Slow::begin(&options.slow)?;
    let filter = options.filter.as_deref();
    let mut suite = Suite::new(&options.folder, filter, options.slow.any())?;
    for binary in &binaries {
        suite.run(binary)?;
    }
    let report = suite.finish()?;
    std::fs::write(results(&options.folder), serde_json::to_vec(&report)?)
        .context("the results can't be written")
}

fn list(folder: &Path) -> PathBuf {
    folder.join("binaries.json")
}

fn results(folder: &Path) -> PathBuf {
    folder.join("results.json")
}

/// The target triple of this machine.
pub fn host_triple() -> anyhow::Result<String> {
    let out = std::process::Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_string))
        .context("rustc -vV names no host")
}
