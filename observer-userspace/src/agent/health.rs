//! The daemon's and the kernel half's own cost and losses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use observer_common::loss::Loss;
use observer_common::names::maps;

use super::Agent;
use super::budget::Budget;
use super::limiter::SpanLimiter;
use super::profiler::Profiler;
use crate::foreign;
use crate::kernel::Kernel;
use crate::kernel::cells::Tallies;
use crate::kernel::stats::{Estimate, MIN_WINDOW, Missed};
use crate::logging;
use crate::probes::losses::{
    CONTAINER_UNNAMED, Cause, FILE_TOO_COSTLY, LOG_LINE_DROPPED, PROCESS_OVERLOOKED,
    PROGRAM_MISSED, REQUEST_LIMITED, SYSCALL_MISSED, TEXT_CUT, UNREADABLE, WORKLOAD_FOLDED,
};
use crate::stacks::UnwindStats;
use crate::stacks::costly;
use observer_export::self_stats::{
    Fill, Missing, ProbeLoss, ProcessUsage, ProgramStats, SelfStats, Unwinding,
};
use observer_signals::outside::cut_texts;

/// Not worth a person's attention. (How many spans are kept is the user's
/// choice; a text that was cut says so itself.)
const QUIET: [&str; 3] = [
    Loss::SwitchUnseen.name(),
    REQUEST_LIMITED.name,
    TEXT_CUT.name,
];

/// Syscalls whose end was missed and that were counted later.
const MADE_UP: &str = Loss::SyscallEndMissed.name();

/// Measures what the daemon and the programs of the kernel half use.
pub(super) struct Health {
    programs: Estimate,
    /// Somebody else opens the windows in which run times are measured.
    governed: bool,
    /// What was missed as told before: what is told never shrinks.
    told: Missed,
}

impl Health {
    /// Nothing measured yet. `governed`: run times are measured when a governor
    /// says so, instead of once per interval.
    pub(super) fn new(governed: bool) -> Self {
        Self {
            programs: Estimate::new(),
            governed,
            told: Missed::default(),
        }
    }

    /// The first interval begins now: figures of what starting up took.
    pub(super) fn begin(&mut self, kernel: &Kernel) -> SelfStats {
        self.programs.begin();
        if !self.governed {
            self.programs.open_window(kernel);
        }
        self.cost()
    }

    /// Between ticks: ends the window in which the kernel measures run times.
    pub(super) fn end_window(&mut self, kernel: &Kernel) {
        if !self.governed {
            self.programs.end_window(kernel, MIN_WINDOW);
        }
    }

    /// Has the kernel measure run times from now on.
    pub(super) fn begin_governed(&mut self, kernel: &Kernel) {
        self.programs.open_window(kernel);
    }

    /// Ends that. Returns how many CPUs the kernel half took meanwhile; none if
    /// that can't be measured.
    pub(super) fn end_governed(&mut self, kernel: &Kernel) -> f64 {
        let cpus = self.programs.end_window(kernel, Duration::ZERO);
        cpus.unwrap_or(0.0)
    }

    /// At a tick: what was used since the start.
    fn tick(&mut self, kernel: &Kernel) -> SelfStats {
        self.end_window(kernel);
        self.programs.tick();
        if !self.governed {
            self.programs.open_window(kernel);
        }
        self.cost()
    }

    /// What programs missed, of which some syscalls are made up for by what the
    /// kernel half `lost`.
    fn missed(&mut self, missed: Missed, lost: &[ProbeLoss]) -> [ProbeLoss; 2] {
        let made_up = lost.iter().find(|loss| loss.cause == MADE_UP);
        let made_up = made_up.map_or(0, |loss| loss.count);
        let uncounted = missed.syscall_ends.saturating_sub(made_up);
        // One may be made up for after it was told.
        self.told = Missed {
            syscall_ends: self.told.syscall_ends.max(uncounted),
            others: self.told.others.max(missed.others),
        };
        [
            (SYSCALL_MISSED, self.told.syscall_ends),
            (PROGRAM_MISSED, self.told.others),
        ]
        .map(|(cause, count)| of(cause, count))
    }

    fn cost(&self) -> SelfStats {
        let programs = self.programs.totals().map(|(name, run)| ProgramStats {
            name: name.to_string(),
            run_time_ns: run.time_ns,
            run_count: run.count,
        });
        SelfStats {
            programs: programs.collect(),
            // Without /proc there's nothing to say about memory and CPU.
            usage: ProcessUsage::read().unwrap_or_default(),
            bpf_seconds: self.programs.seconds(),
            ..SelfStats::default()
        }
    }
}

