//! The agent: wires probes to signals to exporters; start, tick, stop.
//!
//! Everything here runs on one thread. The kernel half never waits for it:
//! tallies stay where they are until they are read, records wait in their ring
//! buffers, and what finds no place is counted there.

mod budget;
mod diagnostics;
mod health;
mod levers;
mod limiter;
mod profiler;
mod rings;
mod workloads;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until};

use observer_common::config::FILTER_V1;
use observer_common::names::maps;

use crate::config::{self, Config, Tables};
use crate::export::self_stats::Fill;
use crate::identity::{Host, find_cgroup, subsys_enum_name, v1_controller};
use crate::kernel::cells::Cells;
use crate::kernel::clock;
use crate::kernel::{Filters, Kernel, LoadOptions, RequestOptions, SpanLimit};
use crate::probes::plan::{Plan, Purpose};
use crate::probes::{self, MetricBuilder, Probe, Sink, Tick};
use crate::signals::WallClock;
use crate::signals::metric::MetricBatch;
use crate::signals::{Span, UnixNanos};
use crate::sinks::{Cadence, Recipients, Sinks};
use crate::stacks::RequestLink;
use observer_common::family::{Family, Part};

use budget::{Budget, due};
use health::Health;
use limiter::SpanLimiter;
use profiler::Profiler;
use rings::Rings;
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

/// Of each CPU's waits one in so many nanoseconds says for which request it was.
const LINK_PERIOD: u64 = 4_000_000;

/// How long a daemon that is told to end waits for its last profiles' names.
const LAST_PROFILE_LIMIT: Duration = Duration::from_secs(2);

/// How long a daemon that is told to end may take: for its last profile, for
/// detaching, and then for exporting.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(4500);

/// What is left of that for exporting, however long the rest took.
const LAST_EXPORT_MINIMUM: Duration = Duration::from_millis(500);

/// The running daemon.
pub struct Agent {
    kernel: Kernel,
    cells: Cells,
    probes: Vec<Box<dyn Probe>>,
    /// See [`Agent::families`].
    families: Vec<Family>,
    rings: Rings,
    /// If the families cpu or offcpu are chosen and could be started.
    profiler: Option<Profiler>,
    workloads: Workloads,
    limiter: SpanLimiter,
    sinks: Sinks,
    health: Health,
    /// `None`: it may cost what it takes.
    budget: Option<Budget>,
    /// The clock at the start, for series' start times.
    started: WallClock,
    clock: WallClock,
    tables: Tables,
    /// More records waited than there was time for.
    behind: bool,
}

impl Agent {
    /// Loads the kernel half, attaches the chosen probes and takes stock of
    /// what is older than the daemon. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When nothing at all can be seen. A program that can't be attached is
    /// logged with its reason, and the others go on.
    pub fn start(config: &Config, host: &Host, sinks: Sinks) -> Result<Self> {
        let options = LoadOptions {
            connection_records: config.spans.tcp && sinks.wants_spans(),
            ..load_options(config)?
        };
        let mut kernel = Kernel::load(&options)?;
        let mut probes = chosen(config);
        if config.kernel_debug {
            diagnostics::start(&mut kernel);
        }

        Plan::of(&config.probes, Purpose::Daemon).attach(&mut kernel);
        if !kernel.sees(&probes::sched::SPEC) {
            anyhow::bail!(
                "sched_switch can't be attached, and all probes build on it; `observer check` says more"
            );
        }
        // What is left of a family goes on, even if it is little.
        probes.retain(|probe| {
            let mut programs = probe.spec().programs.iter();
            programs.any(|program| kernel.has(program.name)) || probe.is_seen(&kernel)
        });
        let cells = Cells::map(&mut kernel, options.histogram_cells, options.counter_cells)?;
        let rings = Rings::take(&mut kernel, &probes)?;
        for probe in &mut probes {
            if let Err(error) = probe.start(&mut kernel) {
                let family = probe.spec().family;
                tracing::warn!(
                    probe = %family,
                    "{family}: what is older than the daemon is not known: {error:#}"
                );
            }
        }
        let profiler = start_profiler(
            &mut kernel,
            &probes,
            config.frequency,
            config.tables.unwind_bytes,
        );
        kernel.forget_types();
        let families = seen(&kernel, &probes, profiler.is_some());
        if families.is_empty() {
            let chosen: Vec<_> = config.probes.iter().map(|family| family.as_str()).collect();
            anyhow::bail!(
                "nothing of {} can be seen here; `observer check` says why",
                chosen.join(", ")
            );
        }
        for probe in &mut probes {
            if let Err(error) = probe.begin(&mut kernel) {
                let family = probe.spec().family;
                tracing::warn!(probe = %family, "{family}: {error:#}");
            }
        }
        let wants_spans = sinks.wants_spans();
        let budget = budget::start(&mut kernel, config, &probes, &profiler, wants_spans);
        Ok(Self {
            cells,
            rings,
            profiler,
            probes,
            families,
            workloads: Workloads::new(host),
            limiter: SpanLimiter::new(config.spans.rate, config.spans.burst),
            sinks,
            health: Health::new(budget.is_some()),
            budget,
            started: clock::measure(),
            clock: clock::measure(),
            tables: config.tables.clone(),
            behind: false,
            kernel,
        })
    }

