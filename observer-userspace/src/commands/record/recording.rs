//! A recording under way: attach, sample, take what was counted, name it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use nix::sys::signal::Signal;
use observer_common::loss::Loss;
use observer_common::names::maps;
use observer_common::ring::SharedRing;
use observer_common::workload::NewWorkload;
use tokio::signal::unix::{SignalKind, signal};

use super::child::Running;
use super::options::{DEFAULT_DURATION, RecordOptions};
use super::progress::progress_bar;
use super::recorded::{LeftOut, Recorded};
use super::request_feed::RequestFeed;
use super::selection::Selection;
use super::targets::{all_ended, program, running};
use super::total::Total;
use crate::agent::options::request_options;
use crate::config::values::RecordType;
use crate::identity::{Host, Resolver, subsys_enum_name, v1_controller};
use crate::kernel::shares::RingShares;
use crate::kernel::{Kernel, LoadOptions, ring, unwind};
use crate::probes::plan::{self, Plan, Purpose};
use crate::probes::{cpu, offcpu, requests};
use crate::stacks::{RawProfile, Stacks, SymbolOptions, UnwindOptions};
use observer_common::family::Family;

/// How often the progress bar moves and stacks are read.
const TICK: Duration = Duration::from_millis(100);
/// How often the kernel's counts are taken over.
const TAKE_EVERY: Duration = Duration::from_secs(2);
/// How long an interrupted command may take to end.
const PATIENCE: Duration = Duration::from_secs(3);
/// Tables that only other families use.
const FEW_CELLS: u32 = 1024;

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its time was over, or nobody to record is left.
    Time,
    /// The command ended with this status.
    Command(u8),
    /// Somebody interrupted it.
    Interrupted,
}
/// A recording under way.
pub(super) struct Recording {
    kernel: Kernel,
    sampler: cpu::Sampler,
    workloads: RingBuf<MapData>,
    /// Who may add how much to that.
    workload_shares: RingShares,
    /// If it is about some requests only.
    requests: Option<RequestFeed>,
    resolver: Resolver,
    stacks: Stacks,
    on_cpu: Total,
    off_cpu: Total,
}

impl Recording {
    /// Attaches everything; what is sampled from then on is kept. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When something that the recording can't do without can't be attached.
    pub(super) fn attach(options: &RecordOptions) -> anyhow::Result<Self> {
        // First of all, so that nothing that is mapped is missed.
        let stacks = Stacks::start(SymbolOptions {
            debug_info: true,
            interpreter_frames: options.interpreter_frames,
        })?;
        let off_cpu = options.wants_off_cpu();
        let follow = options.requests.is_some();
        let mut kernel = Kernel::load(&LoadOptions {
            filters: options.filters.clone(),
            histogram_cells: FEW_CELLS,
            counter_cells: FEW_CELLS,
            sched_tallies: false,
            off_cpu: off_cpu.then_some(options.off_cpu_threshold),
            requests: follow.then(|| request_options(&options.following)),
            // Twice, because taking over may be late.
            sample_entries: cpu::entries(options.frequency, TAKE_EVERY * 2)
                + if off_cpu { cpu::OFF_CPU_ENTRIES } else { 0 },
            v1_subsystem: v1_controller().map(subsys_enum_name),
            ..LoadOptions::default()
        })?;
        let workload_shares = RingShares::map(&mut kernel, SharedRing::Workloads)?;
        let workloads = RingBuf::try_from(kernel.take_map(maps::WORKLOAD_RING)?)?;
        attach(&mut kernel, options)?;
        let filter = options.requests.clone();
        let requests = filter
            .map(|filter| RequestFeed::take(&mut kernel, &options.following, filter))
            .transpose()?;
        kernel.forget_types();
        let mut sampler = if options.wants_on_cpu() {
            cpu::Sampler::attach(&mut kernel, options.frequency)?
        } else {
            cpu::Sampler::without_clocks(&mut kernel)?
        };
        if off_cpu {
            sampler.follow(offcpu::Blocked::new(&mut kernel)?);
        }
        let (processes, tables) = unwind::take(&mut kernel)?;
        stacks.unwind(UnwindOptions {
            processes,
            tables,
            limit: options.table_bytes,
            prepare: running(&options.filters),
            programs: program(&options.command).into_iter().collect(),
            closely: !options.filters.pids.is_empty() || !options.filters.comms.is_empty(),
            stats: Arc::default(),
        });
        sampler.start()?;
        Ok(Self {
            kernel,
            sampler,
            workloads,
            workload_shares,
            requests,
            resolver: Resolver::new(&Host::detect()),
            stacks,
            on_cpu: Total::default(),
            off_cpu: Total::default(),
        })
    }

