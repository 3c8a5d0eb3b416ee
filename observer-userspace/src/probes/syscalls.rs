//! Syscalls: calls, failures and durations by workload.

use observer_common::workload::WorkloadId;
use std::sync::Arc;

use observer_common::family::{Family, Part};
use observer_common::names::programs;
use observer_common::syscalls::split_error_label;
use observer_common::tally::Kind;

use super::{MetricBuilder, Probe, Sight, Tick};
use crate::blindness::{Unit, Witness};
use crate::kernel::cells::Tallies;
use crate::kernel::{Attach, ProbeSpec, ProgramSpec, syscall_names, syscalls};
use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, Instrument, MetricDef, PointValue};
use rustc_hash::FxHashMap;

/// The programs that see a call begin, in the order in which they are attached. Without
/// them calls are counted, but not timed.
pub const BEGIN: [&str; 2] = [programs::SYSCALLS_ENTER, programs::SYSCALLS_ENTER2];

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Syscalls),
    observes: "syscall counts, failures and durations",
    programs: &[
        // Ends first: a call that was seen to begin and not to end would be taken for one
        // whose end the kernel didn't show.
        ProgramSpec {
            name: programs::SYSCALLS_EXIT,
            attach: Attach::Tracepoint("sys_exit"),
            needs: super::sched::IDENTITY_FIELDS,
            lost_without: "all syscall metrics",
        },
        ProgramSpec {
            name: programs::SYSCALLS_EXIT2,
            attach: Attach::SecondLook("sys_exit"),
            needs: super::sched::IDENTITY_FIELDS,
            lost_without: "durations of some syscalls, and whether they failed",
        },
        ProgramSpec {
            name: BEGIN[0],
            attach: Attach::Tracepoint("sys_enter"),
            needs: super::sched::IDENTITY_FIELDS,
            lost_without: "syscalls' durations, and time off CPU by syscall",
        },
        ProgramSpec {
            name: BEGIN[1],
            attach: Attach::SecondLook("sys_enter"),
            needs: super::sched::IDENTITY_FIELDS,
            lost_without: "durations of some syscalls",
        },
    ],
    requires: &[&super::sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[programs::SYSCALLS_EXIT],
};

const NAME: (&str, &str) = ("syscall.name", "Name of the syscall, e.g. `openat`");
const KIND: (&str, &str) = (
    "syscall.wait",
    "`true` for syscalls whose purpose is to wait (poll, futex, nanosleep, …), so that they can be told from work",
);

/// Durations.
pub static DURATION: MetricDef = MetricDef {
    name: "observer.syscall.duration",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Time from a syscall's entry to its return. The count is the number of calls that were timed: all, but those that are older than Observer and, while it saves costs, any.",
    attributes: &[NAME, KIND],
};

/// Calls.
pub static CALLS: MetricDef = MetricDef {
    name: "observer.syscall.calls",
    unit: "{call}",
    instrument: Instrument::Counter,
    description: "Syscalls that returned.",
    attributes: &[NAME, KIND],
};

/// Failures.
pub static ERRORS: MetricDef = MetricDef {
    name: "observer.syscall.errors",
    unit: "{call}",
    instrument: Instrument::Counter,
    description: "Syscalls that failed.",
    attributes: &[
        NAME,
        KIND,
        ("error.type", "Name of the errno, e.g. `ENOENT`"),
    ],
};

static METRICS: &[&MetricDef] = &[&DURATION, &CALLS, &ERRORS];

/// Calls that the family makes itself at each comparison: some microseconds. The
/// kernel has no count of system calls, and nothing else calls this one so often
/// that it would hide that ours aren't seen; where something does, its calls are.
const OWN_CALLS: u64 = 200;

/// The family.
#[derive(Default)]
pub struct Syscalls {
    /// `getppid` that it called itself.
    own: u64,
}

impl Probe for Syscalls {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        METRICS
    }

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        let calls = calls(sight.tallies).into_iter();
        let calls = calls.filter(|((_, label), _)| *label == libc::SYS_getppid as u32);
        let witness = Witness {
            what: "calls of getppid".into(),
            source: "Observer, of its own,",
            unit: Unit::Events,
            seen: calls.map(|(_, (calls, _))| calls).sum(),
            counted: self.own,
            least: OWN_CALLS,
        };
        for _ in 0..OWN_CALLS {
            let _ = nix::unistd::getppid();
        }
        self.own += OWN_CALLS;
        Ok(vec![witness])
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        // Few labels, of thousands of workloads.
        let mut labels: FxHashMap<u32, SharedAttributes> = FxHashMap::default();
        let mut shared = |label| {
            let known = labels.entry(label);
            Arc::clone(known.or_insert_with(|| attributes(label).into()))
        };
        for ((workload, label), (calls, since)) in calls(tick.tallies) {
            out.workload(
                workload,
                &CALLS,
                shared(label),
                tick.clock.wall(since),
                PointValue::Int(i64::try_from(calls).unwrap_or(i64::MAX)),
            );
        }
        for (series, tally) in &tick.tallies.histograms {
            if series.kind != Kind::SyscallDuration as u8 {
                continue;
            }
            let start = tick.clock.wall(tally.since);
            out.workload(
                series.workload,
                &DURATION,
                shared(series.label as u32),
                start,
                PointValue::Histogram(tally.to_histogram()),
            );
        }
        let mut failures: FxHashMap<u64, SharedAttributes> = FxHashMap::default();
        for (series, tally) in &tick.tallies.counters {
            if series.kind != Kind::SyscallErrors as u8 {
                continue;
            }
            let attributes = failures.entry(series.label).or_insert_with(|| {
                let (label, errno) = split_error_label(series.label);
                let mut attributes = attributes(label);
                let name = syscall_names::errno_name(errno);
                attributes.insert(0, Attribute::new("error.type", name));
                attributes.into()
            });
            let value = PointValue::Int(i64::try_from(tally.value).unwrap_or(i64::MAX));
            out.workload(
                series.workload,
                &ERRORS,
                Arc::clone(attributes),
                tick.clock.wall(tally.since),
                value,
            );
        }
    }
}

/// By workload and label: calls, timed or not, and since when they are counted.
fn calls(tallies: &Tallies) -> FxHashMap<(WorkloadId, u32), (u64, u64)> {
    let timed = tallies.histograms.iter();
    let timed = timed.filter(|(series, _)| series.kind == Kind::SyscallDuration as u8);
    let timed = timed.map(|(series, tally)| (series, tally.count(), tally.since));
    let untimed = tallies.counters.iter();
    let untimed = untimed.filter(|(series, _)| series.kind == Kind::SyscallUntimed as u8);
    let untimed = untimed.map(|(series, tally)| (series, tally.value, tally.since));
    let mut calls = FxHashMap::default();
    for (series, count, since) in timed.chain(untimed) {
        let key = (series.workload, series.label as u32);
        let sum = calls.entry(key).or_insert((0, since));
        sum.0 += count;
        sum.1 = sum.1.min(since);
    }
    calls
}

fn attributes(label: u32) -> Vec<Attribute> {
    vec![
        Attribute::new("syscall.name", syscall_names::name(label)),
        Attribute::new("syscall.wait", syscalls::is_wait(label)),
    ]
}
