//! The Debian packages that tests and virtual machines use.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::cargo::run;

/// Installs what is missing of a list, a file of the checkout with a package a line,
/// where apt-get can; elsewhere names it. `who` needs it.
pub fn install(list: &str, who: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(crate::checkout().join(list))
        .with_context(|| format!("cannot read {list}"))?;
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .collect();
    install_named(&names, who).with_context(|| format!("{list} says what they are for"))
}

/// Installs what is missing of these.
pub fn install_named(names: &[&str], who: &str) -> anyhow::Result<()> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        eprintln!(
            "there is no apt-get to install Debian's packages {names} for {who}; what misses \
             something will say so"
        );
        return Ok(());
    }
    eprintln!("installing for {who}: {names}");
    let keep = &["DEBIAN_FRONTEND"];
    let mut update = crate::root::command("apt-get", keep)?;
    // A list that can't be renewed may still be good enough.
    let _ = update.args(["update", "--quiet"]).status();
    let mut install = crate::root::command("apt-get", keep)?;
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(&missing);
    let installed = run(&mut install).with_context(|| format!("{who} need {names}"));
    match installed {
        // Other distributions call some of them differently, or have them from elsewhere.
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("{error:#}; what misses something will say so");
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
