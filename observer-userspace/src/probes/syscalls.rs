//! Syscalls: calls, failures and durations by workload.

use std::collections::HashMap;

use observer_common::syscalls::{COMPAT, UNKNOWN, split_error_label};
use observer_common::tally::Kind;

use super::{MetricBuilder, Probe, Tick};
use crate::kernel::cells::Tallies;
use crate::kernel::{Attach, ProbeSpec, ProgramSpec};
use crate::signals::{Attribute, Instrument, MetricDef, PointValue, Value};

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: "syscalls",
    observes: "syscall counts, failures and durations",
    programs: &[
        ProgramSpec {
            name: "syscalls_enter",
            attach: Attach::Tracepoint("sys_enter"),
            needs: super::sched::IDENTITY_FIELDS,
            lost_without: "syscalls' durations, and time off CPU by syscall",
        },
        ProgramSpec {
            name: "syscalls_exit",
            attach: Attach::Tracepoint("sys_exit"),
            needs: super::sched::IDENTITY_FIELDS,
            lost_without: "all syscall metrics",
        },
    ],
    requires: &[&super::sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &["syscalls_exit"],
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

/// The family.
pub struct Syscalls;

impl Probe for Syscalls {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        METRICS
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        for ((workload, label), (calls, since)) in calls(tick.tallies) {
            out.workload(
                workload,
                &CALLS,
                attributes(label),
                tick.clock.wall(since),
                PointValue::Int(i64::try_from(calls).unwrap_or(i64::MAX)),
            );
        }
        for (series, tally) in &tick.tallies.histograms {
            if series.kind != Kind::SyscallDuration as u8 {
                continue;
            }
            let attributes = attributes(series.label as u32);
            let start = tick.clock.wall(tally.since);
            out.workload(
                series.workload,
                &DURATION,
                attributes,
                start,
                PointValue::Histogram(tally.to_histogram()),
            );
        }
        for (series, tally) in &tick.tallies.counters {
            if series.kind != Kind::SyscallErrors as u8 {
                continue;
            }
            let (label, errno) = split_error_label(series.label);
            let mut attributes = attributes(label);
            attributes.insert(0, Attribute::new("error.type", errno_name(errno)));
            let value = PointValue::Int(i64::try_from(tally.value).unwrap_or(i64::MAX));
            out.workload(
                series.workload,
                &ERRORS,
                attributes,
                tick.clock.wall(tally.since),
                value,
            );
        }
    }
}

/// By workload and label: calls, timed or not, and since when they are counted.
fn calls(tallies: &Tallies) -> HashMap<(u16, u32), (u64, u64)> {
    let timed = tallies.histograms.iter();
    let timed = timed.filter(|(series, _)| series.kind == Kind::SyscallDuration as u8);
    let timed = timed.map(|(series, tally)| (series, tally.count(), tally.since));
    let untimed = tallies.counters.iter();
    let untimed = untimed.filter(|(series, _)| series.kind == Kind::SyscallUntimed as u8);
    let untimed = untimed.map(|(series, tally)| (series, tally.value, tally.since));
    let mut calls = HashMap::new();
    for (series, count, since) in timed.chain(untimed) {
        let key = (series.workload, series.label as u32);
        let sum = calls.entry(key).or_insert((0, since));
        sum.0 += count;
        sum.1 = sum.1.min(since);
    }
    calls
}

fn attributes(label: u32) -> Vec<Attribute> {
    let name = name(label);
    let wait = WAITS.contains(&name.as_str());
    vec![
        Attribute::new("syscall.name", name),
        Attribute::new("syscall.wait", wait),
    ]
}

/// Name of the syscall behind a label.
pub fn name(label: u32) -> String {
    let number = label & !COMPAT;
    if number == UNKNOWN {
        return "unknown".into();
    }
    let known = if label & COMPAT != 0 {
        compat_name(number)
    } else {
        native_name(number)
    };
    known.map_or_else(|| format!("syscall_{number}"), str::to_string)
}

#[cfg(target_arch = "x86_64")]
fn native_name(number: u32) -> Option<&'static str> {
    syscalls::x86_64::Sysno::new(number as usize).map(|s| s.name())
}

#[cfg(target_arch = "x86_64")]
fn compat_name(number: u32) -> Option<&'static str> {
    syscalls::x86::Sysno::new(number as usize).map(|s| s.name())
}

#[cfg(target_arch = "aarch64")]
fn native_name(number: u32) -> Option<&'static str> {
    syscalls::aarch64::Sysno::new(number as usize).map(|s| s.name())
}

#[cfg(target_arch = "aarch64")]
fn compat_name(number: u32) -> Option<&'static str> {
    syscalls::arm::Sysno::new(number as usize).map(|s| s.name())
}

/// Syscalls whose purpose is to wait for somebody else. Reads and writes may
/// block too, but they also do work, so they are not here.
const WAITS: &[&str] = &[
    "accept",
    "accept4",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "flock",
    "futex",
    "futex_time64",
    "futex_wait",
    "futex_waitv",
    "io_getevents",
    "io_pgetevents",
    "io_uring_enter",
    "msgrcv",
    "mq_timedreceive",
    "nanosleep",
    "pause",
    "poll",
    "ppoll",
    "ppoll_time64",
    "pselect6",
    "pselect6_time64",
    "restart_syscall",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_sigtimedwait_time64",
    "select",
    "semop",
    "semtimedop",
    "sigsuspend",
    "wait4",
    "waitid",
    "waitpid",
    "_newselect",
];

/// Name of an errno, including the kernel's own that only tracers see.
pub fn errno_name(errno: u32) -> Value {
    // include/linux/errno.h: returned when a signal interrupts; user space
    // sees EINTR or the call is restarted.
    match errno {
        512 => return "ERESTARTSYS".into(),
        513 => return "ERESTARTNOINTR".into(),
        514 => return "ERESTARTNOHAND".into(),
        515 => return "ENOIOCTLCMD".into(),
        516 => return "ERESTART_RESTARTBLOCK".into(),
        524 => return "ENOTSUPP".into(),
        _ => {}
    }
    match nix::errno::Errno::from_raw(errno as i32) {
        nix::errno::Errno::UnknownErrno => format!("{errno}").into(),
        known => format!("{known:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names against numbers of the kernel's x86 tables.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn names() {
        assert_eq!(name(39), "getpid");
        assert_eq!(name(257), "openat");
        assert_eq!(name(COMPAT | 20), "getpid");
        assert_eq!(name(1000), "syscall_1000");
        assert_eq!(name(UNKNOWN), "unknown");
        assert_eq!(errno_name(2), "ENOENT".into());
        assert_eq!(errno_name(512), "ERESTARTSYS".into());
    }

    /// Checks that every name in the list of waits is a syscall of some table.
    #[test]
    fn waits_exist() {
        let known = |wanted: &str| {
            (0..1024).any(|n| native_name(n) == Some(wanted) || compat_name(n) == Some(wanted))
        };
        for wait in WAITS {
            assert!(known(wait), "{wait} is in no syscall table");
        }
    }
}
