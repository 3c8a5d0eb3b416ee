//! What signals are written as: OTLP with its way to a collector, summaries and
//! lines for a terminal, files of profiles. Which of these work in a daemon,
//! and when, the daemon's sinks say.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

#[cfg(test)]
mod agreement;
pub mod degraded;
pub mod delta;
pub mod flamegraph;
pub mod folded;
#[cfg(test)]
mod hostile_tests;
pub mod new_file;
pub mod otlp;
pub mod pprof;
pub mod profile_file;
pub mod prometheus;
pub mod self_stats;
pub mod terminal;
pub mod trace_lines;
