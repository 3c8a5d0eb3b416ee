//! Keeps to the budget: measures for the governor and moves the levers as it
//! says.

use anyhow::{Context, Result};

use super::Agent;
use super::levers::{self, Adjust, Attached, Parts};
use super::profiler::Profiler;
use crate::config::Config;
use crate::governor::{Change, Clocks, Governor, Lever};
use crate::kernel::Kernel;
use crate::kernel::tunables::MappedTunables;
use crate::probes::{self, Probe};
use observer_signals::BudgetStatus;

/// The governor and its levers.
pub(super) struct Budget {
    governor: Governor,
    /// As the governor counts them.
    levers: Vec<Box<dyn Adjust>>,
    tunables: MappedTunables,
}

impl Budget {
    /// How things stand.
    pub(super) fn status(&self) -> BudgetStatus {
        self.governor.status()
    }

    fn adjust(&mut self, change: &Change, parts: &mut Parts<'_>) -> Result<()> {
        let lever = self.levers.get_mut(change.lever);
        let lever = lever.context("there is no such lever")?;
        lever.set(change.after, &mut self.tunables, parts)
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
) -> Option<Budget> {
    let budget = config.budget?;
    let has = |family| probes.iter().any(|probe| probe.spec().family == family);
    let profiles = |family| profiler.is_some() && has(family);
    let spans = has(probes::requests::SPEC.family)
        || (has(probes::tcp::SPEC.family) && config.spans.tcp)
        || (has(probes::block::SPEC.family) && config.spans.block);
    let tunables = match kernel.tunables() {
        Ok(tunables) => tunables,
        Err(error) => {
            tracing::warn!("the budget is not kept: {error:#}");
            return None;
        }
    };
    let follows = has(probes::requests::SPEC.family);
    let begin = probes::syscalls::BEGIN.into_iter();
    let levers = levers::all(Attached {
        frequency: profiles(probes::cpu::SPEC.family).then_some(config.frequency),
        off_cpu: profiles(probes::offcpu::SPEC.family).then_some(config.off_cpu_threshold),
        spans: spans && wants_spans,
        requests: follows.then(|| tunables.get().request_share),
        syscalls: begin
            .filter(|program| kernel.is_attached(program))
            .collect(),
        run_queue: kernel.is_attached(probes::sched::WAKEUP) && has(probes::sched::SPEC.family),
        datagrams: probes::net::DATAGRAMS
            .into_iter()
            .filter(|program| kernel.is_attached(program))
            .collect(),
    });
    let described = levers.iter().map(|lever| lever.lever()).collect();
    Some(Budget {
        governor: Governor::new(budget, config.budget_period, described),
        levers,
        tunables,
    })
}

/// Resolves when the governor wants to be called, which may be never.
pub(super) async fn due(budget: &Option<Budget>) {
    match budget {
        Some(budget) => tokio::time::sleep_until(budget.governor.due().into()).await,
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Does what is done now and then: its CPU time is counted as such.
    pub(super) fn occasionally(&mut self, work: impl FnOnce(&mut Self)) {
        let begin = self.budget.is_some().then(Clocks::read);
        work(self);
        if let Some((budget, begin)) = self.budget.as_mut().zip(begin) {
            let used = Clocks::read().agent - begin.agent;
            budget.governor.add_occasional(used);
        }
    }

    /// Measures; at the end of a period does what the governor says.
    pub(super) fn govern(&mut self) {
        let Some(budget) = &mut self.budget else {
            return;
        };
        if !budget.governor.is_measuring() {
            self.health.begin_governed(&self.kernel);
            budget.governor.begin_window();
            return;
        }
        let bpf = self.health.end_governed(&self.kernel);
        let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len());
        let verdict = budget.governor.end_period(bpf, cpus);
        if verdict.changes.is_empty() && !verdict.exhausted {
            return;
        }
        let status = budget.governor.status();
        let mut parts = Parts {
            kernel: &mut self.kernel,
            profiler: &mut self.profiler,
            limiter: &mut self.limiter,
            probes: &mut self.probes,
            ends_profile: false,
        };
        for change in &verdict.changes {
            let Some(lever) = budget.governor.lever(change.lever).cloned() else {
                continue;
            };
            announce(&lever, change, &status);
            if let Err(error) = budget.adjust(change, &mut parts) {
                tracing::warn!("{} can't be changed: {error:#}", lever.subject);
            }
        }
        if parts.ends_profile {
            self.occasionally(Self::end_profile);
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
}

/// One line for each step.
fn announce(lever: &Lever, change: &Change, status: &BudgetStatus) {
    let cost = status.bpf + status.daemon;
    let why = if cost > status.budget {
        "over the budget"
    } else {
        "within the budget again"
    };
    let level = |level: usize| lever.levels.get(level).map_or("", String::as_str);
    tracing::info!(
        step = lever.name,
        governor_level = status.level,
        cost = percent(cost),
        budget = percent(status.budget),
        "{}: {} -> {}, {why}: {} of the host's CPU of {}",
        lever.subject,
        level(change.before),
        level(change.after),
        percent(cost),
        percent(status.budget),
    );
}

/// A share as people write it.
fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
