//! cargo, started as if from a shell, and other commands that must succeed.

use std::process::Command;

use anyhow::{Context, bail};

/// cargo in the checkout. What `cargo run` says about xtask's own package is
/// not handed on: build scripts that watch these variables (ring's does) would
/// run again, and with them half of the dependencies be built again, each time
/// that cargo is called once by itself and once from here.
pub fn command() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::checkout());
    for (name, _) in std::env::vars_os() {
        let own = name.to_string_lossy();
        if own.starts_with("CARGO_PKG_") || own.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs a command to its end; an error unless it succeeds.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status}); its messages are above");
    }
    Ok(())
}