    /// The chosen families of which anything is seen.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Observes until `end` resolves, then exports the last interval.
    pub async fn run(mut self, end: impl Future<Output = ()>) -> Result<()> {
        let own = self.health.begin(&self.kernel);
        let start = tokio::time::Instant::now();
        self.sinks.begin(start.into(), &own);
        let Cadence { first, period } = self.sinks.profiles();
        let mut profiles = interval_at(start + first, period);
        profiles.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drains = interval_at(start + DRAIN_PERIOD, DRAIN_PERIOD);
        drains.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                () = due(&self.budget) => self.govern(),
                () = sleep_until(self.sinks.metrics_due().into()) => {
                    self.occasionally(|agent| agent.tick(Recipients::Due(Instant::now()), None));
                }
                _ = profiles.tick() => self.occasionally(Self::end_profile),
                profile = profiler::finished(&mut self.profiler) => {
                    self.occasionally(|agent| agent.sinks.profile(&profile));
                }
                ready = self.rings.ready() => {
                    ready?;
                    self.drain(None);
                }
                _ = drains.tick() => {
                    self.drain(None);
                    self.health.end_window(&self.kernel);
                }
                // After whatever else is due, exporting too.
                () = tokio::task::yield_now(), if self.behind => self.drain(None),
            }
        }
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
        self.drain(Some(drained_by));
        if let Some(profiler) = &mut self.profiler {
            profiler.stop();
        }
        self.end_profile();
        self.tick(Recipients::All, Some(drained_by));
        let names_due = tokio::time::Instant::now() + LAST_PROFILE_LIMIT;
        while self.profiler.as_ref().is_some_and(Profiler::is_waiting) {
            let last = profiler::finished(&mut self.profiler);
            let Ok(profile) = tokio::time::timeout_at(names_due, last).await else {
                tracing::warn!("the last profile is lost: symbolizing it takes too long");
                break;
            };
            self.sinks.profile(&profile);
        }
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
        sinks.shutdown(left.max(LAST_EXPORT_MINIMUM)).await;
        Ok(())
    }

    /// Takes all records that wait, as far as there is time for it. At the
    /// daemon's end, `last` is when that is over: what waits then is counted.
    fn drain(&mut self, last: Option<Instant>) {
        let mut spans = Vec::new();
        let mut kept: Vec<Span> = Vec::new();
        let until = last.unwrap_or_else(|| Instant::now() + DRAIN_LIMIT);
        loop {
            let (announced, rings) = self.rings.parts();
            let found = announced.drain(DRAIN_BATCH, &mut self.workloads);
            let workloads = &mut self.workloads;
            // Who makes requests now may have been announced since.
            let mut resource = |id: u16| {
                if !workloads.knows(id) {
                    announced.drain(DRAIN_BATCH, workloads);
                }
                workloads.resource(id)
            };
            let mut sink = Sink {
                clock: self.clock,
                resource: &mut resource,
                spans: Vec::new(),
                kept: Vec::new(),
                wants_spans: self.sinks.wants_spans(),
            };
            let found = found + rings.drain(DRAIN_BATCH, &mut self.probes, &mut sink);
            self.behind = found >= DRAIN_BATCH;
            let out_of_time = Instant::now() >= until;
            if last.is_some() && self.behind && out_of_time {
                rings.count_left();
            }
            for probe in &mut self.probes {
                probe.drained(last.is_some(), &mut sink);
            }
            spans.append(&mut sink.spans);
            kept.append(&mut sink.kept);
            if !self.behind || out_of_time {
                break;
            }
        }
        if let Some(profiler) = &mut self.profiler {
            profiler.drain(&mut |request| served(&self.probes, request));
        }
        let admitted = spans.into_iter();
        let admitted = admitted.filter(|(id, _)| self.limiter.admits(*id));
        kept.extend(admitted.map(|(_, span)| span));
        self.sinks.spans(&kept);
    }

    /// Ends a profile: its symbols are looked up in the background.
    fn end_profile(&mut self) {
        let workloads = &mut self.workloads;
        let mut resolve = |request| served(&self.probes, request);
        if let Some(profiler) = &mut self.profiler
            && let Err(error) = profiler.take(|id| workloads.resource(id as u16), &mut resolve)
        {
            tracing::warn!("a profile is lost: {error:#}");
        }
    }

    /// Ends an interval: reads everything and hands it on. `last`: see
    /// [`Self::drain`].
    fn tick(&mut self, to: Recipients, last: Option<Instant>) {
        let began = Instant::now();
        self.clock = clock::measure();
        for probe in &mut self.probes {
            if let Err(error) = probe.before_tick(&mut self.kernel) {
                let family = probe.spec().family;
                tracing::warn!(probe = %family, "{family}: {error:#}");
            }
        }
        self.drain(last);
        let tallies = self.cells.read();
        let mut out = MetricBuilder::default();
        let tick = Tick {
            tallies: &tallies,
            clock: self.started,
        };
        for probe in &mut self.probes {
            probe.collect(&tick, &mut out);
        }
        let time: UnixNanos = self.clock.wall(clock::monotonic());
        self.workloads.catch_up(out.workloads(), &mut self.kernel);
        let workloads = &mut self.workloads;
        let resources = out.finish(workloads.host(), |id| workloads.resource(id));
        let batch = MetricBatch { time, resources };
        let fills = vec![
            fill(maps::HISTOGRAMS, tallies.histogram_cells, self.tables.cells),
            fill(
                maps::COUNTERS,
                tallies.counter_cells,
                self.tables.cells.saturating_mul(2),
            ),
            fill(
                maps::WORKLOADS,
                self.workloads.count(),
                self.tables.workloads,
            ),
        ];
        let own = self.own_stats(fills);
        self.sinks.metrics(&batch, &own, to);
        tracing::debug!(took = ?began.elapsed(), cells = tallies.histogram_cells, "tick");
    }
}