    /// Samples until the time is over, the command ended or somebody
    /// interrupts.
    ///
    /// # Errors
    /// When signals can't be watched or the kernel's counts can't be read.
    pub(super) async fn go(
        &mut self,
        options: &RecordOptions,
        child: Option<&Running>,
    ) -> anyhow::Result<End> {
        let limit = match (options.duration, child) {
            (None, Some(_)) => None,
            (limit, _) => Some(limit.unwrap_or(DEFAULT_DURATION)),
        };
        let mut children = signal(SignalKind::child()).context("can't watch the command")?;
        let mut interrupts = signal(SignalKind::interrupt()).context("can't catch SIGINT")?;
        let mut terminations = signal(SignalKind::terminate()).context("can't catch SIGTERM")?;
        let bar = progress_bar(limit);
        let begin = Instant::now();
        let mut taken = begin;
        let mut tick = tokio::time::interval(TICK);
        let end = loop {
            // It may have ended before its signal was watched.
            if let Some(status) = child.and_then(Running::status) {
                break End::Command(status);
            }
            let time_left = limit.map(|limit| limit.saturating_sub(begin.elapsed()));
            if time_left.is_some_and(|left| left.is_zero()) {
                break End::Time;
            }
            if child.is_none() && all_ended(&options.filters) {
                break End::Time;
            }
            tokio::select! {
                _ = children.recv() => {}
                _ = tokio::time::sleep(time_left.unwrap_or(Duration::MAX)) => {}
                _ = interrupts.recv() => {
                    self.sampler.stop();
                    break interrupted(child, Signal::SIGINT, &mut interrupts).await;
                }
                _ = terminations.recv() => {
                    self.sampler.stop();
                    break interrupted(child, Signal::SIGTERM, &mut interrupts).await;
                }
                ready = ready(self.requests.as_ref()) => {
                    ready?;
                    self.requests.iter_mut().for_each(RequestFeed::read);
                }
                _ = tick.tick() => {
                    bar.set_position(begin.elapsed().as_millis() as u64);
                    self.read_rings();
                    if taken.elapsed() >= TAKE_EVERY {
                        taken = Instant::now();
                        self.take(false)?;
                    }
                }
            }
        };
        self.sampler.stop();
        bar.finish_and_clear();
        Ok(end)
    }

    fn read_rings(&mut self) {
        while let Some(record) = self.workloads.next() {
            if let Some(new) = ring::record::<NewWorkload>(&record) {
                self.resolver.resolve(&new);
            }
        }
        self.workload_shares.are_free();
        let requests = &mut self.requests;
        requests.iter_mut().for_each(RequestFeed::read);
        let mut resolve = |request| requests.as_ref()?.request_link(request);
        self.sampler.drain(&mut resolve);
    }

