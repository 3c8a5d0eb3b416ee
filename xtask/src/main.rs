//! Everything that is done to Observer from a checkout: `cargo xtask`.

mod cargo;
mod costs;
mod dist;
mod ebpf;
mod fuzz;
mod packages;
mod root;
mod run;
mod test;
mod tool;
mod toolchain;
mod vm;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, runs, tests and measures Observer from a checkout"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the kernel object and its lock file; --check compares instead.
    Ebpf(ebpf::Options),
    /// Builds Observer and runs `observer run ARGS` as root.
    Run {
        /// How it is compiled.
        #[arg(long, value_enum, default_value_t)]
        profile: run::Profile,
        /// Options of `observer run`, after `--`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs all tests, those that need a kernel as root.
    Test(test::Options),
    /// The part of `test` that runs as root; `test` starts it.
    #[command(hide = true)]
    TestAsRoot(test::RootOptions),
    /// Measures what Observer costs, beside empty programs and peers.
    Bench {
        /// Options of the benchmark; `-- --help` tells them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Writes docs/costs.md, what each program of the kernel half costs, from
    /// the kernel's own statistics; --check compares instructions verified.
    Costs(costs::Options),
    /// Runs the fuzz targets, or one of them, for some minutes.
    Fuzz(fuzz::Options),
    /// Boots stock kernels under qemu and compares what Observer sees there with
    /// what is known.
    Vm(vm::Options),
    /// The part of `vm` that runs as root; `vm` starts it.
    #[command(hide = true)]
    VmAsRoot(vm::Options),
    /// Builds the static binary and what users install of it: archive, packages, image.
    Dist(dist::Options),
    /// The part of `dist --test` that runs as root; `dist` starts it.
    #[command(hide = true)]
    DistCheckAsRoot(dist::RootOptions),
    /// Writes docs/metrics.md from the code.
    Docs {
        /// Compare with the committed page and change nothing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ebpf(options) => ebpf::main(&options),
        Command::Run { profile, args } => run::main(profile, &args),
        Command::Test(options) => test::main(&options),
        Command::TestAsRoot(options) => test::as_root(&options),
        Command::Bench { args } => tool::bench(&args),
        Command::Costs(options) => costs::main(&options),
        Command::Fuzz(options) => fuzz::main(&options),
        Command::Vm(options) => vm::main(&options),
        Command::VmAsRoot(options) => vm::as_root(&options),
        Command::Dist(options) => dist::main(&options),
        Command::DistCheckAsRoot(options) => dist::check_as_root(&options),
        Command::Docs { check } => tool::docs(check),
    }
}

/// The root of the checkout.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Where builds go: the target folder of the running build.
fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// Checks what clap checks in debug builds only when it parses: that options
    /// don't contradict each other.
    #[test]
    fn options_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
