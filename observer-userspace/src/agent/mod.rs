//! The agent: wires probes to signals to sinks. [`start`] makes one, what is here
//! lets it run to its end.
//!
//! Everything here runs on one thread. The kernel half never waits for it:
//! tallies stay where they are until they are read, records wait in their ring
//! buffers, and what finds no place is counted there.

mod audit;
mod budget;
mod commands;
mod diagnostics;
mod health;
mod levers;
mod lifecycle;
mod limiter;
mod looks;
mod names;
pub mod options;
mod over;
mod profiler;
mod programs;
mod reporter;
mod retire;
mod rings;
mod sight;
mod start;
mod watch;
mod workloads;

use observer_common::workload::WorkloadId;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use observer_common::family::Family;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

use crate::config::Tables;
use crate::kernel::cells::{Cells, Tallies};
use crate::kernel::programs::Teller;
use crate::kernel::{Kernel, clock};
use crate::memory;
use crate::probes::{MetricBuilder, Probe, SpanCollector, Tick};
use crate::sinks::{Cadence, Recipients, Sinks};
use observer_signals::RequestLink;
use observer_signals::metric::MetricBatch;
use observer_signals::profile::Profile;
use observer_signals::{Span, UnixNanos, WallClock};

use budget::{Budget, due};
use health::Health;
use limiter::SpanLimiter;
use profiler::Profiler;
use reporter::Reporter;
use retire::Retirement;
use rings::Rings;
use sight::SelfCheck;
use watch::{Doing, Watch};
use workloads::Workloads;

/// How often ring buffers are emptied even if nothing announces records: the
/// kernel half announces only what can't wait.
const DRAIN_PERIOD: Duration = Duration::from_millis(250);

/// Records taken from one ring buffer before the others get their turn.
const DRAIN_BATCH: usize = 4096;

/// How long records are taken before something else gets its turn: there may
/// always be more of them.
const DRAIN_LIMIT: Duration = Duration::from_millis(50);

/// The same in all when the daemon ends; what is left then is counted as lost.
const LAST_DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// How long a daemon that is told to end waits for its last profiles' names.
const LAST_PROFILE_LIMIT: Duration = Duration::from_secs(2);

/// How long a daemon that is told to end may take: for its last profile, for
/// detaching, and then for exporting.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(4500);

/// After this it is ended, whatever it waits for then.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What is left of that for exporting, however long the rest took.
const LAST_EXPORT_MINIMUM: Duration = Duration::from_millis(500);

/// The running daemon.
pub struct Agent {
    kernel: Kernel,
    cells: Cells,
    probes: Vec<Box<dyn Probe>>,
    families: Vec<Family>,
    rings: Rings,
    /// If the families cpu or offcpu are chosen and could be started.
    profiler: Option<Profiler>,
    workloads: Workloads,
    retirement: Retirement,
    /// `None`: the kernel half can't be told what processes run.
    teller: Option<Teller>,
    /// When profiles were told of samples for the last time.
    profiled: Instant,
    limiter: SpanLimiter,
    sinks: Sinks,
    health: Health,
    self_check: SelfCheck,
    /// `None`: it may cost what it takes.
    budget: Option<Budget>,
    /// The clock at the start, for series' start times.
    started: WallClock,
    clock: WallClock,
    tables: Tables,
    /// More records waited than there was time for.
    behind: bool,
    /// A standstill of so long ends the daemon.
    stall_limit: Option<Duration>,
    /// How long an interval is.
    interval: Duration,
    reporter: Reporter,
}

impl Agent {
    /// The chosen families of which anything is seen.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Begins the first intervals; returns when.
    fn begin(&mut self) -> tokio::time::Instant {
        let own = self.health.begin(&self.kernel);
        // What was counted while programs were still being attached belongs to no
        // interval of a known length.
        let tallies = self.cells.read();
        let before = self.batch(&tallies, false);
        let start = tokio::time::Instant::now();
        self.sinks.begin(start.into(), &before, &own);
        self.look();
        if self.teller.is_some() {
            self.workloads.parts().1.begin();
        }
        start
    }