/// What the families know of a request.
fn served(probes: &[Box<dyn Probe>], request: u64) -> Option<RequestLink> {
    probes.iter().find_map(|probe| probe.served(request))
}

fn fill(name: &str, used: usize, of: u32) -> Fill {
    Fill {
        name: name.to_string(),
        ratio: used as f64 / f64::from(of.max(1)),
    }
}

/// The families of which anything is seen; of profiles nothing is without the
/// profiler.
fn seen(kernel: &Kernel, probes: &[Box<dyn Probe>], profiles: bool) -> Vec<Family> {
    let families = probes.iter().filter(|probe| probe.is_seen(kernel));
    let families = families.filter_map(|probe| match probe.spec().family {
        Part::Family(family) => Some(family),
        _ => None,
    });
    families
        .filter(|family| profiles || !matches!(family, Family::Cpu | Family::OffCpu))
        .collect()
}

/// Starts the profiler if one of its families was chosen and sees anything.
fn start_profiler(
    kernel: &mut Kernel,
    probes: &[Box<dyn Probe>],
    frequency: u32,
    table_bytes: u64,
) -> Option<Profiler> {
    let has = |family| probes.iter().any(|probe| probe.spec().family == family);
    let on_cpu = has(probes::cpu::SPEC.family);
    let off_cpu = has(probes::offcpu::SPEC.family);
    if !on_cpu && !off_cpu {
        return None;
    }
    Profiler::start(kernel, on_cpu.then_some(frequency), off_cpu, table_bytes)
        .inspect_err(|error| tracing::warn!("no profiles: {error:#}"))
        .ok()
}

