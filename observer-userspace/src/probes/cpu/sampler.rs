//! The sampler: starts and stops counting, and takes what was counted,
//! interval by interval.

use observer_common::workload::WorkloadId;
use std::collections::HashMap;
use std::sync::Arc;

use aya::maps::{MapData, RingBuf};
use observer_common::cpu::SampleKey;
use observer_common::names::maps;
use observer_common::ring::SharedRing;

use super::clocks::Clocks;
use super::counts::Counts;
use super::join::{Join, SampledStack};
use super::record::{parse, text};
use crate::kernel::Kernel;
use crate::kernel::clock;
use crate::kernel::shares::RingShares;
use crate::probes::offcpu;
use crate::probes::request_links::{RequestLinks, Resolve};
use crate::stacks::{RawProfile, RawStack};
use observer_signals::RequestLink;
use observer_signals::attribute::SharedResource;
use observer_signals::profile::ProfileKind;

/// Nanoseconds of CPU time that a sample would stand for without clocks.
const NO_CLOCK_PERIOD: u64 = 1_000_000_000;

/// What was counted in an interval, before it has names.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Samples of threads on CPU.
    pub on_cpu: RawProfile,
    /// Nanoseconds of threads off CPU; without samples unless they are followed.
    pub off_cpu: RawProfile,
}

/// Samples all CPUs until it is dropped.
pub struct Sampler {
    /// `None`: nothing on CPU is sampled.
    clocks: Option<Clocks>,
    /// Threads off CPU, if they are followed.
    off_cpu: Option<offcpu::Blocked>,
    running: bool,
    ring: RingBuf<MapData>,
    /// Who may add how much to that.
    shares: RingShares,
    counts: Counts,
    join: Join,
    /// The requests that sampled threads served.
    links: RequestLinks,
    /// When the interval began, CLOCK_MONOTONIC in nanoseconds.
    since: u64,
    /// When sampling was stopped, likewise.
    until: Option<u64>,
    /// [`Join::unknown`] as far as it was logged.
    unknown_reported: u64,
}

impl Sampler {
    /// Opens one clock per online CPU with `frequency` ticks per second of CPU
    /// time that isn't idle. The family's program must be loaded
    /// (`kernel.attach(&SPEC)`). Nothing is sampled before [`Self::start`].
    ///
    /// # Errors
    /// When a map is missing or a clock can't be opened.
    pub fn attach(kernel: &mut Kernel, frequency: u32) -> anyhow::Result<Self> {
        let clocks = Clocks::open(kernel, frequency)?;
        let mut sampler = Self::without_clocks(kernel)?;
        sampler.clocks = Some(clocks);
        Ok(sampler)
    }

    /// One that samples nothing, for threads off CPU only.
    ///
    /// # Errors
    /// When a map is missing.
    pub fn without_clocks(kernel: &mut Kernel) -> anyhow::Result<Self> {
        Ok(Self {
            clocks: None,
            off_cpu: None,
            running: false,
            shares: RingShares::map(kernel, SharedRing::Stacks)?,
            ring: RingBuf::try_from(kernel.take_map(maps::STACK_RING)?)?,
            counts: Counts::take(kernel)?,
            join: Join::default(),
            links: RequestLinks::default(),
            since: clock::monotonic(),
            until: None,
            unknown_reported: 0,
        })
    }

    /// From its start on, threads off CPU are counted as well.
    pub fn follow(&mut self, off_cpu: offcpu::Blocked) {
        self.off_cpu = Some(off_cpu);
    }

