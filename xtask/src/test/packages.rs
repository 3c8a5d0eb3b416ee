//! The Debian packages that the integration tests use.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::cargo::run;

/// The list, with reasons.
const PACKAGES: &str = "testkit/packages.txt";

/// Installs what is missing where apt-get can; elsewhere names it.
pub fn install() -> anyhow::Result<()> {
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
