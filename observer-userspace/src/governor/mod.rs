//! The overhead governor: keeps what Observer costs within a budget, by doing
//! less while there is much to see. `docs/governor.md` is for users.
//!
//! [`meter`] says what a period cost, [`law`] how many steps that calls for, and
//! [`ladder`] in which order levers are lowered by them. Nothing here touches the
//! kernel: the agent hands in its levers and what it measured, and moves the
//! levers as it is told.

mod ladder;
mod law;
mod lever;
mod meter;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use ladder::{Change, Ladder};
use law::{Cost, Law};
pub use lever::Lever;
pub use meter::Clocks;
use meter::Meter;

use observer_signals::{BudgetStatus, StepCounts};

/// How often the cost is compared with the budget.
pub const PERIOD: Duration = Duration::from_secs(1);

/// In one of so many parts of a period the kernel measures what programs take:
/// measuring costs, too.
const WINDOW: u32 = 20;

/// A cost below this part of the budget needs less attention, …
const CALM: f64 = 0.5;

/// … one period that is as long as so many.
const CALM_PERIODS: u32 = 5;

/// What a period's end calls for.
#[derive(Debug, Default)]
pub struct Verdict {
    /// To be carried out in this order.
    pub changes: Vec<Change>,
    /// No step is left, for the first time since there was one.
    pub exhausted: bool,
}

/// Compares the cost with the budget, period by period.
#[derive(Debug)]
pub struct Governor {
    ladder: Ladder,
    law: Law,
    meter: Meter,
    period: Duration,
    /// How long this one takes.
    current: Duration,
    /// When the period began.
    since: Instant,
    /// Run times are being measured.
    measuring: bool,
    last: Cost,
    budget: f64,
    steps: BTreeMap<&'static str, StepCounts>,
}

impl Governor {
    /// Keeps to a budget: a share of the host's CPU, from 0 to 1, by lowering
    /// `levers` in their order. The first period begins now; to be called on the
    /// agent's thread.
    pub fn new(budget: f64, period: Duration, levers: Vec<Lever>) -> Self {
        let ladder = Ladder::new(levers);
        let steps = ladder.names().map(|name| (name, StepCounts::default()));
        Self {
            law: Law::new(budget, ladder.step_count(), ladder.slow_steps()),
            meter: Meter::new(Clocks::read()),
            period,
            current: period,
            since: Instant::now(),
            measuring: false,
            last: Cost::default(),
            budget,
            steps: steps.collect(),
            ladder,
        }
    }

    /// When it wants to be called next: [`Self::begin_window`] if it isn't
    /// [`Self::is_measuring`], else [`Self::end_period`].
    pub fn due(&self) -> Instant {
        let window = self.period / WINDOW;
        self.since
            + if self.measuring {
                self.current
            } else {
                self.current - window
            }
    }

    /// Whether run times are being measured.
    pub fn is_measuring(&self) -> bool {
        self.measuring
    }

    /// Run times are measured from now on.
    pub fn begin_window(&mut self) {
        self.measuring = true;
    }

    /// `seconds` of the agent's time on CPU were for what it does now and then.
    pub fn add_occasional(&mut self, seconds: f64) {
        self.meter.add_occasional(seconds);
    }

    /// A lever by its position.
    pub fn lever(&self, lever: usize) -> Option<&Lever> {
        self.ladder.lever(lever)
    }

    /// A period is over in which the kernel half took `bpf` CPUs, on a host with
    /// `cpus` of them.
    pub fn end_period(&mut self, bpf: f64, cpus: usize) -> Verdict {
        let now = Instant::now();
        let length = (now - std::mem::replace(&mut self.since, now)).as_secs_f64();
        self.measuring = false;
        self.last = self.meter.end_period(Clocks::read(), length, bpf, cpus);
        tracing::trace!(
            fast = self.last.fast,
            slow = self.last.slow,
            kernel = self.last.kernel,
            level = self.law.level(),
            "period"
        );
        let (before, was_exhausted) = (self.law.level(), self.law.is_exhausted());
        let after = self.law.next(self.last);
        // Measuring costs more than all else that an idle daemon does.
        let is_calm = after == 0 && self.last.total() < CALM * self.budget;
        self.current = self.period * if is_calm { CALM_PERIODS } else { 1 };
        let changes = self.ladder.between(before, after);
        if before != after {
            self.meter.forget_bpf();
        }
        for change in &changes {
            let Some(lever) = self.ladder.lever(change.lever) else {
                continue;
            };
            let counts = self.steps.entry(lever.name).or_default();
            if after > before {
                counts.taken += 1;
            } else {
                counts.back += 1;
            }
        }
        Verdict {
            changes,
            exhausted: self.law.is_exhausted() && !was_exhausted,
        }
    }

    /// How things stand.
    pub fn status(&self) -> BudgetStatus {
        let level = self.law.level();
        BudgetStatus {
            budget: self.budget,
            bpf: self.last.kernel,
            daemon: self.last.daemon(),
            level,
            levels: self.ladder.step_count(),
            exhausted: self.law.is_exhausted(),
            steps: self.steps.clone(),
            less: self.ladder.summary(level),
        }
    }
}
