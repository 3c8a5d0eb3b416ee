//! Time off CPU: for how long, where and for what threads wait.
//!
//! Counted by stack like samples on CPU, in the same tables; so
//! [`super::cpu::Sampler`] takes both. What is special: a block that lasts
//! longer than an interval must be counted to it when it ends. For that an
//! iterator looks at all threads.

use super::sched::IDENTITY_FIELDS;
use super::{MetricBuilder, Probe, Tick};
use crate::kernel::iter::Iterator;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use crate::signals::MetricDef;

/// What the family needs, beside the programs of `sched`.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: "offcpu",
    observes: "stacks off CPU",
    programs: &[ProgramSpec {
        name: THREADS,
        attach: Attach::Iterator("task"),
        needs: &["task_on_cpu"],
        lost_without: "time off CPU of threads that wait longer than an interval, until they end",
    }],
};

/// What it needs where the family `syscalls` isn't attached.
pub static SYSCALLS: ProbeSpec = ProbeSpec {
    family: "offcpu",
    observes: "in which syscall a thread waits",
    programs: &[
        ProgramSpec {
            name: "offcpu_enter",
            attach: Attach::Tracepoint("sys_enter"),
            needs: IDENTITY_FIELDS,
            lost_without: "user stacks off CPU",
        },
        ProgramSpec {
            name: "offcpu_exit",
            attach: Attach::Tracepoint("sys_exit"),
            needs: IDENTITY_FIELDS,
            lost_without: "user stacks off CPU",
        },
    ],
};

const THREADS: &str = "offcpu_threads";

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
}

/// The threads that are off CPU.
#[derive(Debug)]
pub struct Blocked {
    threads: Iterator,
}

impl Blocked {
    /// Their iterator must be loaded (`kernel.attach(&SPEC)`).
    ///
    /// # Errors
    /// When it isn't, or can't be linked.
    pub fn new(kernel: &mut Kernel) -> anyhow::Result<Self> {
        let threads = Iterator::new(kernel, THREADS, None)?;
        Ok(Self { threads })
    }

    /// Counts their time so far, and theirs alone: what comes is the next
    /// interval's.
    ///
    /// # Errors
    /// When the iterator can't be run.
    pub fn catch_up(&self) -> anyhow::Result<()> {
        self.threads.run(|_| {})
    }
}
