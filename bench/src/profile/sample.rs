//! What one sample costs in the kernel half.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_userspace::kernel::stats;
use serde_json::json;
use tempfile::TempDir;

use super::stacks;
use crate::pulse::{Herd, Programs};
use crate::report::Section;
use crate::{Options, machine};
use observer_testkit::daemon::Held;
use observer_testkit::observer_bin;
use observer_testkit::tool::Tool;

/// What was measured at one rate.
struct Measured {
    frequency: u32,
    /// Runs of the program.
    runs: u64,
    /// Nanoseconds of each.
    ns: f64,
    /// Frames in the profile per sample, the kernel's with the process's.
    frames: f64,
    /// Samples in the profile.
    samples: u64,
    /// Instructions that the verifier looked at.
    verified: u64,
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let seconds = if options.quick { 3 } else { 10 };
    let programs = Programs::new()?;
    let busy = Herd::busy(&programs.pulse()?)?;
    let measured = [99, 997]
        .into_iter()
        .map(|frequency| {
            eprintln!("profile/sample: {frequency} Hz");
            measure(frequency, seconds)
        })
        .collect::<Result<Vec<_>>>()?;
    drop(busy);
    let rows = measured.iter().map(|one| {
        vec![
            format!("{} Hz", one.frequency),
            one.runs.to_string(),
            format!("{:.0}", one.ns),
            format!("{:.1}", one.frames),
            format!("{:.0}", one.ns / one.frames.max(1.0)),
            format!("{:.3} %", one.ns * f64::from(one.frequency) / 1e9 * 100.0),
            one.verified.to_string(),
        ]
    });
    let data = measured.iter().map(|one| {
        let numbers = json!({
            "runs": one.runs,
            "samples": one.samples,
            "ns_per_sample": one.ns,
            "frames_per_sample": one.frames,
            "verified_instructions": one.verified,
        });
        (format!("{} Hz", one.frequency), numbers)
    });
    Ok(Section {
        name: "profile/sample",
        title: "what a sample costs in the kernel".into(),
        method: format!(
            "The same busy processes, `observer record` for {seconds} s at each rate, the kernel measuring \
             (BPF statistics): nanoseconds per run of the program that takes a sample, frames per sample \
             in what was recorded (the kernel's and inlined ones with the process's), the share of a busy \
             CPU that sampling takes at that rate, and how many instructions the verifier looked at to \
             accept the program. Runs are all; the recording has those that hit somebody."
        ),
        columns: vec![
            "rate",
            "runs",
            "ns per sample",
            "frames per sample",
            "ns per frame",
            "of a busy CPU",
            "verified instructions",
        ],
        rows: rows.collect(),
        targets: Vec::new(),
        notes: vec![format!("load average after it: {}", machine::load())],
        data: serde_json::Map::from_iter(data).into(),
    })
}

fn measure(frequency: u32, seconds: u64) -> Result<Measured> {
    let folder = TempDir::new()?;
    let out = folder.path().join("out.folded");
    let mut command = Command::new(observer_bin());
    command.args(["record", "--frequency", &frequency.to_string()]);
    command
        .args(["--duration", &format!("{seconds}s"), "-o"])
        .arg(&out);
    let enabled = stats::enable()?;
    let mut tool = Tool::start(&mut command)?;
    let program = Held::sampler(&mut tool)?;
    tool.spent(Duration::from_secs(seconds + 60))?;
    let program = program.read()?;
    drop(enabled);
    let lines = stacks::folded(&fs::read_to_string(&out).context("no recording")?);
    let samples: u64 = lines.iter().map(|line| line.count).sum();
    let frames: u64 = lines
        .iter()
        .map(|line| line.count * line.frames.len() as u64)
        .sum();
    Ok(Measured {
        frequency,
        runs: program.run_count,
        ns: program.run_time_ns as f64 / program.run_count.max(1) as f64,
        frames: frames as f64 / samples.max(1) as f64,
        samples,
        verified: program.verified,
    })
}