    /// Starts sampling; the interval begins now.
    ///
    /// # Errors
    /// When a clock can't be started, or threads can't be looked at.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.begin_off_cpu()?;
        if let Some(clocks) = &mut self.clocks {
            clocks.start()?;
        }
        self.running = true;
        self.until = None;
        self.since = clock::monotonic();
        Ok(())
    }

    /// Stops sampling; what was sampled stays until it is taken.
    pub fn stop(&mut self) {
        if self.running && self.off_cpu.is_some() {
            let caught_up = self
                .catch_up()
                .and_then(|()| self.counts.count_off_cpu(false));
            if let Err(error) = caught_up {
                tracing::warn!("time off CPU may go beyond the end: {error:#}");
            }
        }
        self.running = false;
        self.until.get_or_insert(clock::monotonic());
        if let Some(clocks) = &mut self.clocks {
            clocks.stop();
        }
    }

    /// Samples so many times a second and CPU from the next interval on. What is
    /// left of this one has no samples: take it at once.
    pub fn change_frequency(&mut self, frequency: u32) {
        if let Some(clocks) = &mut self.clocks {
            clocks.change_frequency(frequency);
        }
    }

    /// Counts time off CPU from now on, or no more, if threads off CPU are
    /// followed at all.
    ///
    /// # Errors
    /// When threads can't be looked at or the kernel half can't be told.
    pub fn count_off_cpu(&mut self, on: bool) -> anyhow::Result<()> {
        if self.off_cpu.is_none() || !self.running || on == self.counts_off_cpu() {
            return Ok(());
        }
        if on {
            return self.begin_off_cpu();
        }
        self.catch_up()?;
        self.counts.count_off_cpu(false)
    }

    /// Whether time off CPU is being counted.
    pub fn counts_off_cpu(&self) -> bool {
        self.counts.counts_off_cpu()
    }

    /// CPUs that are sampled.
    pub fn cpus(&self) -> usize {
        self.clocks.as_ref().map_or(0, Clocks::cpus)
    }

    /// Reads the stacks that wait in the ring, and asks `resolve` for the
    /// requests that sampled threads served: to be called several times a
    /// second where there are any.
    pub fn drain(&mut self, resolve: &mut Resolve<'_>) {
        let now = clock::monotonic();
        // Threads often share a stack.
        let mut shared: HashMap<(u64, u64), Arc<RawStack>> = HashMap::new();
        while let Some(record) = self.ring.next() {
            // Its samples will have no stack, which is counted.
            let Some((header, stack)) = parse(&record) else {
                continue;
            };
            self.links.note(header.key.request, now);
            let id = (header.key.hash, header.key.check);
            let stack = shared.entry(id).or_insert_with(|| Arc::new(stack)).clone();
            let sampled = SampledStack {
                stack,
                thread: text(&header.thread),
                process: text(&header.process),
            };
            self.join.learn(header.epoch, header.key, sampled);
        }
        self.shares.are_free();
        self.links.ask(now, resolve);
    }

    /// What is known by now of the request with this number.
    pub fn request_link(
        &mut self,
        request: u64,
        resolve: &mut Resolve<'_>,
    ) -> Option<Arc<RequestLink>> {
        self.links.get(request, clock::monotonic(), resolve)
    }

    /// Takes everything counted since the last call (or [`Self::start`]);
    /// `resource` names a workload's resource, `resolve` requests. Blocks for
    /// some milliseconds, until no CPU can still be counting in the old interval.
    ///
    /// # Errors
    /// When the kernel's maps can't be read.
    pub fn take(
        &mut self,
        mut resource: impl FnMut(WorkloadId) -> SharedResource,
        resolve: &mut Resolve<'_>,
    ) -> anyhow::Result<Taken> {
        if self.running && self.counts_off_cpu() {
            self.catch_up()?;
        }
        let begin = self.since;
        let now = self.until.unwrap_or_else(clock::monotonic);
        let left = self.counts.flip()?;
        self.since = now;
        self.drain(resolve);
        let mut interval = self.join.interval(left);
        let links = &mut self.links;
        self.counts.empty(left, |key: SampleKey, value: u64| {
            let request_link = |request| links.get(request, now, resolve);
            interval.count(&key, value, &mut resource, request_link);
        })?;
        let (on_cpu, off_cpu) = interval.end();
        self.report_unknown();
        let start = clock::measure().wall(begin);
        let duration = now.saturating_sub(begin);
        let taken = Taken {
            on_cpu: RawProfile {
                kind: ProfileKind::OnCpu,
                start,
                duration,
                period: self.clocks.as_ref().map_or(NO_CLOCK_PERIOD, Clocks::period),
                samples: on_cpu,
            },
            off_cpu: RawProfile {
                kind: ProfileKind::OffCpu,
                start,
                duration,
                period: 1,
                samples: off_cpu,
            },
        };
        self.links.end_interval();
        if let Some(clocks) = &mut self.clocks {
            clocks.begin_interval()?;
        }
        Ok(taken)
    }

    /// Counts so far whose stack the kernel half never told.
    pub fn unknown_stacks(&self) -> u64 {
        self.join.unknown()
    }

    fn report_unknown(&mut self) {
        let now = self.join.unknown();
        let new = now - std::mem::replace(&mut self.unknown_reported, now);
        if new > 0 {
            tracing::warn!("{new} stacks that were counted never arrived: they show as empty");
        }
    }

    /// Counts time off CPU from now on, if threads off CPU are followed.
    fn begin_off_cpu(&mut self) -> anyhow::Result<()> {
        if self.off_cpu.is_none() {
            return Ok(());
        }
        // Nothing is counted yet: this only notes who is off CPU, and then asks
        // for what it takes to walk their stacks.
        self.catch_up()?;
        self.catch_up()?;
        self.counts.count_off_cpu(true)
    }

    /// Counts what threads that are off CPU were so far.
    fn catch_up(&mut self) -> anyhow::Result<()> {
        self.off_cpu
            .as_mut()
            .map_or(Ok(()), offcpu::Blocked::catch_up)
    }
}