    /// Observes until `end` resolves, then exports the last interval.
    ///
    /// # Errors
    /// The kernel's ring buffers can't be waited for.
    pub async fn run(mut self, end: impl Future<Output = ()>) -> Result<Result<()>> {
        self.hear_first().await;
        let start = self.begin();
        let Cadence { first, period } = self.sinks.profiles();
        let mut profiles = interval_at(start + first, period);
        profiles.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drains = interval_at(start + DRAIN_PERIOD, DRAIN_PERIOD);
        drains.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = std::pin::pin!(end);
        self.reporter.begin(&self.families);
        let watch = Watch::start(self.interval, self.stall_limit);
        self.sinks.watched(&watch.standing());
        loop {
            self.reporter.alive();
            watch.begins(Doing::Waiting);
            tokio::select! {
                biased;
                () = &mut end => break,
                () = due(&self.budget) => {
                    watch.begins(Doing::Governing);
                    self.govern();
                }
                () = sight::due(&self.self_check) => {
                    watch.begins(Doing::Looking);
                    self.occasionally(Self::look);
                }
                () = sleep_until(self.sinks.metrics_due().into()) => {
                    watch.begins(Doing::Ticking);
                    self.occasionally(|agent| agent.tick(Recipients::Due(Instant::now()), None));
                }
                _ = profiles.tick() => {
                    watch.begins(Doing::Profiling);
                    self.occasionally(Self::end_profile);
                }
                profile = profiler::finished(&mut self.profiler) => {
                    watch.begins(Doing::Exporting);
                    self.occasionally(|agent| agent.export(profile));
                }
                ready = self.rings.ready() => {
                    ready?;
                    watch.begins(Doing::Draining);
                    self.drain_some();
                    self.sweep_if_due();
                }
                () = programs::due(self.workloads.due()) => {
                    watch.begins(Doing::Looking);
                    self.occasionally(Self::discover);
                }
                _ = drains.tick() => {
                    watch.begins(Doing::Draining);
                    self.drain_some();
                    self.health.end_window(&self.kernel);
                    self.sweep_if_due();
                }
                // After whatever else is due, exporting too.
                () = tokio::task::yield_now(), if self.behind => self.drain_some(),
            }
        }
        self.reporter.stopping();
        watch.ends_within(END_LIMIT);
        Ok(self.end().await)
    }

    /// Takes and exports what is left.
    async fn end(mut self) -> Result<()> {
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        for probe in &mut self.probes {
            if let Err(error) = probe.end(&mut self.kernel) {
                let family = probe.spec().family;
                tracing::warn!(probe = %family, "{family}: {error:#}");
            }
        }
        // Samples end before they are told of for the last time, so that the last
        // figures are about all of them.
        let drained_by = Instant::now() + LAST_DRAIN_LIMIT;
        self.drain(drained_by, false);
        if let Some(profiler) = &mut self.profiler {
            profiler.stop();
        }
        self.end_profile();
        // With its names before the last figures: a summary shows them together.
        let names_due = tokio::time::Instant::now() + LAST_PROFILE_LIMIT;
        while self.profiler.as_ref().is_some_and(Profiler::is_waiting) {
            let last = profiler::finished(&mut self.profiler);
            let Ok(profile) = tokio::time::timeout_at(names_due, last).await else {
                tracing::warn!("the last profile is lost: symbolizing it takes too long");
                break;
            };
            self.export(profile);
        }
        self.tick(Recipients::All, Some(drained_by));
        // Detached here: the kernel half is gone before the network is asked.
        let Self {
            kernel,
            rings,
            cells,
            profiler,
            sinks,
            probes,
            ..
        } = self;
        drop((rings, cells, profiler, probes, kernel));
        let left = deadline.saturating_duration_since(Instant::now());
        sinks.shutdown(left.max(LAST_EXPORT_MINIMUM)).await
    }

    /// Takes records that wait, for a moment.
    fn drain_some(&mut self) {
        self.drain(Instant::now() + DRAIN_LIMIT, false);
    }

