//! The control law: from what Observer costs to how many steps are taken.
//!
//! Pure: time passes with each [`Law::next`]. Over the budget steps are taken
//! after some periods, sooner and several at once if it is far over. Back it
//! goes a step at a time, when the cost would stay well below the budget with that step taken
//! back, as far as can be told from what the step saved when it was taken. Who
//! goes back in vain waits twice as long the next time.

/// Periods after a change that tell nothing: they began before it, or end what
/// it began.
const SETTLE: u32 = 1;

/// How many times the budget it costs, up to so much; how many periods in a row
/// that must be so; and how many steps are taken then.
const OVER: [(f64, u32, usize); 3] = [(1.5, 4, 1), (3.0, 3, 2), (f64::INFINITY, 2, 3)];

/// What is done now and then may take so much of the budget before less is done
/// of what goes on all of the time: a burst of it is no reason.
const SLOW_SHARE: f64 = 0.5;

/// So many periods in a row the slow part must be too much.
const SLOWLY_OVER: u32 = 10;

/// So many periods in a row must leave room for a step less.
const CLEAR: u32 = 5;

/// What the cost may come to with a step less, as a share of the budget.
const COMFORTABLE: f64 = 0.8;

/// What a step saves isn't always what it saved. So where the cost is below this
/// share of the budget a step less is tried at last, whatever is expected of it.
const LOW: f64 = 0.5;

/// After so many periods in a row.
const TRIED: u32 = 60;

/// A step that was taken back must do without for so many periods to have been
/// taken back for good.
const PROBATION: u32 = 12;

/// Waiting times grow to so many times what they are.
const MOST_PATIENCE: u32 = 32;

/// What a step is taken to save of which nothing is known: the cost was so many
/// times as high.
const USUAL_SAVING: f64 = 1.5;

/// What is believed of a step at most.
const MOST_SAVING: f64 = 8.0;

/// What a step that lowers the slow part is taken to save of it.
const SLOW_SAVING: f64 = 2.0;

/// Periods over which the slow part is averaged, so that it shows the effect of
/// a step only after as many.
pub const SLOW_PERIODS: u32 = 30;

/// What was used in a period, as shares of the host's CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// By what goes on all of the time: what the kernel half takes, and reading
    /// what it tells. Of this period.
    pub fast: f64,
    /// By what is done now and then: collecting, naming, encoding. Averaged over
    /// [`SLOW_PERIODS`].
    pub slow: f64,
}

impl Cost {
    /// Both together.
    pub fn total(self) -> f64 {
        self.fast + self.slow
    }
}

/// The state of the control.
#[derive(Debug)]
pub struct Law {
    budget: f64,
    /// For each step by how many times it lowered the fast part.
    savings: Vec<f64>,
    /// So many of the first steps lower the slow part, too.
    slow_steps: usize,
    level: usize,
    /// Periods since the level changed.
    age: u32,
    /// Periods in a row over the budget, and the least of their fast parts.
    over: u32,
    least: f64,
    /// Periods in a row over the budget for the slow part only.
    slowly_over: u32,
    /// Periods in a row that leave room for a step less.
    clear: u32,
    /// Periods in a row that are low.
    low: u32,
    /// The fast part of the period before.
    before: f64,
    /// Steps that were just taken: from which level, and the fast part then.
    taken: Option<(usize, f64)>,
    /// The last change was a step back, which isn't for good yet.
    probation: bool,
    /// Multiplies waiting times before a step back.
    patience: u32,
    exhausted: bool,
}

impl Law {
    /// For a budget (a share of the host's CPU) and so many steps, the first
    /// `slow_steps` of which lower the slow part of the cost, too.
    pub fn new(budget: f64, steps: usize, slow_steps: usize) -> Self {
        Self {
            budget,
            savings: vec![USUAL_SAVING; steps],
            slow_steps,
            level: 0,
            age: 0,
            over: 0,
            least: 0.0,
            slowly_over: 0,
            clear: 0,
            low: 0,
            before: 0.0,
            taken: None,
            probation: false,
            patience: 1,
            exhausted: false,
        }
    }

