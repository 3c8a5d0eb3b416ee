//! Time off CPU of a program that sleeps for a known time.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use observer_export::otlp::Signal;
use observer_testkit::collector::{Collector, named};
use observer_testkit::{observer_bin, workload};
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::Message;

use crate::figures::Figures;

/// A workload's step: 20 sleeps of 100 ms.
pub const SLEEPS: &str = "sleep=20:100";
/// What that is at least, in seconds: timers fire late, never early.
pub const SLEPT: f64 = 2.0;

/// Seconds that the program was asleep, as the daemon exported them.
pub fn in_run(collector: &Collector) -> Result<f64> {
    let whose = named(&["vm-sleep"]);
    let mut off = 0;
    for request in collector.receiver().taken(Signal::Profiles) {
        let request = ExportProfilesServiceRequest::decode(request.message)?;
        let strings = request.dictionary.unwrap_or_default().string_table;
        for group in request.resource_profiles {
            if !whose(&group.resource.unwrap_or_default().attributes) {
                continue;
            }
            for profile in group.scope_profiles.iter().flat_map(|s| &s.profiles) {
                let kind = profile.sample_type.as_ref().map_or(0, |t| t.type_strindex);
                if strings.get(kind as usize).map(String::as_str) == Some("off_cpu") {
                    off += profile.samples.iter().flat_map(|s| &s.values).sum::<i64>();
                }
            }
        }
    }
    Ok(off as f64 / 1e9)
}

/// Compares what a recording has with how long all of it took.
pub fn recorded(figures: &mut Figures) -> Result<()> {
    for kind in ["off-cpu", "wall"] {
        let mut command = Command::new(observer_bin());
        command.args(["record", "--type", kind, "-o", "-", "--"]);
        command.arg(workload::program()?).args(["vm-sleep", SLEEPS]);
        let begin = Instant::now();
        let output = command.output().context("cannot start observer")?;
        let wall = begin.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "record --type {kind}: {said}");
        let text = String::from_utf8_lossy(&output.stdout);
        // Other kinds of time are samples or CPU time of the same unit.
        let waits = text.lines().filter(|line| line.starts_with("vm-sleep;"));
        let ns: u64 = waits
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum();
        let name = format!("off CPU: seconds, record --type {kind}");
        figures.between(&name, ns as f64 / 1e9, SLEPT, wall);
    }
    Ok(())
}
