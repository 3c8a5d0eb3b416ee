//! One file per probe family: attach it, read it, make signals of it.

pub mod block;
pub mod cpu;
pub mod losses;
pub mod net;
pub mod offcpu;
pub mod plan;
pub mod pressure;
pub mod profiled;
pub(crate) mod request_links;
pub(crate) mod requests;
pub(crate) mod sched;
pub mod syscalls;
pub mod tcp;
mod unwind;

use observer_common::workload::WorkloadId;
pub use observer_signals::MetricBuilder;

use crate::blindness::Witness;
use crate::config::Config;
use crate::kernel::cells::Tallies;
use crate::kernel::{Kernel, ProbeSpec};
use losses::Cause;
use observer_signals::attribute::SharedResource;
use observer_signals::{MetricDef, RequestLink, Span, WallClock};
use profiled::Profiled;

/// What a family's collector gets at each tick.
pub struct Tick<'a> {
    /// Everything counted since the start.
    pub tallies: &'a Tallies,
    /// For the series' start times. Measured once: a start that wandered with
    /// the wall clock would look like a series that begins anew.
    pub clock: WallClock,
    /// The resource of a workload, if it is known.
    pub resource: &'a dyn Fn(WorkloadId) -> Option<SharedResource>,
}

/// What a family is compared by.
pub struct Sight<'a> {
    /// The kernel half.
    pub kernel: &'a mut Kernel,
    /// Everything counted since the start.
    pub tallies: &'a Tallies,
    /// What profiles say and what they could have said, if there are any.
    pub profiled: Option<Profiled>,
}

/// Takes the spans that a family makes of its records.
pub struct SpanCollector<'a> {
    /// For timestamps.
    pub clock: WallClock,
    /// Names a workload's resource.
    pub resource: &'a mut dyn FnMut(WorkloadId) -> SharedResource,
    /// Finished spans with the workload that each belongs to; the agent keeps
    /// to the rate limit and counts what that drops.
    pub spans: Vec<(WorkloadId, Span)>,
    /// Finished spans of which was decided already that they are kept.
    pub kept: Vec<Span>,
    /// Whether anybody takes spans: otherwise they needn't be made.
    pub wants_spans: bool,
}

/// A probe family as the agent sees it. All methods run on the agent's thread.
pub trait Probe {
    /// What it needs from the kernel.
    fn spec(&self) -> &'static ProbeSpec;

    /// Whether anything of what it observes can be seen, once all programs are
    /// attached.
    fn is_seen(&self, kernel: &Kernel) -> bool {
        kernel.sees(self.spec())
    }

    /// Called first of all, if it takes options.
    fn configure(&mut self, _config: &Config) {}

    /// Every metric it can emit.
    fn metrics(&self) -> &'static [&'static MetricDef];

    /// Called once when its programs are attached, e.g. to take stock of what
    /// is older than the daemon. An error is logged and the rest goes on.
    fn start(&mut self, _kernel: &mut Kernel) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called once after all families are attached and the memory that it took
    /// is given back.
    fn begin(&mut self, _kernel: &mut Kernel) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called once when the daemon ends, before records are read for the last
    /// time: from then on nothing is to be told that nobody would read.
    fn end(&mut self, _kernel: &mut Kernel) -> anyhow::Result<()> {
        Ok(())
    }

    /// A workload is over, as far as the tallies tell: what the family itself keeps
    /// of it goes on as that of `heir`, one that is over, too (or itself); without
    /// an heir it is forgotten.
    fn retire(&mut self, _gone: WorkloadId, _heir: Option<WorkloadId>) {}

    /// Called at each tick before the tallies are read, e.g. to have an
    /// iterator bring them up to date.
    fn before_tick(&mut self, _kernel: &mut Kernel) -> anyhow::Result<()> {
        Ok(())
    }

    /// Adds the points of this tick.
    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder);

    /// What of that which it observes somebody else counts, too, as of now. Asked
    /// once a minute, after [`Self::before_tick`], and only where every process is
    /// traced. Where nobody counts it, the family does something itself whose
    /// number it knows. What it can't count for a known reason (a program that
    /// isn't attached, a lever that is down) it leaves out.
    ///
    /// # Errors
    /// When the other's count can't be read.
    fn witnesses(&mut self, sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>>;

    /// The ring buffer of its records, if it has one.
    fn ring(&self) -> Option<&'static str> {
        None
    }

    /// Takes one record of its ring buffer.
    fn record(&mut self, _record: &[u8], _out: &mut SpanCollector<'_>) {}

    /// Called when its ring was emptied, several times a second and once more
    /// (`last`) at the end, e.g. to put records into order.
    fn drained(&mut self, _last: bool, _out: &mut SpanCollector<'_>) {}

    /// From now on keep one in `n` of the traces that would be kept, if the family
    /// decides on traces.
    fn keep_one_in(&mut self, _n: u32) {}

    /// What it lost so far on its way through the daemon.
    fn losses(&self) -> Vec<(Cause, u64)> {
        Vec::new()
    }

    /// What is known of a request by the kernel half's number, if the family
    /// follows requests; asked for each sample that was taken while a thread
    /// served it.
    fn request_link(&self, _request: u64) -> Option<RequestLink> {
        None
    }
}

/// All families with their documentation, for `check` and `docs/metrics.md`.
pub fn all() -> Vec<Box<dyn Probe>> {
    vec![
        Box::new(sched::Sched),
        Box::<syscalls::Syscalls>::default(),
        Box::new(cpu::Cpu),
        Box::new(offcpu::OffCpu),
        Box::new(block::Block::default()),
        Box::<tcp::Tcp>::default(),
        Box::<requests::Requests>::default(),
        Box::<net::Net>::default(),
        Box::<pressure::Pressure>::default(),
    ]
}
