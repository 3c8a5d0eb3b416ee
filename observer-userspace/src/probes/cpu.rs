//! CPU samples: the stacks of whoever runs, at a fixed rate on every CPU.
//!
//! [`Sampler`] takes what the kernel half counts, on CPU and off CPU.

mod clocks;
mod counts;
mod join;
mod record;
mod sampler;

use std::time::Duration;

use observer_common::family::{Family, Part};
use observer_common::names::programs;

use super::profiled::nanoseconds;
use super::sched::IDENTITY_FIELDS;
use super::{MetricBuilder, Probe, Sight, Tick, unwind};
use crate::blindness::{Unit, Witness};
use crate::kernel::{Attach, ProbeSpec, ProgramSpec};
use observer_signals::MetricDef;

pub use sampler::{Sampler, Taken};

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Cpu),
    observes: "stacks on CPU",
    programs: &[ProgramSpec {
        name: programs::CPU_SAMPLE,
        attach: Attach::Manual,
        needs: IDENTITY_FIELDS,
        lost_without: "CPU profiles",
    }],
    requires: &[&unwind::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[],
};

/// CPU time of fewer seconds isn't compared with samples: the kernel tells it in
/// hundredths of a second, by who runs when its own clock ticks.
const LEAST_CPU_TIME: Duration = Duration::from_secs(5);

/// The family, as documented; the work is done by [`Sampler`].
pub struct Cpu;

impl Probe for Cpu {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        &[]
    }

    fn collect(&mut self, _tick: &Tick<'_>, _out: &mut MetricBuilder) {}

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        let Some(profiled) = sight.profiled else {
            return Ok(Vec::new());
        };
        let witness = profiled.sampled.map(|seen| Witness {
            what: "CPU time of threads".into(),
            source: "/proc/stat",
            unit: Unit::Time,
            seen,
            counted: profiled.busy,
            // Samples that come by chance are less than half of what is expected
            // once in 100,000 times.
            least: (64 * profiled.period).max(nanoseconds(LEAST_CPU_TIME)),
        });
        Ok(witness.into_iter().collect())
    }
}

/// Entries that the tables of samples need so that none is lost even if every
/// sample of an interval has a stack of its own; within reason.
pub fn entries(frequency: u32, interval: Duration) -> u32 {
    /// About 6 MiB of kernel memory for each table.
    const MOST: u32 = 64 * 1024;
    let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len());
    let samples = f64::from(frequency) * cpus as f64 * interval.as_secs_f64();
    (samples.min(f64::from(MOST)) as u32).clamp(1024, MOST)
}

/// Entries that time off CPU needs in addition: a stack of each thread for each
/// place where it waits.
pub const OFF_CPU_ENTRIES: u32 = 32 * 1024;