    /// Takes over what the kernel counted, and adds it up.
    fn take(&mut self, last: bool) -> anyhow::Result<()> {
        self.read_rings();
        if last {
            self.requests.iter_mut().for_each(RequestFeed::end);
        }
        let resolver = &self.resolver;
        let resource = |id| resolver.get(id).unwrap_or_else(|| resolver.other());
        let mut resolve = |request| self.requests.as_ref()?.request_link(request);
        let mut taken = self.sampler.take(resource, &mut resolve)?;
        if let Some(requests) = &mut self.requests {
            taken = requests.select(taken, &mut self.sampler, last);
        }
        self.on_cpu.add(taken.on_cpu);
        self.off_cpu.add(taken.off_cpu);
        Ok(())
    }

    /// Takes what is left and names everything.
    ///
    /// # Errors
    /// When the kernel's counts can't be read, or the symbolizer ended.
    pub(super) fn finish(&mut self, options: &RecordOptions) -> anyhow::Result<Recorded> {
        // What happened in the last moment must reach the side band's reader.
        std::thread::sleep(Duration::from_millis(2));
        self.take(true)?;
        let on_cpu = std::mem::take(&mut self.on_cpu).raw;
        let off_cpu = std::mem::take(&mut self.off_cpu).raw;
        let beside = (!options.off_cpu_outputs.is_empty()).then(|| off_cpu.clone());
        let shown = match options.kind {
            RecordType::OnCpu => on_cpu,
            RecordType::OffCpu => off_cpu,
            RecordType::Wall => RawProfile::wall(on_cpu, off_cpu),
        };
        let name = |raw| {
            let named = self.stacks.symbolize(raw).blocking_recv();
            named.context("the symbolizer's thread ended unexpectedly")
        };
        let mut recorded = Recorded {
            shown: name(shown)?,
            off_cpu: beside.map(name).transpose()?,
            left_out: LeftOut::default(),
        };
        if !options.idle {
            recorded.leave_idle_out();
        }
        recorded.tell_about(options);
        Ok(recorded)
    }

    /// Which requests were selected, if the recording is about some only.
    pub(super) fn selection(&self) -> Option<&Selection> {
        self.requests.as_ref().map(RequestFeed::selection)
    }

    /// What the kernel half lost, by cause.
    ///
    /// # Errors
    /// When the counts can't be read.
    pub(super) fn losses(&mut self) -> anyhow::Result<Vec<(Loss, u64)>> {
        let mut losses = self.kernel.losses()?;
        losses.retain(|(_, count)| *count > 0);
        Ok(losses)
    }
}

/// Attaches what the recording needs.
///
/// # Errors
/// When something that was asked for can't be seen at all.
fn attach(kernel: &mut Kernel, options: &RecordOptions) -> anyhow::Result<()> {
    let wanted = [
        (options.wants_on_cpu(), Family::Cpu),
        (options.wants_off_cpu(), Family::OffCpu),
        (options.requests.is_some(), Family::Requests),
    ];
    let families = wanted.iter().filter(|(wanted, _)| *wanted);
    let families: Vec<Family> = families.map(|(_, family)| *family).collect();
    let children = !options.filters.pids.is_empty();
    Plan::of(&families, Purpose::Recording { children }).attach(kernel);
    for family in families {
        if family != Family::Requests || !requests::is_seen(kernel) {
            plan::ensure_seen(kernel, plan::spec(family))?;
        }
    }
    Ok(())
}

/// Resolves when there is much to read of requests, if any are followed.
async fn ready(requests: Option<&RequestFeed>) -> anyhow::Result<()> {
    match requests {
        Some(requests) => requests.ready().await,
        None => std::future::pending().await,
    }
}

/// Lets the command know, and waits a little for it, unless there is one more
/// interrupt.
async fn interrupted(
    child: Option<&Running>,
    with: Signal,
    more: &mut tokio::signal::unix::Signal,
) -> End {
    let Some(child) = child else {
        return End::Interrupted;
    };
    child.signal(with);
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(status) = child.status() {
            return End::Command(status);
        }
        if tokio::time::timeout(TICK, more.recv()).await.is_ok() {
            break;
        }
    }
    End::Interrupted
}
