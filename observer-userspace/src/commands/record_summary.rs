//! What `observer record` says when it is done.

use std::fmt::Write as _;
use std::io::Write as _;

use observer_common::loss::Loss;

use super::record::{RecordOptions, resource_name};
use crate::export::profile_file::Output;
use crate::signals::hottest::hottest;
use crate::stacks::Symbolized;

/// Workloads and functions named.
const WORKLOADS: usize = 3;
const FUNCTIONS: usize = 5;

/// Prints it to standard error.
pub fn print(options: &RecordOptions, result: &Symbolized, losses: &[(Loss, u64)]) {
    let text = summary(options, result, losses);
    // If it is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn summary(options: &RecordOptions, result: &Symbolized, losses: &[(Loss, u64)]) -> String {
    let profile = &result.profile;
    let total = profile.total();
    let mut out = format!(
        "{total} samples in {:.1} s at {} Hz: {:.2} s of CPU time; {} of the frames have a symbol\n",
        profile.duration as f64 / 1e9,
        options.frequency,
        total as f64 * profile.period as f64 / 1e9,
        percent(result.frames.named, result.frames.all),
    );
    // Writing to a String can't fail.
    for hot in hottest(profile, FUNCTIONS, Some).iter().take(WORKLOADS) {
        let resource = profile.resources.get(hot.workload as usize);
        let name = resource.map_or("unknown", resource_name);
        let _ = write!(out, "  {:>6} {name}:", percent(hot.total, total));
        for (function, value) in &hot.functions {
            let _ = write!(out, " {function} {};", percent(*value, hot.total));
        }
        out.pop();
        out.push('\n');
    }
    let mut lost = false;
    for (cause, count) in losses {
        lost = true;
        let _ = writeln!(out, "lost: {count} {} ({})", cause.name(), cause.meaning());
    }
    for (cause, meaning, count) in result.losses.causes() {
        if count > 0 {
            lost = true;
            let _ = writeln!(out, "lost: {count} {cause} ({meaning})");
        }
    }
    if !lost {
        out.push_str("nothing was lost\n");
    }
    if total == 0 {
        out.push_str("no samples: nothing that was to be recorded used a CPU\n");
    }
    for output in &options.outputs {
        if let Output::File(path, _) = output {
            let _ = writeln!(out, "written: {}", path.display());
        }
    }
    out
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}
