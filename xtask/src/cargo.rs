//! cargo, started as if from a shell.

use std::process::Command;

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
