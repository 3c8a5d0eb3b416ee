//! `observer run` as users start it, with all families: loads of each, one after the
//! other, and then what its collector got.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use observer_testkit::requests::{Daemon, Scene, Seen};
use observer_testkit::workload;
use serde_json::Value;

use crate::figures::Figures;
use crate::{disk, network, off_cpu, requests};

/// System calls that are made.
const CALLS: u64 = 200_000;
/// Those that fail.
const FAILURES: u64 = 5_000;
/// CPU time that is used, in milliseconds.
const SPIN_MS: u64 = 1_000;

/// How often the daemon sends: its default makes runs longer, a second is much work on
/// an emulated processor.
pub const INTERVAL: &str = "5s";

/// How long the daemon is left alone before it ends: some intervals.
pub const SETTLE: Duration = Duration::from_secs(15);

/// Runs the loads and compares.
pub fn all(figures: &mut Figures) -> Result<()> {
    let mut scene = Scene::new()?;
    let servers = requests::Servers::start(&mut scene)?;
    let before = disk::Before::read()?;
    figures.at("servers run; the daemon starts");
    let daemon = Daemon::start_plain("always_on", &["--interval", INTERVAL])?;
    figures.at("the daemon observes; system calls, CPU, sleeps");
    let (calls, failures) = (format!("getppid={CALLS}"), format!("enoent={FAILURES}"));
    workload::run("vm-calls", &[&calls, &failures])?.wait()?;
    let used = cpu_of_children()?;
    workload::run("vm-spin", &[&format!("spin={SPIN_MS}")])?.wait()?;
    let used = cpu_of_children()? - used;
    let begin = Instant::now();
    workload::run("vm-sleep", &[off_cpu::SLEEPS])?.wait()?;
    let slept = begin.elapsed().as_secs_f64();
    figures.at("disk");
    let disk = disk::load().context("the load of disks");
    figures.at("TCP");
    let network = network::load().context("the load of TCP");
    figures.at("requests");
    let asked = requests::load(&daemon, &scene, &servers).context("the load of requests");
    // What it hasn't sent when it is told to end, it may not have the time to send.
    std::thread::sleep(SETTLE);
    figures.at("the daemon ends");
    let (seen, asleep) = daemon.finish_with(off_cpu::in_run)?;
    figures.at("comparing");
    figures.log("run", &seen.log);
    counted(figures, &seen, used);
    figures.between("off CPU: seconds, run", asleep, off_cpu::SLEPT, slept);
    figures.part("block", |figures| {
        before.compare(figures, &seen, disk?);
        Ok(())
    });
    figures.part("tcp", |figures| {
        network::compare(figures, &seen, &network?);
        Ok(())
    });
    figures.part("requests", |figures| {
        requests::compare(figures, &seen, &servers);
        asked
    });
    unattached(figures, &seen.log);
    figures.lost("run", seen.losses());
    Ok(())
}

/// Compares system calls, and CPU time, which is at least what the program wanted, and at
/// most what the kernel says of all of its life, of which it had another name for a moment.
fn counted(figures: &mut Figures, seen: &Seen, used: f64) {
    let calls = |metric, with: &[_]| seen.sum_of(metric, Some("vm-calls"), with) as u64;
    let counted = calls("observer.syscall.calls", &[("syscall.name", "getppid")]);
    let told = seen.lost(&["syscall_missed"]);
    figures.but_for("syscalls: calls", counted, CALLS, told);
    let failing = [("syscall.name", "openat"), ("error.type", "ENOENT")];
    let counted = calls("observer.syscall.errors", &failing);
    // Whether a call failed isn't known if its end wasn't seen.
    let told = seen.lost(&["syscall_missed", "syscall_end_missed"]);
    figures.but_for("syscalls: failing calls", counted, FAILURES, told);
    let spun = seen.sum_of("observer.cpu.time", Some("vm-spin"), &[]);
    figures.between("sched: CPU seconds", spun, SPIN_MS as f64 / 1e3, used);
}

/// CPU seconds of all children that have been waited for.
fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Programs that the daemon says it couldn't attach.
fn unattached(figures: &mut Figures, log: &str) {
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        // Fields stand beside the message, or under a key of their own.
        let field = |key: &str| line[key].as_str().or_else(|| line["fields"][key].as_str());
        let message = field("message").unwrap_or_default();
        if let (Some(program), true) = (field("program"), message.contains("is not attached")) {
            figures.missing("run", program, message);
        }
    }
}
