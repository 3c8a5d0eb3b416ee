//! `cargo xtask bench`: what Observer costs and whether its figures are true,
//! beside empty programs and peers, in one run.
//!
//! A benchmark is a file here that makes a [`report::Section`]; timings are
//! compared only within a run, and nothing here fails because it is slow.

pub mod collector;
pub mod daemon;
pub mod getppid;
pub mod idle;
pub mod machine;
pub mod peers;
pub mod report;
pub mod stats;
pub mod syscalls;

use anyhow::Result;

/// How thorough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fewer rounds, shorter waits.
    pub quick: bool,
}

/// A benchmark.
pub struct Benchmark {
    /// The word by which it is chosen.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Options) -> Result<report::Section>,
}

/// All, in the order in which they run.
pub const ALL: &[Benchmark] = &[
    Benchmark {
        name: "syscalls",
        run: syscalls::run,
    },
    Benchmark {
        name: "idle",
        run: idle::run,
    },
];
