//! Programs from Debian that tests use: `packages.txt` lists them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The list that `cargo xtask test` installs.
pub const PACKAGES: &str = include_str!("../packages.txt");

/// A command that runs `program` from the Debian package `package`.
///
/// # Errors
///
/// Says how to get it when it isn't there, or when nobody listed it.
pub fn program(program: &str, package: &str) -> Result<Command> {
    if !names().any(|name| name == package) {
        bail!("testkit/packages.txt does not list {package}");
    }
    // Administrators' programs aren't in everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{program} is missing; get it with `apt-get install {package}` (or run `cargo xtask test`)")
        })?;
    Ok(Command::new(found))
}

/// A test ends here for want of the files of a package in the list: a skip that
/// says so, but in CI a failure.
///
/// # Panics
/// With `CI` in the environment, or when nobody listed the package.
pub fn missing(package: &str) {
    let is_listed = names().any(|name| name == package);
    assert!(is_listed, "testkit/packages.txt does not list {package}");
    let what = format!("needs `apt-get install {package}` (or run `cargo xtask test`)");
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("skipped: {what}");
}

/// Names of the packages in the list.
pub fn names() -> impl Iterator<Item = &'static str> {
    PACKAGES
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
}
