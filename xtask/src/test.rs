//! `cargo xtask test`: every test, those that need a kernel as root.

use std::process::Command;

use anyhow::{Context, bail};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Runs the tests; fails if one does.
pub fn main(options: &Options) -> anyhow::Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(crate::checkout())
        .args(["test", "--workspace"])
        .args(&options.filter);
    if !cargo.status().context("cannot start cargo")?.success() {
        bail!("tests failed; see above");
    }
    Ok(())
}
