//! Profiles of the daemon, on CPU and off CPU: counted all the time, named once
//! per interval on the symbolizer's thread, handed on when that is done.

use observer_common::workload::WorkloadId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use tokio::sync::oneshot;

use crate::kernel::{Kernel, unwind};
use crate::probes::cpu::Sampler;
use crate::probes::losses::{Cause, MAPPING_LIST_FULL, STACK_UNKNOWN, SYMBOLIZER_TOO_SLOW};
use crate::probes::offcpu::Blocked;
use crate::probes::profiled::{Ledger, Profile as Ended, Profiled};
use crate::probes::request_links::Resolve;
use crate::stacks::mappings::MappingLosses;
use crate::stacks::{RawProfile, Stacks, SymbolOptions, Symbolized, UnwindOptions, UnwindStats};
use observer_common::family::Family;
use observer_export::self_stats::ProfileOutcomes;
use observer_signals::Profile;
use observer_signals::attribute::SharedResource;
use observer_signals::profile::ProfileKind;

/// Profiles that may wait for their names; more mean that the machine is too
/// busy to name them at all, and then the newest is dropped.
const MAX_WAITING: usize = 6;

/// The running profiler.
pub struct Profiler {
    sampler: Sampler,
    /// Which profiles are made.
    kinds: Vec<ProfileKind>,
    stacks: Stacks,
    waiting: VecDeque<oneshot::Receiver<Symbolized>>,
    losses: MappingLosses,
    unnamed: u64,
    seen: ProfileOutcomes,
    ledger: Ledger,
    unwinding: Arc<UnwindStats>,
}

impl Profiler {
    /// Starts: samples on CPU if a frequency is given (`cpu_sample` must be
    /// loaded), time off CPU if `off_cpu` (the programs of that family must be).
    ///
    /// # Errors
    /// The symbolizer's thread can't be started, or the kernel refuses clocks or maps.
    pub fn start(
        kernel: &mut Kernel,
        frequency: Option<u32>,
        off_cpu: bool,
        table_bytes: u64,
    ) -> Result<Self> {
        // Without debug information: it would cost tens of megabytes.
        let stacks = Stacks::start(SymbolOptions {
            debug_info: false,
            interpreter_frames: false,
        })?;
        let mut sampler = match frequency {
            Some(frequency) => Sampler::attach(kernel, frequency)?,
            None => Sampler::without_clocks(kernel)?,
        };
        if off_cpu {
            sampler.follow(Blocked::new(kernel)?);
        }
        let unwinding = Arc::new(UnwindStats::default());
        let (processes, tables) = unwind::take(kernel)?;
        stacks.unwind(UnwindOptions {
            processes,
            tables,
            limit: table_bytes,
            prepare: Vec::new(),
            programs: Vec::new(),
            closely: false,
            stats: unwinding.clone(),
        });
        sampler.start()?;
        let mut ledger = Ledger::default();
        ledger.begin(sampler.counts_off_cpu());
        let kinds = [
            frequency.map(|_| ProfileKind::OnCpu),
            off_cpu.then_some(ProfileKind::OffCpu),
        ];
        Ok(Self {
            sampler,
            kinds: kinds.into_iter().flatten().collect(),
            stacks,
            waiting: VecDeque::new(),
            losses: MappingLosses::default(),
            unnamed: 0,
            seen: ProfileOutcomes::default(),
            ledger,
            unwinding,
        })
    }

    /// Reads what waits in the ring; `resolve` knows requests.
    pub fn drain(&mut self, resolve: &mut Resolve<'_>) {
        self.sampler.drain(resolve);
    }

    /// Samples so many times a second and CPU from the next profile on; this one
    /// is to be taken at once, so that each has one rate.
    pub fn change_frequency(&mut self, frequency: u32) {
        self.sampler.change_frequency(frequency);
    }

    /// Counts time off CPU from now on, or no more.
    ///
    /// # Errors
    /// See [`Sampler::count_off_cpu`].
    pub fn count_off_cpu(&mut self, on: bool) -> Result<()> {
        self.ledger.interrupt();
        self.sampler.count_off_cpu(on)
    }