/// What the kernel half must know to follow requests.
pub fn request_options(config: &config::Requests) -> RequestOptions {
    RequestOptions {
        capture: config.capture,
        protocols: config
            .protocols
            .iter()
            .fold(0, |bits, protocol| bits | 1 << *protocol as u32),
        ring_bytes: config.ring_bytes,
        by_descriptor: config.by_descriptor,
    }
}

/// The chosen families' probes.
fn chosen(config: &Config) -> Vec<Box<dyn Probe>> {
    let mut probes = probes::all();
    for probe in &mut probes {
        probe.configure(config);
    }
    probes.retain(|probe| {
        config
            .probes
            .iter()
            .any(|family| probe.spec().family == Part::Family(*family))
    });
    probes
}

/// What `--cgroup` means to the kernel half.
///
/// # Errors
///
/// When a cgroup isn't there.
pub fn cgroup_filters(paths: &[std::path::PathBuf]) -> Result<Vec<u64>> {
    let mut cgroups = Vec::new();
    for path in paths {
        let found = find_cgroup(path).with_context(|| format!("--cgroup {}", path.display()))?;
        cgroups.extend(found.iter().map(|cgroup| {
            if cgroup.is_v2 {
                cgroup.id
            } else {
                cgroup.id | FILTER_V1
            }
        }));
    }
    Ok(cgroups)
}

/// What the configuration means to the kernel half.
pub fn load_options(config: &Config) -> Result<LoadOptions> {
    let cgroups = cgroup_filters(&config.filter.cgroups)?;
    let off_cpu = config.probes.contains(&Family::OffCpu);
    Ok(LoadOptions {
        filters: Filters {
            pids: config.filter.pids.clone(),
            with_children: false,
            comms: config.filter.comms.clone(),
            cgroups,
        },
        workloads: config.tables.workloads,
        histogram_cells: config.tables.cells,
        counter_cells: config.tables.cells.saturating_mul(2),
        v1_subsystem: v1_controller().map(subsys_enum_name),
        slow_block_ns: if config.spans.block {
            u64::try_from(config.spans.slow_io.as_nanos()).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        },
        connection_records: config.spans.tcp,
        span_limit: Some(SpanLimit {
            rate: config.spans.rate,
            burst: config.spans.burst,
        }),
        sched_tallies: true,
        off_cpu: off_cpu.then_some(config.off_cpu_threshold),
        requests: config
            .probes
            .contains(&Family::Requests)
            .then(|| request_options(&config.requests)),
        link_period: LINK_PERIOD,
        // Profiles may have a longer period than metrics.
        sample_entries: probes::cpu::entries(
            config.frequency,
            config.interval.max(Duration::from_secs(10)),
        ) + if off_cpu {
            probes::cpu::OFF_CPU_ENTRIES
        } else {
            0
        },
        diagnostics: config.kernel_debug,
        ring_bytes: Some(config.tables.ring_bytes),
        btf: config.btf.clone(),
    })
}
