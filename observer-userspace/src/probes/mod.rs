//! One file per probe family: attach it, read it, make signals of it.

pub mod sched;
pub mod syscalls;

mod builder;

pub use builder::MetricBuilder;

use crate::kernel::ProbeSpec;
use crate::kernel::cells::Tallies;
use crate::kernel::clock::Clock;
use crate::signals::MetricDef;

/// What a family's collector gets at each tick.
pub struct Tick<'a> {
    /// Everything counted since the start.
    pub tallies: &'a Tallies,
    /// For timestamps.
    pub clock: Clock,
}

/// A probe family as the agent sees it.
pub trait Probe {
    /// What it needs from the kernel.
    fn spec(&self) -> &'static ProbeSpec;

    /// Every metric it can emit.
    fn metrics(&self) -> &'static [&'static MetricDef];

    /// Adds the points of this tick.
    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder);
}

/// All families with their documentation, for `check` and `docs/metrics.md`.
pub fn all() -> Vec<Box<dyn Probe>> {
    vec![Box::new(sched::Sched), Box::new(syscalls::Syscalls)]
}
