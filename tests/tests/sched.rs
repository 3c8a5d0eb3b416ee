//! Checks CPU time, context switches and run-queue latency against what the
//! kernel itself accounts.

use anyhow::{Context, Result, ensure};
use observer_common::tally::Kind;
use observer_testkit::kernel::Fixture;
use observer_testkit::{in_time, workload};

/// Checks CPU time against the thread's own clock: a program that burns 1,000
/// ms of it is charged that within a few percent (the kernel's accounting
/// leaves out stolen and interrupt time, ours doesn't).
#[test]
fn cpu_time_is_the_threads_own() -> Result<()> {
    let mut fixture = Fixture::attach(&[])?;
    workload::run("obs-spin", &["spin=1000"])?.wait()?;
    let seconds = fixture.tallies("obs-spin")?.counter(Kind::CpuTime) as f64 / 1e9;
    in_time!(
        (0.99..1.06).contains(&seconds),
        "1 s of CPU time was counted as {seconds} s"
    );
    Ok(())
}

/// Checks context switches against /proc/PID/status of a process that sleeps
/// 200 times.
#[test]
fn context_switches_agree_with_proc() -> Result<()> {
    let mut fixture = Fixture::attach(&[])?;
    let child = workload::run("obs-switch", &["sleep=200:2", "sleep=1:3000"])?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    // Now it lies in its last, long sleep: nothing moves.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid()))?;
    let proc = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok())
            .context("no such line in status")
    };
    let tallies = fixture.tallies("obs-switch")?;
    let counted = |label| {
        let of_label = tallies
            .counters(Kind::ContextSwitches)
            .filter(|(s, _)| s.label == label);
        of_label.map(|(_, t)| t.value).sum::<u64>()
    };
    let (voluntary, involuntary) = (
        proc("voluntary_ctxt_switches:")?,
        proc("nonvoluntary_ctxt_switches:")?,
    );
    // The few switches between fork and the new name are another workload's.
    ensure!(
        voluntary >= 201,
        "the process slept 201 times, the kernel says {voluntary}"
    );
    ensure!(
        voluntary.abs_diff(counted(0)) <= 8,
        "{voluntary} voluntary, {} counted",
        counted(0)
    );
    ensure!(
        involuntary.abs_diff(counted(1)) <= 8,
        "{involuntary} others, {} counted",
        counted(1)
    );
    Ok(())
}

/// Checks run-queue latency: of three spinning processes on one CPU each waits
/// while the others run.
#[test]
fn waiting_for_a_cpu_is_counted() -> Result<()> {
    let mut fixture = Fixture::attach(&[])?;
    let begin = std::time::Instant::now();
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
        (2.07..2.3).contains(&ran),
        "3 × 700 ms were counted as {ran} s"
    );
    in_time!(
        waited > ran * 0.75 && waited < 3.0 * wall,
        "ran {ran} s, waited {waited} s in {wall} s"
    );
    Ok(())
}