impl Agent {
    /// At a tick: the daemon's own figures, with how full `maps` are.
    pub(super) fn own_stats(&mut self, tallies: &Tallies) -> SelfStats {
        let cost = self.health.tick(&self.kernel);
        let shares = self.rings.shares();
        self.workloads.refuse_all(shares);
        let losses = self.losses();
        let profiler = self.profiler.as_ref();
        SelfStats {
            rings: self.rings.fills(),
            maps: self.fills(tallies),
            losses,
            missing: self.missing(),
            seeing: self.self_check.families(),
            refused: foreign::refusals(),
            set_aside: foreign::set_aside(),
            corrected: self.workloads.corrected(),
            profiles: profiler.map(|p| p.seen().clone()).unwrap_or_default(),
            unwinding: profiler
                .map(|p| unwinding(p.unwinding()))
                .unwrap_or_default(),
            governing: self.budget.as_ref().map(Budget::status),
            ..cost
        }
    }

    /// Programs that could not be attached.
    fn missing(&self) -> Vec<Missing> {
        let failed = self.kernel.states().iter().filter(|s| s.failure.is_some());
        let missing = failed.map(|state| Missing {
            probe: state.family.to_string(),
            program: state.program.name,
            lost_without: state.program.lost_without,
        });
        missing.collect()
    }

    /// How full the tables are that all families share.
    fn fills(&self, tallies: &Tallies) -> Vec<Fill> {
        let live = usize::try_from(self.retirement.live()).unwrap_or(usize::MAX);
        vec![
            fill(maps::HISTOGRAMS, tallies.histogram_cells, self.tables.cells),
            fill(
                maps::COUNTERS,
                tallies.counter_cells,
                self.tables.cells.saturating_mul(2),
            ),
            fill(maps::WORKLOADS, live, self.tables.workloads),
        ]
    }

    /// Everything that was ever lost between the kernel and the sinks.
    fn losses(&mut self) -> Vec<ProbeLoss> {
        // Before what the kernel half made up for.
        let missed = Missed::read(&self.kernel).unwrap_or_else(|error| {
            tracing::warn!("what programs missed can't be read: {error:#}");
            Missed::default()
        });
        let mut losses = kernel_losses(&mut self.kernel, &self.limiter);
        losses.extend(self.health.missed(missed, &losses));
        let profiler = self.profiler.iter().flat_map(Profiler::losses);
        losses.extend(profiler.map(|(cause, count)| of(cause, count)));
        let probes = self.probes.iter().flat_map(|probe| probe.losses());
        let probes = probes.chain(self.rings.losses());
        losses.extend(probes.map(|(cause, count)| of(cause, count)));
        losses.push(of(CONTAINER_UNNAMED, self.workloads.names().unnamed()));
        losses.push(of(UNREADABLE, foreign::unanswered()));
        losses.push(of(WORKLOAD_FOLDED, self.retirement.folded()));
        losses.push(of(PROCESS_OVERLOOKED, self.workloads.overlooked()));
        losses.push(of(FILE_TOO_COSTLY, costly::count()));
        losses.push(of(TEXT_CUT, cut_texts()));
        losses.push(of(LOG_LINE_DROPPED, logging::dropped()));
        losses
    }
}

fn of(cause: Cause, count: u64) -> ProbeLoss {
    ProbeLoss {
        probe: cause.part.to_owned(),
        cause: cause.name.to_owned(),
        meaning: cause.meaning,
        count,
        quiet: QUIET.contains(&cause.name),
    }
}

/// What the kernel half lost, and the limiter of spans.
fn kernel_losses(kernel: &mut Kernel, limiter: &SpanLimiter) -> Vec<ProbeLoss> {
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
                let cause = Cause {
                    part: cause.part().as_str(),
                    name: cause.name(),
                    meaning: cause.meaning(),
                };
                of(cause, count + here)
            })
            .collect(),
        Err(error) => {
            tracing::warn!("losses can't be read: {error:#}");
            Vec::new()
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

fn fill(name: &str, used: usize, of: u32) -> Fill {
    Fill {
        name: name.to_string(),
        ratio: used as f64 / f64::from(of.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that syscalls that are made up for aren't told as uncounted, and that
    /// what was told isn't taken back.
    #[test]
    fn uncounted_syscalls_are_told() {
        let mut health = Health::new(false);
        let mut told = |syscall_ends, made_up| {
            let missed = Missed {
                syscall_ends,
                others: 9,
            };
            let made_up = ProbeLoss {
                cause: MADE_UP.to_owned(),
                count: made_up,
                ..ProbeLoss::default()
            };
            let [syscalls, others] = health.missed(missed, &[made_up]);
            assert_eq!((&*others.cause, others.count), ("program_missed", 9));
            assert_eq!(syscalls.cause, "syscall_missed");
            syscalls.count
        };
        assert_eq!(told(0, 0), 0);
        assert_eq!(told(1000, 998), 2);
        assert_eq!(told(1000, 999), 2);
        assert_eq!(told(3000, 2990), 10);
    }
}
