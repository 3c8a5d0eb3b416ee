//! Scheduling: run-queue latency, context switches and CPU time by workload;
//! and the identity of whoever runs, on which all families build.

use std::sync::Arc;

use observer_common::family::{Family, Part};
use observer_common::names::programs;
use observer_common::tally::Kind;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::{MetricBuilder, Probe, Sight, Tick};
use crate::blindness::{Unit, Witness};
use crate::kernel::counters::Host;
use crate::kernel::iter::Iterator;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, Instrument, MetricDef, PointValue};

/// The fields from which a task's workload is derived.
pub const IDENTITY_FIELDS: &[&str] = &[
    "task_pid",
    "task_tgid",
    "task_flags",
    "task_comm",
    "task_state",
    "task_group_leader",
    "task_cgroups",
    "task_cred",
    "cred_uid",
    "task_cpu_time",
    "task_voluntary",
    "task_involuntary",
    "css_set_dfl_cgrp",
    "css_cgroup",
    "css_parent",
    "cgroup_self",
    "cgroup_kn",
    "kernfs_node_id",
];

/// The identity programs: always attached.
pub static IDENTITY: ProbeSpec = ProbeSpec {
    family: Part::Identity,
    observes: "which workload runs",
    programs: &[ProgramSpec {
        name: programs::IDENTITY_RENAME,
        attach: Attach::Tracepoint("task_rename"),
        needs: &["task_pid"],
        lost_without: "a running thread's new workload until its next context switch",
    }],
    requires: &[&THREADS],
    covered_by: None,
    prepare: None,
    seen_by: &[],
};

/// Run over all threads: once, first of all, and then now and then.
static THREADS: ProbeSpec = ProbeSpec {
    family: Part::Identity,
    observes: "all threads",
    programs: &[
        ProgramSpec {
            name: programs::IDENTITY_THREADS,
            attach: Attach::Iterator("task"),
            needs: &[],
            lost_without: "some threads' first switches after the start",
        },
        ProgramSpec {
            name: programs::IDENTITY_SWEEP,
            attach: Attach::Iterator("task"),
            needs: &[],
            lost_without: "the places in the table of workloads that end",
        },
        ProgramSpec {
            name: programs::IDENTITY_PROGRAM,
            attach: Attach::Iterator("task"),
            needs: &["task_tgid", "task_comm", "task_group_leader", "task_on_cpu"],
            lost_without: "which of several programs of one name and cgroup a process runs",
        },
    ],
    requires: &[],
    covered_by: None,
    prepare: Some(make_room),
    seen_by: &[],
};

/// Has the kernel half make room for what it knows of each thread, where there
/// is time for it: at their switches memory is short. Each CPU has memory of
/// its own for that, so it is done on each; those that the daemon may not use
/// do without.
fn make_room(kernel: &mut Kernel) -> anyhow::Result<()> {
    let threads = Iterator::new(kernel, programs::IDENTITY_THREADS, None)?;
    // In a thread of its own, as it moves.
    let run = || {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        for cpu in 0..CpuSet::count() {
            if allowed.is_set(cpu)? {
                let mut here = CpuSet::new();
                here.set(cpu)?;
                sched_setaffinity(Pid::from_raw(0), &here)?;
                threads.run(|_| {})?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| anyhow::bail!("the thread that makes room panicked"))
}

/// Attached when a filter follows a process and its children.
pub static FOLLOW: ProbeSpec = ProbeSpec {
    family: Part::Identity,
    observes: "children of filtered processes",
    programs: &[
        ProgramSpec {
            name: programs::IDENTITY_FORK,
            attach: Attach::Tracepoint("sched_process_fork"),
            needs: &["task_tgid"],
            lost_without: "children of the recorded command",
        },
        ProgramSpec {
            name: programs::IDENTITY_EXIT,
            attach: Attach::Tracepoint("sched_process_exit"),
            needs: &["task_tgid", "task_pid"],
            lost_without: "the end of recorded processes",
        },
    ],
    requires: &[],
    covered_by: None,
    prepare: None,
    seen_by: &[],
};

/// The program that sees a thread being woken. Without it run-queue latency isn't
/// measured.
pub const WAKEUP: &str = programs::SCHED_WAKEUP;

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Sched),
    observes: "run-queue latency, context switches, CPU time",
    programs: &[
        ProgramSpec {
            name: programs::SCHED_SWITCH,
            attach: Attach::Tracepoint("sched_switch"),
            needs: IDENTITY_FIELDS,
            lost_without: "CPU time, context switches, and the duration of syscalls that wait",
        },
        ProgramSpec {
            name: WAKEUP,
            attach: Attach::Tracepoint("sched_wakeup"),
            needs: &[],
            lost_without: "run-queue latency",
        },
        ProgramSpec {
            name: programs::SCHED_WAKEUP_NEW,
            attach: Attach::Tracepoint("sched_wakeup_new"),
            needs: &[],
            lost_without: "run-queue latency of new threads",
        },
    ],
    requires: &[&IDENTITY],
    covered_by: None,
    prepare: None,
    seen_by: &[programs::SCHED_SWITCH],
};

