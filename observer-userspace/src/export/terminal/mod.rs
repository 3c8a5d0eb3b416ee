//! The summary that `observer run` prints each interval when no OTLP endpoint
//! is configured: what a person at a terminal wants to know first.
//!
//! Works on the same metrics that OTLP gets, turned into what happened in the
//! interval. Each section is a table of the busiest rows; a section without
//! events isn't shown.

mod cpu;
mod disk;
mod format;
mod own;
mod syscalls;
mod table;
mod tcp;
mod view;

use crate::signals::metric::ResourceMetrics;

pub use own::OwnCost;
use view::View;

/// What one summary is made of.
pub struct Interval<'a> {
    /// Local time of its end, as it is to be printed.
    pub clock: &'a str,
    /// The host's name.
    pub host: &'a str,
    /// Its length in seconds.
    pub seconds: f64,
    /// What was added in the interval (deltas; gauges as they are).
    pub metrics: &'a [ResourceMetrics],
    /// Hottest functions by workload label, best first: name and share of the
    /// workload's samples (0..=1).
    pub hottest: &'a [(String, Vec<(String, f64)>)],
    /// What Observer itself cost.
    pub own: OwnCost,
    /// Columns of the terminal.
    pub width: usize,
    /// May colours be used?
    pub colours: bool,
}

/// Rows per section.
const ROWS: usize = 8;

/// The summary as text, ending in a newline.
pub fn render(interval: &Interval<'_>) -> String {
    let view = View::new(interval.metrics);
    let mut out = String::new();
    let title = format!(
        "observer · {} · {} · last {} · {} workloads",
        interval.host,
        interval.clock,
        format::seconds(interval.seconds),
        view.workloads()
    );
    out.push_str(&format::heading(&title, interval));
    out.push('\n');
    for section in [
        cpu::section(&view, interval),
        syscalls::section(&view, interval),
        tcp::section(&view, interval),
        disk::section(&view, interval),
    ]
    .into_iter()
    .flatten()
    {
        out.push('\n');
        out.push_str(&section);
    }
    out.push('\n');
    out.push_str(&own::line(interval));
    out
}
