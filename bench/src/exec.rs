//! What short processes pay.

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::loops::{Kind, Loop, LoopWork, ON_THE_WALL};
use super::matrix::{self, Contender, Peer, Plan, Ready};
use super::report::{Section, Target};
use super::stats::median;
use super::{Options, peers};
use observer_testkit::collector::{Collector, named, text};

/// The program's name, by which tools report it.
const COMM: &str = "bench-true";

/// The same in bpftrace's language: how often each program was started.
pub(super) const BPFTRACE: &str = "tracepoint:sched:sched_process_exec { @execs[comm] = count(); }";

/// As many as asked for.
const PACE: u32 = 2000;

/// One after the other, as fast as they go.
pub fn fast(options: &Options) -> Result<Section> {
    let plan = Plan::new(
        options,
        "exec/fast",
        "what a short process pays",
        format!(
            "A process bound to one CPU forks, its child executes a copy of `true`, and it waits for its end: one \
             after the other. {METHOD}"
        ),
    );
    run(plan, 0)
}

/// So many per second.
pub fn paced(options: &Options) -> Result<Section> {
    let plan = Plan::new(
        options,
        "exec/paced",
        format!("what {PACE} short processes per second pay"),
        format!(
            "The same, but no more than {PACE} per second, if this machine can start as many. {METHOD}"
        ),
    );
    run(plan, PACE)
}

const METHOD: &str = "The rate is by the CPU time of the process with its children, from fork to the end. bpftrace \
     counts programs by comm, execsnoop prints each; Observer does with them all that it does. Truth is the number of \
     programs executed, in Observer `observer.syscall.calls` of `execve`.";

fn run(plan: Plan, pace: u32) -> Result<Section> {
    let folder = TempDir::new().context("cannot make a temporary folder")?;
    let program = folder.path().join(COMM);
    let original = peers::find("true").context("there is no `true`")?;
    fs::copy(original, &program).context("cannot copy `true`")?;
    let arguments = [program.as_os_str(), pace.to_string().as_ref()].map(ToOwned::to_owned);
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let mut work = LoopWork {
        looped: Loop::start_with(Kind::Exec, &arguments)?,
        unit: "processes/s",
        calls: "execs",
        bursts: 4,
        switches: false,
    };
    let results = plan.measure(&mut work, &contenders())?;
    let mut targets: Vec<Target> = results
        .observers()
        .map(|one| Target {
            what: format!("{}: longer", one.name),
            measured: one.slower(),
            limit: 3.0,
            unit: " %",
        })
        .collect();
    targets.extend(results.usual_targets(&[("execs", "syscalls")]));
    let reached = results.series.iter().filter_map(|one| {
        let rates = one.extra();
        let rate = median(rates.get(ON_THE_WALL)?);
        Some(format!("{}: {rate:.0}", one.name))
    });
    let note = format!(
        "processes per second on the wall: {}",
        reached.collect::<Vec<_>>().join("; ")
    );
    Ok(results.section(&plan, targets, vec![note]))
}

fn contenders() -> Vec<Box<dyn Contender>> {
    // Before it has executed the program a child is called like its parent.
    let names = [COMM, Kind::Exec.comm()];
    let mut all = matrix::standard(&["syscalls"], |observer| {
        observer.counts("execs", move |collector: &Collector| {
            collector.total("observer.syscall.calls", named(&names), |point| {
                text(point, "syscall.name") == Some("execve")
            })
        })
    });
    let bpftrace = Peer::bpftrace("bpftrace, programs by comm", BPFTRACE);
    all.push(Box::new(bpftrace.counts("execs", |printed| {
        let head = format!("@execs[{COMM}]:");
        let count = printed.lines().find_map(|line| line.strip_prefix(&head));
        let count = count.with_context(|| format!("no count: {printed}"))?;
        count.trim().parse().context("no number")
    })));
    let lines = |printed: &str| {
        let lines = printed.lines().filter(|line| line.starts_with(COMM));
        Ok(lines.count() as f64)
    };
    let libbpf = Peer::libbpf("execsnoop", "execsnoop", &[]);
    all.push(Box::new(libbpf.counts("execs", lines)));
    let name = "execsnoop-bpfcc";
    let bcc = Peer::new(name, [name, "bpfcc-tools"], Ready::Says("PCOMM"), |_, _| {
        Ok(())
    });
    let bcc = bcc.counts("execs", lines);
    all.push(Box::new(bcc.needs(peers::kernel_headers)));
    all
}
