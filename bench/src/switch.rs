//! What a context switch pays.

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::loops::{Kind, Loop, LoopWork};
use super::matrix::{self, Contender, Peer, Plan, Ready};
use super::report::Section;
use super::syscalls::histogram_total;
use super::{Options, peers};
use observer_testkit::collector::{Collector, named};
use std::time::Duration;

/// How long threads wait for a CPU, as bpftrace's own runqlat.bt has it, but by
/// the name of who waited.
pub(super) const RUN_QUEUE: &str = "tracepoint:sched:sched_wakeup, tracepoint:sched:sched_wakeup_new \
     { @since[args->pid] = nsecs; } \
     tracepoint:sched:sched_switch { \
     if (args->prev_state == 0) { @since[args->prev_pid] = nsecs; } \
     $since = @since[args->next_pid]; \
     if ($since) { @ns[args->next_comm] = hist(nsecs - $since); } \
     delete(@since[args->next_pid]); } \
     END { clear(@since); }";

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let plan = Plan::new(
        options,
        "switch",
        "what a context switch pays",
        "Two threads of a process, both bound to one CPU, pass a byte to and fro through pipes: two switches and four \
         system calls a round; its rate is by the process's CPU time. bpftrace keeps a histogram of the wait for a CPU \
         by comm, as its runqlat.bt does, runqlat one of everybody's, `perf sched record` writes every event to a file, Observer keeps histograms \
         of the wait, counts of switches and CPU time by workload. The truth is what the kernel counts in \
         `/proc/PID/task/*/status` (who waits for a CPU isn't quite who switches: bpftrace's figure is near it, not it).",
    );
    let mut work = LoopWork {
        looped: Loop::start(Kind::Pipes)?,
        unit: "rounds/s",
        calls: "calls",
        bursts: 16,
        switches: true,
    };
    let results = plan.measure(&mut work, &contenders()?)?;
    let targets = results.usual_targets(&[("switches", "sched")]);
    Ok(results.section(&plan, targets, Vec::new()))
}

fn contenders() -> Result<Vec<Box<dyn Contender>>> {
    let comm = Kind::Pipes.comm();
    let mut all = matrix::standard(&["sched"], |observer| {
        observer.counts("switches", move |collector: &Collector| {
            collector.total("observer.cpu.context_switches", named(&[comm]), |_| true)
        })
    });
    let bpftrace = Peer::bpftrace("bpftrace, run queue by comm", RUN_QUEUE);
    all.push(Box::new(bpftrace.counts("switches", move |printed| {
        let total = histogram_total(printed, comm);
        Ok(total.with_context(|| format!("no histogram of the loop: {printed}"))? as f64)
    })));
    all.push(Box::new(Peer::libbpf("runqlat", "runqlat", &[])));
    let runqlat = Peer::new(
        "runqlat-bpfcc",
        ["runqlat-bpfcc", "bpfcc-tools"],
        Ready::Says("Tracing"),
        |_, _| Ok(()),
    );
    all.push(Box::new(runqlat.needs(peers::kernel_headers)));
    let file = NamedTempFile::new().context("cannot make a temporary file")?;
    let perf = Peer::new(
        "perf sched record",
        ["perf", "linux-perf"],
        Ready::After(Duration::from_millis(1500)),
        move |_, command| {
            command.args(["sched", "record", "-o"]).arg(file.path());
            Ok(())
        },
    );
    all.push(Box::new(perf));
    Ok(all)
}