/// Run-queue latency.
pub static RUN_QUEUE: MetricDef = MetricDef {
    name: "observer.cpu.run_queue.duration",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Time that a runnable thread waited for a CPU.",
    attributes: &[],
};

/// CPU time.
pub static CPU_TIME: MetricDef = MetricDef {
    name: "observer.cpu.time",
    unit: "s",
    instrument: Instrument::Counter,
    description: "CPU time of the workload's threads, user and kernel together, as the kernel's scheduler accounts it (`sum_exec_runtime`).",
    attributes: &[],
};

/// Context switches.
pub static CONTEXT_SWITCHES: MetricDef = MetricDef {
    name: "observer.cpu.context_switches",
    unit: "{switch}",
    instrument: Instrument::Counter,
    description: "Times that a thread of the workload gave up its CPU or lost it.",
    attributes: &[(
        "process.context_switch.type",
        "`voluntary` when the thread went to wait, `involuntary` when it could have gone on",
    )],
};

static METRICS: &[&MetricDef] = &[&RUN_QUEUE, &CPU_TIME, &CONTEXT_SWITCHES];

/// Fewer switches aren't compared: between reading ours and the kernel's there may
/// be some.
const LEAST_SWITCHES: u64 = 1000;

/// Nor is less CPU time, in nanoseconds: the kernel tells it in hundredths of a
/// second, and ours is counted when a thread gives its CPU up.
const LEAST_CPU_TIME: u64 = 5_000_000_000;

/// The family.
pub struct Sched;

impl Probe for Sched {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        METRICS
    }

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        let host = Host::read()?;
        let source = "/proc/stat";
        Ok(vec![
            Witness {
                what: "context switches of threads".into(),
                source,
                unit: Unit::Events,
                seen: sight.tallies.sum(Kind::ContextSwitches),
                // On each CPU the idle task gives way at most as often as threads do.
                counted: host.switches / 2,
                least: LEAST_SWITCHES,
            },
            Witness {
                what: "CPU time of threads".into(),
                source,
                unit: Unit::Time,
                seen: sight.tallies.sum(Kind::CpuTime),
                counted: host.ticking_busy,
                least: LEAST_CPU_TIME,
            },
        ])
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        let none = SharedAttributes::default();
        let [voluntary, involuntary] = ["voluntary", "involuntary"].map(|how| {
            SharedAttributes::from([Attribute::new("process.context_switch.type", how)])
        });
        for (series, tally) in &tick.tallies.histograms {
            if series.kind == Kind::RunQueue as u8 {
                let value = PointValue::Histogram(tally.to_histogram());
                out.workload(
                    series.workload,
                    &RUN_QUEUE,
                    Arc::clone(&none),
                    tick.clock.wall(tally.since),
                    value,
                );
            }
        }
        for (series, tally) in &tick.tallies.counters {
            let start = tick.clock.wall(tally.since);
            if series.kind == Kind::CpuTime as u8 {
                let value = PointValue::Double(tally.value as f64 / 1e9);
                let attributes = Arc::clone(&none);
                out.workload(series.workload, &CPU_TIME, attributes, start, value);
            } else if series.kind == Kind::ContextSwitches as u8 {
                let attributes = Arc::clone(match series.label {
                    0 => &voluntary,
                    _ => &involuntary,
                });
                let value = PointValue::Int(i64::try_from(tally.value).unwrap_or(i64::MAX));
                out.workload(series.workload, &CONTEXT_SWITCHES, attributes, start, value);
            }
        }
    }
}
