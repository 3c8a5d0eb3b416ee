//! What the governor can lower, in the order in which it does: first sampling
//! rates, then spans, then what is done at each event. Counters have no lever.

mod profiles;
mod programs;
mod requests;
mod spans;

use std::time::Duration;

use anyhow::Result;

use super::limiter::SpanLimiter;
use super::profiler::Profiler;
use crate::governor::Lever;
use crate::kernel::Kernel;
use crate::kernel::tunables::MappedTunables;
use crate::probes::{self, Probe};

/// A lever, and how it is moved.
pub(super) trait Adjust {
    /// Its name and levels.
    fn lever(&self) -> Lever;

    /// Moves it to a level of [`Lever::levels`].
    ///
    /// # Errors
    /// The kernel refuses.
    fn set(
        &mut self,
        level: usize,
        tunables: &mut MappedTunables,
        parts: &mut Parts<'_>,
    ) -> Result<()>;
}

/// The parts of the agent that levers change.
pub(super) struct Parts<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) profiler: &'a mut Option<Profiler>,
    pub(super) limiter: &'a mut SpanLimiter,
    pub(super) probes: &'a mut [Box<dyn Probe>],
    /// The profile under way is to end at once: each has one rate.
    pub(super) ends_profile: bool,
}

/// What there is to be done without.
#[derive(Clone, Debug, Default)]
pub(super) struct Attached {
    /// Stack samples per second and CPU, if there are any.
    pub(super) frequency: Option<u32>,
    /// Shortest time off CPU that is profiled, if any is.
    pub(super) off_cpu: Option<Duration>,
    /// Whether spans leave.
    pub(super) spans: bool,
    /// If requests are followed: of 2ⁿ exchanges one, as configured.
    pub(super) requests: Option<u32>,
    /// The programs that time syscalls, in the order in which they are attached.
    pub(super) syscalls: Vec<&'static str>,
    /// Whether run-queue latency is measured.
    pub(super) run_queue: bool,
    /// The programs that count datagrams, in the order in which they are attached.
    pub(super) datagrams: Vec<&'static str>,
}

/// The levers for what is attached, the first to be lowered first.
pub(super) fn all(attached: Attached) -> Vec<Box<dyn Adjust>> {
    let mut levers: Vec<Box<dyn Adjust>> = Vec::new();
    if let Some(frequency) = attached.frequency {
        levers.push(Box::new(profiles::StackSamples::new(frequency)));
    }
    if let Some(threshold) = attached.off_cpu {
        levers.push(Box::new(profiles::OffCpu::new(threshold)));
    }
    if attached.spans {
        levers.push(Box::new(spans::Traces));
    }
    if let Some(share) = attached.requests {
        levers.push(Box::new(requests::Followed::new(share)));
    }
    // Only now: time off CPU needs to know when a syscall begins, and when a
    // thread was woken. So do requests, even to be counted: a connection is
    // recognised by the bytes that a call took.
    if !attached.syscalls.is_empty() && attached.requests.is_none() {
        levers.push(Box::new(programs::Programs {
            name: "syscall_duration",
            subject: "durations of syscalls",
            // A call whose beginning isn't seen is counted at its end.
            programs: attached.syscalls,
        }));
    }
    if attached.run_queue {
        levers.push(Box::new(programs::Programs {
            name: "run_queue",
            subject: "run-queue latency",
            programs: vec![probes::sched::WAKEUP],
        }));
    }
    // Last, as it is the one count that is given up: it is for each call on a socket.
    if !attached.datagrams.is_empty() {
        levers.push(Box::new(programs::Programs {
            name: "datagrams",
            subject: "datagrams by service",
            programs: attached.datagrams,
        }));
    }
    levers
}

/// A share as people write it: one of `of`.
fn share(of: u32) -> String {
    match of {
        1 => "all".to_owned(),
        _ => format!("1 of {of}"),
    }
}

#[cfg(test)]
mod tests;
