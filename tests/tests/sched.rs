//! Checks CPU time, context switches and run-queue latency against what the
//! kernel itself accounts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::tally::Kind;
use observer_testkit::kernel::Fixture;
use observer_testkit::stolen::Stolen;
use observer_testkit::{in_time, workload};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Checks CPU time against the thread's own clock: a program that burns 1,000
/// ms of it is charged that within a few percent, and what was stolen (the kernel's
/// accounting leaves out stolen and interrupt time, ours doesn't).
#[test]
fn cpu_time_is_the_threads_own() -> Result<()> {
    let mut fixture = Fixture::attach(&[])?;
    let stolen = Stolen::begin();
    workload::run("obs-spin", &["spin=1000"])?.wait()?;
    let seconds = fixture.tallies("obs-spin")?.counter(Kind::CpuTime) as f64 / 1e9;
    in_time!(
        (0.99..1.06 + stolen.seconds()).contains(&seconds),
        "1 s of CPU time was counted as {seconds} s"
    );
    Ok(())
}

/// A process's name and its switches, voluntary and others, by /proc/PID/status.
fn status(pid: u32) -> Result<(String, [u64; 2])> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = |name: &str| {
        let mut lines = status.lines();
        lines
            .find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            .context("no such line in status")
    };
    let switches = [
        line("voluntary_ctxt_switches:")?.parse()?,
        line("nonvoluntary_ctxt_switches:")?.parse()?,
    ];
    Ok((line("Name:")?, switches))
}

/// The kernel's and our counts of a process's switches, voluntary and others, from a time
/// at which it made none, as soon as `wanted` by the former.
fn switches(
    fixture: &mut Fixture,
    pid: u32,
    wanted: impl Fn([u64; 2]) -> bool,
) -> Result<[[u64; 2]; 2]> {
    let begin = Instant::now();
    loop {
        let (name, before) = status(pid)?;
        if name == "obs-switch" && wanted(before) {
            let tallies = fixture.tallies("obs-switch")?;
            // A sleep that is no short one.
            std::thread::sleep(Duration::from_millis(100));
            let counted = [0, 1].map(|label| {
                let all = tallies.counters(Kind::ContextSwitches);
                let of_label = all.filter(|(series, _)| series.label == label);
                of_label.map(|(_, tally)| tally.value).sum()
            });
            if status(pid)?.1 == before {
                return Ok([before, counted]);
            }
        }
        let waited = begin.elapsed();
        ensure!(waited < PATIENCE, "it never sleeps: {name} {before:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks context switches against /proc/PID/status of a process that sleeps
/// 200 times.
#[test]
fn context_switches_agree_with_proc() -> Result<()> {
    let mut fixture = Fixture::attach(&[])?;
    let steps = ["sleep=1:1500", "sleep=200:2", "sleep=1:600000"];
    let child = workload::run("obs-switch", &steps)?;
    // Those before it had its name are another workload's.
    let first = switches(&mut fixture, child.pid(), |_| true)?;
    let enough = |[voluntary, _]: [u64; 2]| voluntary >= first[0][0] + 200;
    let last = switches(&mut fixture, child.pid(), enough)?;
    let since = |whose: usize| [0, 1].map(|kind| last[whose][kind] - first[whose][kind]);
    let (kernel, counted) = (since(0), since(1));
    ensure!(kernel == counted, "{kernel:?} by the kernel, {counted:?}");
    Ok(())
}

/// Checks run-queue latency: of three spinning processes on one CPU each waits
/// while the others run.
#[test]
fn waiting_for_a_cpu_is_counted() -> Result<()> {
    let mut fixture = Fixture::attach(&[])?;
    let stolen = Stolen::begin();
    let begin = Instant::now();
    let children = (0..3)
        .map(|_| workload::run_on_cpu(0, "obs-queue", &["spin=700"]))
        .collect::<Result<Vec<_>>>()?;
    for child in children {
        child.wait()?;
    }
    let wall = begin.elapsed().as_secs_f64();
    let tallies = fixture.tallies("obs-queue")?;
    let waited: u64 = tallies.histograms(Kind::RunQueue).map(|(_, t)| t.sum).sum();
    let ran = tallies.counter(Kind::CpuTime) as f64 / 1e9;
    let waited = waited as f64 / 1e9;
    in_time!(
        (2.07..2.3 + stolen.seconds()).contains(&ran),
        "3 × 700 ms were counted as {ran} s"
    );
    in_time!(
        waited > ran * 0.75 && waited < 3.0 * wall,
        "ran {ran} s, waited {waited} s in {wall} s"
    );
    Ok(())
}
