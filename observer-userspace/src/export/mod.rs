//! Where signals go: OTLP through one bounded queue, and files and terminals.
//!
//! [`Exporter`] is the way to a collector. It encodes on the caller's side,
//! never waits, and hands the bytes to a [`queue`] that one task per signal
//! empties by the OTLP rules ([`otlp::outcome`]).

mod exporter;
mod sender;

pub use exporter::{Exporter, RawMetrics};
pub use otlp::settings::OtlpSettings;
pub use signal::{DropCause, ExportStats, Signal, SignalStats};

#[cfg(test)]
mod agreement;
pub mod flamegraph;
pub mod folded;
pub mod losses;
pub mod otlp;
pub mod pprof;
pub mod profile_file;
pub mod queue;
pub mod self_metrics;
pub mod self_stats;
pub mod signal;
pub mod telemetry;
pub mod terminal;
pub mod trace_lines;
