//! `cargo xtask costs`: what each program of the kernel half costs.

use crate::cargo::run;

/// Options of `cargo xtask costs`.
#[derive(clap::Args)]
pub struct Options {
    /// Print the table, compare with the committed one and change nothing.
    #[arg(long)]
    check: bool,
}

/// Writes docs/costs.md, or compares with it; as root, since programs are
/// loaded into the kernel.
pub fn main(options: &Options) -> anyhow::Result<()> {
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--quiet"]);
    cargo.args(["--package", "observer-dev", "--bin", "costs"]);
    if !options.check {
        // Only a renewal runs anything.
        cargo.args(["--package", "observer-testkit"]);
        for program in ["load", "peer", "server", "workload"] {
            cargo.args(["--bin", &format!("observer-{program}")]);
        }
        cargo.args(["--package", "observer-userspace", "--bin", "observer"]);
    }
    run(&mut cargo)?;
    let folder = crate::target_dir().join("debug");
    let keep = &["OBSERVER_BIN", "PATH"];
    let mut costs = crate::root::command(folder.join("costs"), keep)?;
    if options.check {
        costs.arg("--check");
    }
    run(costs.env("OBSERVER_BIN", folder.join("observer")))
}
