//! Where signals go: OTLP, files, the terminal.
pub mod flamegraph;
pub mod folded;
pub mod pprof;
pub mod profile_file;

pub mod terminal;