    /// How many steps are taken.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Whether it is over the budget though no step is left that would help.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// A period is over that cost this much: how many steps are to be taken.
    pub fn next(&mut self, cost: Cost) -> usize {
        self.age = self.age.saturating_add(1);
        if self.age <= SETTLE {
            return self.level;
        }
        self.learn(cost.fast);
        self.before = cost.fast;
        if self.probation && self.age > PROBATION {
            self.probation = false;
            self.patience = (self.patience / 2).max(1);
        }
        let room = self.budget - cost.slow.min(self.budget * SLOW_SHARE);
        let (too_much, too_slow) = (cost.fast > room, cost.total() > self.budget);
        if !too_much {
            self.over = 0;
        }
        if too_much || !too_slow {
            self.slowly_over = 0;
        }
        match (too_much, too_slow) {
            (true, _) => self.too_much(cost.fast, room),
            (false, true) => self.too_slow(),
            (false, false) => self.enough(cost),
        }
        self.level
    }

    /// Sees what the last steps saved, by the first two periods that tell.
    fn learn(&mut self, now: f64) {
        if self.age != SETTLE + 2 {
            return;
        }
        let Some((from, before)) = self.taken.take() else {
            return;
        };
        let after = ((self.before + now) / 2.0).max(f64::MIN_POSITIVE);
        let steps = self.level - from;
        let each = (before / after).powf(1.0 / steps as f64);
        self.savings[from..self.level].fill(each.clamp(1.0, MOST_SAVING));
    }

    /// What goes on all of the time is more than there is room for.
    fn too_much(&mut self, fast: f64, room: f64) {
        (self.clear, self.low) = (0, 0);
        let first = self.over == 0;
        self.least = if first { fast } else { self.least.min(fast) };
        self.over += 1;
        let excess = self.least / room.max(f64::MIN_POSITIVE);
        let [modest, more, most] = OVER;
        let (_, periods, steps) = match excess {
            e if e < modest.0 => modest,
            e if e < more.0 => more,
            _ => most,
        };
        if self.over < periods {
            return;
        }
        self.exhausted = self.level == self.savings.len();
        if !self.exhausted {
            self.taken = Some((self.level, self.least));
            self.more((self.level + steps).min(self.savings.len()));
        }
    }

    /// Only what is done now and then is too much. What a step saves of it shows
    /// late.
    fn too_slow(&mut self) {
        (self.clear, self.low) = (0, 0);
        self.slowly_over += 1;
        if self.slowly_over < SLOWLY_OVER {
            return;
        }
        self.exhausted = self.level >= self.slow_steps;
        if !self.exhausted && self.age >= SLOW_PERIODS {
            self.more(self.level + 1);
        }
    }

    fn more(&mut self, level: usize) {
        if self.probation {
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
        self.change(level, false);
    }

    fn enough(&mut self, cost: Cost) {
        self.exhausted = false;
        let Some(last) = self.level.checked_sub(1) else {
            return;
        };
        let slow = if last < self.slow_steps {
            cost.slow * SLOW_SAVING
        } else {
            cost.slow
        };
        let expected = cost.fast * self.savings[last] + slow;
        let count = |periods: u32, more: bool| if more { periods + 1 } else { 0 };
        self.clear = count(self.clear, expected < self.budget * COMFORTABLE);
        self.low = count(self.low, cost.total() < self.budget * LOW);
        if self.clear >= CLEAR * self.patience || self.low >= TRIED * self.patience {
            self.change(last, true);
        }
    }

    fn change(&mut self, level: usize, back: bool) {
        self.level = level;
        self.probation = back;
        (self.age, self.over, self.slowly_over) = (0, 0, 0);
        (self.clear, self.low) = (0, 0);
        if back {
            self.taken = None;
        }
    }
}

#[cfg(test)]
#[path = "law_tests.rs"]
mod tests;
