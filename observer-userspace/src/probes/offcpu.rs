//! Time off CPU: for how long, where and for what threads wait.
//!
//! Counted by stack like samples on CPU, in the same tables; so
//! [`super::cpu::Sampler`] takes both. What is special: a block that lasts
//! longer than an interval must be counted to it when it ends. For that an
//! iterator looks at all threads.

use std::sync::Arc;
use std::time::Duration;

use observer_common::family::{Family, Part};
use observer_common::names::programs;

use super::profiled::nanoseconds;
use super::sched::{self, IDENTITY_FIELDS};
use super::{MetricBuilder, Probe, Sight, Tick, unwind};
use crate::blindness::{Unit, Witness};
use crate::foreign::{self, Foreign, Subject};
use crate::kernel::iter::Iterator;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use observer_signals::MetricDef;

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::OffCpu),
    observes: "stacks off CPU",
    programs: &[ProgramSpec {
        name: THREADS,
        attach: Attach::Iterator("task"),
        needs: &["task_on_cpu"],
        lost_without: "time off CPU of threads that wait longer than an interval, until they end",
    }],
    requires: &[&SYSCALLS, &sched::SPEC, &unwind::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[programs::SCHED_SWITCH],
};

/// In which system call each thread is, where the family `syscalls` doesn't tell.
pub static SYSCALLS: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::OffCpu),
    observes: "in which syscall a thread waits",
    programs: &[
        ProgramSpec {
            name: programs::OFFCPU_EXIT,
            attach: Attach::Tracepoint("sys_exit"),
            needs: IDENTITY_FIELDS,
            lost_without: "user stacks off CPU",
        },
        ProgramSpec {
            name: programs::OFFCPU_EXIT2,
            attach: Attach::SecondLook("sys_exit"),
            needs: IDENTITY_FIELDS,
            lost_without: "some user stacks off CPU",
        },
        ProgramSpec {
            name: programs::OFFCPU_ENTER,
            attach: Attach::Tracepoint("sys_enter"),
            needs: IDENTITY_FIELDS,
            lost_without: "user stacks off CPU",
        },
        ProgramSpec {
            name: programs::OFFCPU_ENTER2,
            attach: Attach::SecondLook("sys_enter"),
            needs: IDENTITY_FIELDS,
            lost_without: "some user stacks off CPU",
        },
    ],
    requires: &[&sched::IDENTITY],
    covered_by: Some(Family::Syscalls),
    prepare: None,
    seen_by: &[],
};

const THREADS: &str = programs::OFFCPU_THREADS;

/// Less time off CPU isn't compared: a thread that is busy waits often, and
/// shortly.
const LEAST_TIME: Duration = Duration::from_secs(20);

/// The family, as documented; the work is done by [`super::cpu::Sampler`].
pub struct OffCpu;

impl Probe for OffCpu {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        &[]
    }

    fn collect(&mut self, _tick: &Tick<'_>, _out: &mut MetricBuilder) {}

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        let waited = sight.profiled.and_then(|profiled| profiled.waited);
        let witness = waited.map(|(seen, counted)| Witness {
            // All threads' is more than that of ours, which wait nearly always.
            what: "time off CPU".into(),
            source: "Observer, of its own threads,",
            unit: Unit::Time,
            seen,
            counted,
            least: nanoseconds(LEAST_TIME),
        });
        Ok(witness.into_iter().collect())
    }
}

/// The threads that are off CPU.
#[derive(Debug)]
pub struct Blocked {
    /// `None`: they can't be looked at, and long waits are counted when they end.
    threads: Option<Arc<Iterator>>,
}

impl Blocked {
    /// To be called when the family's programs are attached.
    ///
    /// # Errors
    /// When their iterator is loaded and can't be linked.
    pub fn new(kernel: &mut Kernel) -> anyhow::Result<Self> {
        let threads = match kernel.has(THREADS) {
            true => Some(Arc::new(Iterator::new(kernel, THREADS, None)?)),
            false => None,
        };
        Ok(Self { threads })
    }

    /// Counts their time so far, and theirs alone: what comes is the next
    /// interval's.
    ///
    /// The kernel half doesn't copy stacks of processes whose memory map is locked, but
    /// may still be kept waiting by one. It isn't tried again: as long as it waits the
    /// kernel can't detach programs of anybody.
    ///
    /// # Errors
    /// When the iterator can't be run.
    pub fn catch_up(&mut self) -> anyhow::Result<()> {
        let Some(threads) = self.threads.clone() else {
            return Ok(());
        };
        let run = move |_: &Foreign| threads.run(|_| {});
        match foreign::ask(Subject::Threads, foreign::SHORTLY, run) {
            Ok(run) => run,
            Err(error) => {
                self.threads = None;
                tracing::warn!(
                    "from now on waits are counted when they end: the kernel can't look at all threads: {error}"
                );
                Ok(())
            }
        }
    }
}
