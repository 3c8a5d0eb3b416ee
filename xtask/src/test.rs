//! `cargo xtask test`: every test, those that need a kernel as root.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::cargo::run;
use crate::second_try;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Only the tests that need neither root nor a kernel with BPF.
    #[arg(long)]
    unit: bool,
}

/// The Debian packages that the integration tests use, with reasons.
const PACKAGES: &str = "testkit/packages.txt";

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

/// Runs the tests, all of them even if some fail; fails if one does. cargo's
/// own summary is the last thing that is said when all pass.
pub fn main(options: &Options) -> anyhow::Result<()> {
    let filter = options.filter.as_slice();
    let plain = &["test", "--no-fail-fast", "--workspace"];
    let unit = run(cargo(plain)
        .args(["--exclude", "observer-tests"])
        .args(filter));
    if options.unit {
        return unit;
    }
    install_packages()?;
    run(&mut cargo(&[
        "build",
        "--package",
        "observer-userspace",
        "--bin",
        "observer",
        "--package",
        "observer-testkit",
        "--bins",
    ]))?;
    let observer = crate::target_dir().join("debug/observer");
    let mut variables = vec![("OBSERVER_BIN".to_owned(), observer.into_os_string())];
    if !crate::root::is_root()? {
        // cargo builds as the user and runs the tests through sudo.
        let triple = host_triple()?;
        let variable = format!(
            "CARGO_TARGET_{}_RUNNER",
            triple.to_uppercase().replace('-', "_")
        );
        let runner = format!("sudo --preserve-env={} --", ENVIRONMENT.join(","));
        variables.push((variable, runner.into()));
    }
    let tests = |args: &[&str]| {
        let mut tests = cargo(&["test", "--package", "observer-tests"]);
        tests.envs(variables.iter().cloned()).args(args);
        tests
    };
    // One at a time: they load the machine and count what happens on it.
    let mut all = tests(&["--no-fail-fast"]);
    all.args(filter).args(["--", "--test-threads=1"]);
    second_try::run(&mut all, |file| tests(&["--test", file, "--"]))?;
    unit
}

fn cargo(args: &[&str]) -> Command {
    let mut command = crate::cargo::command();
    command.args(args);
    command
}

/// Installs what is missing where apt-get can; elsewhere names it.
fn install_packages() -> anyhow::Result<()> {
    let list = std::fs::read_to_string(crate::checkout().join(PACKAGES))
        .with_context(|| format!("cannot read {PACKAGES}"))?;
    let missing: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        eprintln!(
            "there is no apt-get to install Debian's packages {names} (see {PACKAGES} for what \
             they are); the tests that miss something will say so"
        );
        return Ok(());
    }
    eprintln!("installing for the tests: {names}");
    let keep = &["DEBIAN_FRONTEND"];
    let mut update = crate::root::command("apt-get", keep)?;
    // A list that can't be renewed may still be good enough.
    let _ = update.args(["update", "--quiet"]).status();
    let mut install = crate::root::command("apt-get", keep)?;
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(&missing);
    let installed = run(&mut install).with_context(|| format!("the tests need {names}"));
    match installed {
        // Other distributions call some of them differently, or have them from elsewhere.
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("{error:#}; the tests that miss something will say so");
            Ok(())
        }
        other => other,
    }
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${Status}", package])
        .output()
        .is_ok_and(|out| out.stdout.ends_with(b"ok installed"))
}

/// The target triple of this machine.
pub fn host_triple() -> anyhow::Result<String> {
    let out = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_string))
        .context("rustc -vV names no host")
}
