//! Keeps to the budget: measures for the governor and carries out what it says.

use anyhow::{Context, Result};
use observer_common::knobs::Knobs;

use super::profiler::Profiler;
use super::{Agent, probes};
use crate::config::Config;
use crate::governor::ladder::subject;
use crate::governor::{Attached, Change, Clocks, Governor, Settings, Status, Step};
use crate::kernel::Kernel;
use crate::kernel::knobs::Board;
use crate::probes::Probe;

/// Sees the beginning of syscalls.
const SYSCALLS_BEGIN: &str = "syscalls_enter";

/// Sees threads being woken.
const WOKEN: &str = "sched_wakeup";

/// The governor, and what it turns.
pub(super) struct Governing {
    governor: Governor,
    board: Board,
    /// As they stood at the start.
    knobs: Knobs,
}

impl Governing {
    /// How things stand.
    pub(super) fn status(&self) -> Status {
        self.governor.status()
    }
}

/// Begins to keep to the budget, if there is one; to be called when everything
/// is attached. `wants_spans`: spans go somewhere.
pub(super) fn start(
    kernel: &mut Kernel,
    config: &Config,
    probes: &[Box<dyn Probe>],
    profiler: &Option<Profiler>,
    wants_spans: bool,
) -> Option<Governing> {
    let budget = config.budget?;
    let has = |family| probes.iter().any(|probe| probe.spec().family == family);
    let profiles = |family| profiler.is_some() && has(family);
    let spans = has(probes::requests::SPEC.family)
        || (has(probes::tcp::SPEC.family) && config.spans.tcp)
        || (has(probes::block::SPEC.family) && config.spans.block);
    let attached = Attached {
        frequency: profiles(probes::cpu::SPEC.family).then_some(config.frequency),
        off_cpu: profiles(probes::offcpu::SPEC.family).then_some(config.off_cpu_threshold),
        spans: spans && wants_spans,
        requests: has(probes::requests::SPEC.family),
        syscalls: kernel.is_attached(SYSCALLS_BEGIN),
        run_queue: kernel.is_attached(WOKEN) && has(probes::sched::SPEC.family),
    };
    match kernel.knobs() {
        Ok(board) => Some(Governing {
            governor: Governor::new(budget, config.budget_period, attached),
            knobs: board.get(),
            board,
        }),
        Err(error) => {
            tracing::warn!("the budget is not kept: {error:#}");
            None
        }
    }
}

/// Resolves when the governor wants to be called, which may be never.
pub(super) async fn due(governing: &Option<Governing>) {
    match governing {
        Some(governing) => tokio::time::sleep_until(governing.governor.due().into()).await,
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Does what is done now and then: its CPU time is counted as such.
    pub(super) fn aside(&mut self, work: impl FnOnce(&mut Self)) {
        let begin = self.governing.is_some().then(Clocks::read);
        work(self);
        if let Some((governing, begin)) = self.governing.as_mut().zip(begin) {
            let used = Clocks::read().agent - begin.agent;
            governing.governor.put_aside(used);
        }
    }

    /// Measures; at the end of a period does what the governor says.
    pub(super) fn govern(&mut self) {
        let Some(governing) = &mut self.governing else {
            return;
        };
        let governor = &mut governing.governor;
        if !governor.is_measuring() {
            self.health.begin_governed(&self.kernel);
            governor.begin_window();
            return;
        }
        let bpf = self.health.end_governed(&self.kernel);
        let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len());
        let verdict = governor.end_period(bpf, cpus);
        if verdict.changes.is_empty() && !verdict.exhausted {
            return;
        }
        let status = governor.status();
        for change in &verdict.changes {
            announce(change, &status);
            if let Err(error) = self.turn(change) {
                tracing::warn!("{} can't be changed: {error:#}", subject(change.step));
            }
        }
        if verdict.exhausted {
            tracing::warn!(
                cost = percent(status.bpf + status.daemon),
                budget = percent(status.budget),
                "there is nothing left that Observer could do without: what remains costs {} of \
                 the host's CPU, of which the kernel half {}, and the budget is {}",
                percent(status.bpf + status.daemon),
                percent(status.bpf),
                percent(status.budget),
            );
        }
    }

    fn turn(&mut self, change: &Change) -> Result<()> {
        let after = &change.after;
        match change.step {
            Step::Frequency(_) => {
                if let Some(profiler) = &mut self.profiler {
                    profiler.change_frequency(after.frequency);
                }
                // Each profile has one rate.
                self.aside(Self::end_profile);
            }
            Step::NoOffCpu => {
                let profiler = self.profiler.as_mut().context("there is no profiler")?;
                profiler.count_off_cpu(after.off_cpu)?;
            }
            Step::OffCpuThreshold(_) | Step::Requests(_) | Step::NoRequests => {
                self.set_knobs(after);
            }
            Step::Spans(_) => {
                self.limiter.divide(after.spans);
                for probe in &mut self.probes {
                    probe.keep_one_of(after.spans);
                }
            }
            // A call whose beginning isn't seen is counted at its end.
            Step::NoSyscallTimes if after.syscall_times => {
                self.kernel.attach_again(SYSCALLS_BEGIN)?;
            }
            Step::NoSyscallTimes => self.kernel.detach(SYSCALLS_BEGIN)?,
            Step::NoRunQueue if after.run_queue => self.kernel.attach_again(WOKEN)?,
            Step::NoRunQueue => self.kernel.detach(WOKEN)?,
        }
        Ok(())
    }

    fn set_knobs(&mut self, settings: &Settings) {
        let Some(governing) = &mut self.governing else {
            return;
        };
        let threshold = settings.off_cpu_threshold.as_nanos();
        let share = settings.requests.unwrap_or(Knobs::NO_REQUESTS);
        governing.board.set(Knobs {
            off_cpu_threshold: u64::try_from(threshold).unwrap_or(u64::MAX),
            request_share: share.max(governing.knobs.request_share),
            ..Knobs::default()
        });
    }
}

/// One line for each step.
fn announce(change: &Change, status: &Status) {
    let Change {
        step,
        before,
        after,
    } = change;
    let cost = status.bpf + status.daemon;
    let why = if cost > status.budget {
        "over the budget"
    } else {
        "within the budget again"
    };
    tracing::info!(
        step = step.name(),
        level = status.level,
        cost = percent(cost),
        budget = percent(status.budget),
        "{}: {} -> {}, {why}: {} of the host's CPU of {}",
        subject(*step),
        before.describe(*step),
        after.describe(*step),
        percent(cost),
        percent(status.budget),
    );
}

/// A share as people write it.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