    /// Samples no more; what was sampled stays until it is taken.
    pub fn stop(&mut self) {
        self.sampler.stop();
    }

    /// Ends an interval: what was sampled goes to be named.
    ///
    /// # Errors
    /// The kernel's tables can't be read; their counts stay for the next time.
    pub fn take(
        &mut self,
        resource: impl FnMut(WorkloadId) -> SharedResource,
        resolve: &mut Resolve<'_>,
    ) -> Result<()> {
        let taken = self.sampler.take(resource, resolve)?;
        let sum = |raw: &RawProfile| raw.samples.iter().map(|sample| sample.value).sum();
        self.ledger.add(&Ended {
            samples: (self.sampler.cpus() > 0).then(|| (sum(&taken.on_cpu), taken.on_cpu.period)),
            waited: sum(&taken.off_cpu),
            counting: self.sampler.counts_off_cpu(),
        });
        for raw in [taken.on_cpu, taken.off_cpu] {
            let counted = raw.kind == ProfileKind::OnCpu || self.sampler.counts_off_cpu();
            if !self.kinds.contains(&raw.kind) || (!counted && raw.samples.is_empty()) {
                continue;
            }
            self.seen.add(raw.kind, raw.outcomes());
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back(self.stacks.symbolize(raw));
                continue;
            }
            // Of time off CPU not nanoseconds, but stacks.
            let lost = match raw.kind {
                ProfileKind::OnCpu => raw.samples.iter().map(|s| s.value).sum(),
                ProfileKind::OffCpu | ProfileKind::Wall => raw.samples.len() as u64,
            };
            self.unnamed += lost;
            tracing::warn!("{lost} samples dropped: symbolizing takes too long");
        }
        self.stacks.let_go();
        Ok(())
    }

    /// What was counted since the start, by what unwinding came to.
    pub fn seen(&self) -> &ProfileOutcomes {
        &self.seen
    }

    /// What profiles say beside what the kernel counts.
    pub fn profiled(&self) -> Profiled {
        self.ledger.sums()
    }

    /// The next profile that has names; waits for ever when none is under way.
    pub async fn finished(&mut self) -> Profile {
        while let Some(next) = self.waiting.front_mut() {
            let result = next.await;
            self.waiting.pop_front();
            match result {
                Ok(symbolized) => {
                    self.report(symbolized.losses);
                    return symbolized.profile;
                }
                Err(_) => tracing::warn!("a profile is lost: the symbolizer ended"),
            }
        }
        std::future::pending().await
    }

    /// Figures about unwinding.
    pub fn unwinding(&self) -> &UnwindStats {
        &self.unwinding
    }

    /// Whether a profile is under way.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Losses of the symbolizer's own since the start: cause and count.
    pub fn losses(&self) -> impl Iterator<Item = (Cause, u64)> {
        let part = Family::Cpu.as_str();
        let mappings = self.losses.causes().map(|(name, meaning, count)| {
            let cause = Cause {
                part,
                name,
                meaning,
            };
            (cause, count)
        });
        mappings.into_iter().chain([
            (SYMBOLIZER_TOO_SLOW, self.unnamed),
            (STACK_UNKNOWN, self.sampler.unknown_stacks()),
            (
                MAPPING_LIST_FULL,
                self.unwinding.no_room.load(Ordering::Relaxed),
            ),
        ])
    }

    fn report(&mut self, now: MappingLosses) {
        if now.records > self.losses.records {
            let count = now.records - self.losses.records;
            tracing::warn!("{count} side-band records lost: some frames may lack a symbol");
        }
        self.losses = now;
    }
}

/// The next profile of a profiler that may not be there.
pub async fn finished(profiler: &mut Option<Profiler>) -> Profile {
    match profiler {
        Some(profiler) => profiler.finished().await,
        None => std::future::pending().await,
    }
}
