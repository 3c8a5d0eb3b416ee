//! The daemon's and the kernel half's own cost and losses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use observer_common::loss::Loss;

use super::limiter::SpanLimiter;
use super::profiler::Profiler;
use crate::export::self_stats::{
    Fill, ProbeLoss, ProcessUsage, ProgramStats, SelfStats, Unwinding,
};
use crate::export::terminal::OwnCost;
use crate::governor;
use crate::kernel::Kernel;
use crate::kernel::stats::{Estimate, MIN_WINDOW};
use crate::probes::Probe;
use crate::probes::causes::{PROGRAM_MISSED, REQUEST_LIMITED};
use crate::stacks::UnwindStats;

/// Not worth a person's attention: exported, but not shown in the summary.
/// (How many spans are kept is the user's choice.)
const QUIET: [&str; 2] = [Loss::SwitchUnseen.name(), REQUEST_LIMITED.name];

/// Measures at each tick what was used and lost since the one before.
pub struct Health {
    shared: Arc<Mutex<SelfStats>>,
    programs: Estimate,
    /// Somebody else opens the windows in which run times are measured.
    governed: bool,
    last_cpu: f64,
    last_bpf: f64,
    last_losses: HashMap<&'static str, u64>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self {
            shared: Arc::default(),
            programs: Estimate::new(),
            governed: false,
            last_cpu: cpu_seconds(),
            last_bpf: 0.0,
            last_losses: HashMap::new(),
        }
    }

    /// The figures, for the daemon's own telemetry.
    pub fn shared(&self) -> Arc<Mutex<SelfStats>> {
        Arc::clone(&self.shared)
    }

    /// The first interval begins now. `governed`: run times are measured when a
    /// governor says so, instead of once per interval.
    pub fn begin(&mut self, kernel: &Kernel, governed: bool) {
        // Starting up isn't this interval's cost.
        self.last_cpu = cpu_seconds();
        self.governed = governed;
        self.programs.begin();
        if !governed {
            self.programs.open_window(kernel);
        }
    }

    /// Between ticks: ends the window in which the kernel measures run times.
    pub fn end_window(&mut self, kernel: &Kernel) {
        if !self.governed {
            self.programs.end_window(kernel, MIN_WINDOW);
        }
    }

    /// Has the kernel measure run times from now on.
    pub fn begin_governed(&mut self, kernel: &Kernel) {
        self.programs.open_window(kernel);
    }

    /// Ends that. Returns how many CPUs the kernel half took meanwhile; none if
    /// that can't be measured.
    pub fn end_governed(&mut self, kernel: &Kernel) -> f64 {
        let cpus = self.programs.end_window(kernel, Duration::ZERO);
        cpus.unwrap_or(0.0)
    }

    /// How the governor stands, if there is one: to be called before each
    /// [`Self::measure`].
    pub fn note(&self, governing: Option<governor::Status>) {
        let mut stats = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        stats.governing = governing;
    }

    /// At a tick: what the interval cost.
    pub fn measure(
        &mut self,
        kernel: &mut Kernel,
        fills: Vec<Fill>,
        rings: Vec<Fill>,
        limiter: &SpanLimiter,
        probes: &[Box<dyn Probe>],
        profiler: Option<&Profiler>,
    ) -> OwnCost {
        let usage = ProcessUsage::read().unwrap_or_default();
        let cpu = usage.user_seconds + usage.system_seconds;
        self.end_window(kernel);
        self.programs.tick();
        if !self.governed {
            self.programs.open_window(kernel);
        }
        let mut losses = losses(kernel, limiter);
        let missed = self.programs.totals().map(|(_, run)| run.missed).sum();
        losses.push((PROGRAM_MISSED.probe, PROGRAM_MISSED.name, missed));
        for (cause, count) in profiler.into_iter().flat_map(Profiler::losses) {
            losses.push(("cpu", cause, count));
        }
        for (cause, count) in probes.iter().flat_map(|probe| probe.losses()) {
            losses.push((cause.probe, cause.name, count));
        }
        let bpf = self.programs.seconds();
        let mut stats = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        stats.programs = self
            .programs
            .totals()
            .map(|(name, run)| ProgramStats {
                name: name.to_string(),
                run_time_ns: run.time_ns,
                run_count: run.count,
            })
            .collect();
        if let Some(profiler) = profiler {
            stats.profiles = profiler.seen().clone();
            stats.unwinding = unwinding(profiler.unwinding());
        }
        let governing = stats.governing.as_ref();
        let governed = governing.filter(|status| status.level > 0).cloned();
        stats.rings = rings;
        stats.maps = fills;
        stats.losses = losses
            .iter()
            .map(|(probe, cause, count)| ProbeLoss {
                probe: (*probe).to_string(),
                cause: (*cause).to_string(),
                count: *count,
            })
            .collect();
        drop(stats);

        let mut lost = Vec::new();
        for (_, cause, count) in losses {
            let before = self.last_losses.insert(cause, count).unwrap_or(0);
            if count > before && !QUIET.contains(&cause) {
                lost.push((cause, count - before));
            }
        }
        OwnCost {
            cpu_seconds: cpu - std::mem::replace(&mut self.last_cpu, cpu),
            bpf_seconds: bpf - std::mem::replace(&mut self.last_bpf, bpf),
            rss: usage.rss_bytes,
            lost,
            governed,
        }
    }
}

fn unwinding(stats: &UnwindStats) -> Unwinding {
    let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    Unwinding {
        tables: read(&stats.tables),
        bytes: read(&stats.bytes),
        processes: read(&stats.processes),
        built: read(&stats.built),
        failed: read(&stats.failed),
        evicted: read(&stats.evicted),
    }
}

/// CPU time of the daemon since it began.
fn cpu_seconds() -> f64 {
    ProcessUsage::read().map_or(0.0, |u| u.user_seconds + u.system_seconds)
}

/// Probe, cause and count of everything that was ever lost.
fn losses(kernel: &mut Kernel, limiter: &SpanLimiter) -> Vec<(&'static str, &'static str, u64)> {
    match kernel.losses() {
        Ok(losses) => losses
            .into_iter()
            .map(|(cause, count)| {
                // The kernel half drops what is far over the limit, the daemon the rest.
                let here = if cause == Loss::SpanRateLimited {
                    limiter.dropped()
                } else {
                    0
                };
                (cause.family(), cause.name(), count + here)
            })
            .collect(),
        Err(error) => {
            tracing::warn!("losses can't be read: {error:#}");
            Vec::new()
        }
    }
}

/// Wall time between two moments, for rates.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start or the last lap.
    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
