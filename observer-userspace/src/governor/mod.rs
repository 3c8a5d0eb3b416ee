//! The overhead governor: keeps what Observer costs within a budget, by doing
//! less while there is much to see. `docs/governor.md` is for users.
//!
//! [`meter`] says what a period cost, [`law`] how many steps that calls for, and
//! [`ladder`] what the steps are. Nothing here touches the kernel: the agent
//! hands in what it measured and carries out what comes out.

pub mod ladder;
mod law;
mod meter;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use ladder::{Attached, Ladder, Settings, Step};
use law::Law;
pub use meter::Clocks;
use meter::{Measured, Meter};

/// How often the cost is compared with the budget.
pub const PERIOD: Duration = Duration::from_secs(1);

/// In one of so many parts of a period the kernel measures what programs take:
/// measuring costs, too.
const WINDOW: u32 = 20;

/// A cost below this part of the budget needs less attention, …
const CALM: f64 = 0.5;

/// … one period that is as long as so many.
const CALM_PERIODS: u32 = 5;

/// How often steps about something were taken, and taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Taken.
    pub taken: u64,
    /// Taken back.
    pub back: u64,
}

/// How things stand, for metrics and people. Costs are shares of the host's
/// CPU, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The budget.
    pub budget: f64,
    /// What the kernel half costs.
    pub bpf: f64,
    /// What the daemon costs.
    pub daemon: f64,
    /// Steps that are taken.
    pub level: usize,
    /// Steps that there are.
    pub levels: usize,
    /// Whether it costs too much with all steps taken that help.
    pub exhausted: bool,
    /// Steps so far, by [`Step::name`].
    pub turns: BTreeMap<&'static str, Turns>,
    /// What is done less now, for people.
    pub less: String,
}

/// One thing to change.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What it is about.
    pub step: Step,
    /// What is done so far.
    pub before: Settings,
    /// What is to be done from now on.
    pub after: Settings,
}

/// What a period's end calls for.
#[derive(Debug, Default)]
pub struct Verdict {
    /// To be carried out in this order.
    pub changes: Vec<Change>,
    /// No step is left, for the first time since there was one.
    pub exhausted: bool,
}

/// The governor.
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
    last: Measured,
    budget: f64,
    turns: BTreeMap<&'static str, Turns>,
}

impl Governor {
    /// Keeps to a budget: a share of the host's CPU, from 0 to 1. The first
    /// period begins now; to be called on the agent's thread.
    pub fn new(budget: f64, period: Duration, attached: Attached) -> Self {
        let ladder = Ladder::new(attached);
        let steps = ladder.steps();
        let turns = steps.iter().map(|step| (step.name(), Turns::default()));
        Self {
            law: Law::new(budget, steps.len(), ladder.slow_steps()),
            meter: Meter::new(Clocks::read()),
            period,
            current: period,
            since: Instant::now(),
            measuring: false,
            last: Measured::default(),
            budget,
            turns: turns.collect(),
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

    /// So many of the agent's seconds on CPU were for what it does now and then.
    pub fn put_aside(&mut self, seconds: f64) {
        self.meter.put_aside(seconds);
    }

    /// A period is over in which the kernel half took `bpf` CPUs, on a host of
    /// so many.
    pub fn end_period(&mut self, bpf: f64, cpus: usize) -> Verdict {
        let now = Instant::now();
        let length = (now - std::mem::replace(&mut self.since, now)).as_secs_f64();
        self.measuring = false;
        self.last = self.meter.end_period(Clocks::read(), length, bpf, cpus);
        tracing::trace!(
            fast = self.last.cost.fast,
            slow = self.last.cost.slow,
            bpf = self.last.bpf,
            level = self.law.level(),
            "period"
        );
        let (before, was_exhausted) = (self.law.level(), self.law.is_exhausted());
        let after = self.law.next(self.last.cost);
        // Measuring costs more than all else that an idle daemon does.
        let is_calm = after == 0 && self.last.bpf + self.last.daemon() < CALM * self.budget;
        self.current = self.period * if is_calm { CALM_PERIODS } else { 1 };
        let changes = self.ladder.between(before, after);
        if before != after {
            self.meter.forget_bpf();
        }
        for (step, ..) in &changes {
            let turns = self.turns.entry(step.name()).or_default();
            if after > before {
                turns.taken += 1;
            } else {
                turns.back += 1;
            }
        }
        Verdict {
            changes: changes
                .into_iter()
                .map(|(step, before, after)| Change {
                    step,
                    before,
                    after,
                })
                .collect(),
            exhausted: self.law.is_exhausted() && !was_exhausted,
        }
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let level = self.law.level();
        Status {
            budget: self.budget,
            bpf: self.last.bpf,
            daemon: self.last.daemon(),
            level,
            levels: self.ladder.steps().len(),
            exhausted: self.law.is_exhausted(),
            turns: self.turns.clone(),
            less: self.ladder.summary(level),
        }
    }
}
