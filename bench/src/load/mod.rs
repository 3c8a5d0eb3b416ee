//! Programs as they are used: servers under load, a disk, a network.

pub mod agent;
pub mod bulk;
pub mod connections;
pub mod disk;
mod exported;
pub mod keys;
pub mod sql;
pub(super) mod tool_output;
pub mod web;

use std::time::Duration;

use anyhow::{Context, Result};

use super::matrix::{Observer, Peer, Plan, Ready, Results};
use super::report::{Section, Target};
use super::{Options, peers};
use exported::Series;
use observer_requests::metrics::{UNFOLLOWED, WHAT, WHOSE};
use observer_testkit::collector::Collector;

/// When a tool is ready that writes nothing into a file before it ends.
const SILENT: Ready = Ready::Settles("", Duration::from_millis(700));

/// What all of these say of the arguments of Observer.
const SAMPLED: &str = " Observer runs with `--traces-sampler traceidratio --traces-sampler-arg 0.01` and sends to \
     a collector on the same machine.";

/// Why nobody else follows requests here.
const ALONE: &str = "agents that follow requests (OpenTelemetry eBPF Instrumentation, Beyla, Coroot) are not measured: \
     there is neither a Debian package nor a crate of them. The peer sees one function of one known program.";

/// How long a run takes, in seconds.
fn seconds(quick: bool) -> u32 {
    if quick { 1 } else { 2 }
}

/// The same in milliseconds.
fn milliseconds(quick: bool) -> u32 {
    seconds(quick) * 1000
}

fn plan(options: &Options, name: &'static str, title: &str, method: &str) -> Plan {
    Plan::new(options, name, title, format!("{method}{SAMPLED}"))
}

/// One trace of a hundred is kept.
fn sampled(observer: Observer) -> Observer {
    observer
        .arguments(&["--traces-sampler", "traceidratio"])
        .arguments(&["--traces-sampler-arg", "0.01"])
}

/// The report, with what was promised: so many percent fewer operations at most
/// (with all probes), and each of `facts` counted, or lost by name by its family.
fn section(
    plan: &Plan,
    results: &Results,
    fewer: Option<f64>,
    facts: &[(&'static str, &'static str)],
    notes: Vec<String>,
) -> Section {
    let wide = results.observers().filter(|one| !one.narrow);
    let mut targets: Vec<Target> = wide
        .filter_map(|one| {
            Some(Target {
                what: format!(
                    "{}: fewer {}",
                    one.name,
                    results.unit.trim_end_matches("/s")
                ),
                measured: one.fewer(),
                limit: fewer?,
                unit: " %",
            })
        })
        .collect();
    targets.extend(results.usual_targets(facts));
    results.section(plan, targets, notes)
}

/// Requests that Observer counted: those whose durations are in `metric`, and
/// those that it did not follow, of programs called `workload`.
fn requests(
    collector: &Collector,
    metric: &str,
    [workload, protocol, role]: [&str; 3],
) -> Result<f64> {
    let followed = exported::sum(collector, metric, |series| series.of(workload))?;
    let skipped = |series: &Series| {
        series.of(workload) && series.has(WHAT.0, protocol) && series.has(WHOSE.0, role)
    };
    Ok((followed + exported::sum(collector, UNFOLLOWED.name, skipped)?) as f64)
}

/// bpftrace with a program that is known only when the workload is there.
fn bpftrace(name: &'static str, script: String) -> Peer {
    let ready = Ready::Settles("Attaching", Duration::from_millis(700));
    Peer::new(name, ["bpftrace", "bpftrace"], ready, move |_, command| {
        command.args(["-e", &script]);
        Ok(())
    })
}

/// A tool of BCC's, as Debian names it; it prints `says` when it is ready.
fn bcc(name: &'static str, says: &'static str) -> Peer {
    let tool = Peer::new(
        name,
        [name, "bpfcc-tools"],
        Ready::Says(says),
        |_, command| {
            // It is Python, and prints into a file.
            command.env("PYTHONUNBUFFERED", "1");
            Ok(())
        },
    );
    tool.needs(peers::kernel_headers)
}

/// Where a program is that is to be watched.
fn path_of(program: &str) -> Result<String> {
    let path = peers::find(program).map(|path| path.display().to_string());
    path.with_context(|| format!("{program} isn't there"))
}