    /// Takes all records that wait, as far as there is time for it. At the
    /// daemon's end, `last`, what waits then is counted.
    fn drain(&mut self, until: Instant, last: bool) {
        let mut spans = Vec::new();
        let mut kept: Vec<Span> = Vec::new();
        loop {
            let (announced, rings) = self.rings.parts();
            let found = announced.drain(DRAIN_BATCH, &mut self.workloads);
            self.workloads.names().hear();
            let workloads = &mut self.workloads;
            // Who makes requests now may have been announced since.
            let mut resource = |id: WorkloadId| {
                if !workloads.knows(id) {
                    announced.drain(DRAIN_BATCH, workloads);
                }
                workloads.resource(id)
            };
            let mut out = SpanCollector {
                clock: self.clock,
                resource: &mut resource,
                spans: Vec::new(),
                kept: Vec::new(),
                wants_spans: self.sinks.wants_spans(),
            };
            let found = found + rings.drain(DRAIN_BATCH, &mut self.probes, &mut out);
            self.behind = found >= DRAIN_BATCH;
            let out_of_time = Instant::now() >= until;
            if last && self.behind && out_of_time {
                rings.count_left();
            }
            for probe in &mut self.probes {
                probe.drained(last, &mut out);
            }
            spans.append(&mut out.spans);
            kept.append(&mut out.kept);
            if !self.behind || out_of_time {
                break;
            }
        }
        if let Some(profiler) = &mut self.profiler {
            profiler.drain(&mut |request| request_link(&self.probes, request));
        }
        self.tell();
        let admitted = spans.into_iter();
        let admitted = admitted.filter(|(id, _)| self.limiter.admits(*id));
        kept.extend(admitted.map(|(_, span)| span));
        let (_, discovery) = self.workloads.parts();
        for span in &mut kept {
            discovery.commands().complete(span);
        }
        self.sinks.spans(&kept);
    }

    /// Ends a profile: its symbols are looked up in the background.
    fn end_profile(&mut self) {
        let workloads = &mut self.workloads;
        let mut resolve = |request| request_link(&self.probes, request);
        if let Some(profiler) = &mut self.profiler
            && let Err(error) = profiler.take(|id| workloads.resource(id), &mut resolve)
        {
            tracing::warn!("a profile is lost: {error:#}");
        }
        self.profiled = Instant::now();
    }

    /// Hands a profile on, with what its processes were started with.
    fn export(&mut self, mut profile: Profile) {
        let (_, discovery) = self.workloads.parts();
        let processes = profile.samples.iter().map(|sample| sample.pid);
        let commands = processes.filter_map(|pid| Some((pid, discovery.commands().of(pid)?)));
        profile.commands = commands.collect();
        self.sinks.profile(&profile);
    }

    /// Has each family bring its figures up to date.
    fn before_tick(&mut self) {
        for probe in &mut self.probes {
            if let Err(error) = probe.before_tick(&mut self.kernel) {
                let family = probe.spec().family;
                tracing::warn!(probe = %family, "{family}: {error:#}");
            }
        }
    }

    /// Everything counted so far, of these `tallies`; `may_wait`: see [`Self::hold_back`].
    fn batch(&mut self, tallies: &Tallies, may_wait: bool) -> MetricBatch {
        let mut out = MetricBuilder::default();
        let tick = Tick {
            tallies,
            clock: self.started,
            resource: &|id| self.workloads.known(id),
        };
        for probe in &mut self.probes {
            probe.collect(&tick, &mut out);
        }
        let time: UnixNanos = self.clock.wall(clock::monotonic());
        self.workloads.catch_up(out.workloads(), &mut self.kernel);
        self.hold_back(&mut out, may_wait);
        let workloads = &mut self.workloads;
        let mut resources = out.finish(workloads.host(), |id| workloads.resource(id));
        self.workloads.begin_other(&mut resources, self.started);
        MetricBatch { time, resources }
    }

    /// Ends an interval: reads everything and hands it on. `last` is until when records
    /// are taken at the daemon's end.
    fn tick(&mut self, to: Recipients, last: Option<Instant>) {
        let began = Instant::now();
        self.clock = clock::measure();
        self.before_tick();
        let until = last.unwrap_or_else(|| Instant::now() + DRAIN_LIMIT);
        self.drain(until, last.is_some());
        self.inherit();
        let mut tallies = self.cells.read();
        if last.is_none() && self.self_check.is_near() {
            self.compare(&mut tallies);
        }
        let mut batch = self.batch(&tallies, last.is_none());
        self.retirement.counted(&tallies, &self.workloads);
        self.end_series(&mut batch);
        let own = self.own_stats(&tallies);
        let batch = Arc::new(batch);
        self.sinks.metrics(&batch, &own, to);
        self.reporter.tick(&self.families, &own);
        memory::give_back_batch(batch);
        tracing::debug!(took = ?began.elapsed(), cells = tallies.histogram_cells, "tick");
    }
}

/// What the families know of a request.
fn request_link(probes: &[Box<dyn Probe>], request: u64) -> Option<RequestLink> {
    probes.iter().find_map(|probe| probe.request_link(request))
}
