//! `observer run` as users start it, with all families: loads of each, one after the
//! other, and then what its collector got.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use observer_testkit::collector::{Collector, named, text};
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

/// Runs the loads and compares.
pub fn all(figures: &mut Figures) -> Result<()> {
    let mut scene = Scene::new()?;
    let servers = requests::Servers::start(&mut scene)?;
    let before = disk::Before::read()?;
    let daemon = Daemon::start_with(None, "always_on", &[])?;
    workload::run(
        "vm-calls",
        &[&format!("getppid={CALLS}"), &format!("enoent={FAILURES}")],
    )?
    .wait()?;
    let used = cpu_of_children()?;
    workload::run("vm-spin", &[&format!("spin={SPIN_MS}")])?.wait()?;
    let used = cpu_of_children()? - used;
    let begin = Instant::now();
    workload::run("vm-sleep", &[off_cpu::SLEEPS])?.wait()?;
    let slept = begin.elapsed().as_secs_f64();
    let disk = disk::load().context("the load of disks");
    let network = network::load().context("the load of TCP");
    let asked = requests::load(&daemon, &scene, &servers).context("the load of requests");
    let (seen, ()) = daemon.finish_with(|collector| {
        calls(figures, collector)?;
        cpu(figures, collector, used)?;
        off_cpu::in_run(figures, collector, slept)?;
        figures.part("disk", |figures| before.compare(figures, collector, disk?));
        figures.part("tcp", |figures| {
            network::compare(figures, collector, &network?)
        });
        Ok(())
    })?;
    figures.part("requests", |figures| {
        asked?;
        requests::compare(figures, &seen, &servers);
        Ok(())
    });
    unattached(figures, &seen.log);
    figures.lost("run", losses(&seen));
    Ok(())
}

/// What was lost, without what is no loss: spans of connections between programs
/// that live for the length of one call.
pub fn losses(seen: &Seen) -> BTreeMap<String, u64> {
    seen.losses()
}

fn calls(figures: &mut Figures, collector: &Collector) -> Result<()> {
    let counted = collector.syscall_calls("vm-calls", "getppid")?;
    figures.equal("syscalls: calls", counted, CALLS);
    let is_failure = |point: &[_]| {
        text(point, "syscall.name") == Some("openat") && text(point, "error.type") == Some("ENOENT")
    };
    let errors = "observer.syscall.errors";
    let counted = collector.total(errors, named(&["vm-calls"]), is_failure)?;
    figures.equal("syscalls: failing calls", counted as u64, FAILURES);
    Ok(())
}

/// CPU time is at least what the program wanted, and at most what the kernel says
/// of all of its life, of which it had another name for a moment.
fn cpu(figures: &mut Figures, collector: &Collector, used: f64) -> Result<()> {
    let spun = collector.total("observer.cpu.time", named(&["vm-spin"]), |_| true)?;
    let wanted = SPIN_MS as f64 / 1e3;
    figures.between("sched: CPU seconds", spun, wanted, used);
    Ok(())
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
