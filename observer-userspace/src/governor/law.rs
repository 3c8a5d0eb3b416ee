//! The control law: from what Observer costs to how many steps are taken.
//!
//! Pure: time passes with each [`Law::next`]. Over the budget steps are taken
//! after some periods, sooner and several at once if it is far over. Back it
//! goes a step at a time, when the cost would stay well below the budget with
//! that step taken back, as far as can be told from what the step saved when it
//! was taken. That goes with how much there is to see, for which the kernel
//! half's part stands: what the daemon takes while nothing happens, no step
//! saves. Who goes back in vain waits twice as long the next time.

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

/// What a step is taken to save of which nothing is known, for each CPU second
/// that the kernel half takes without it.
const USUAL_SAVING: f64 = 1.0;

/// The cost before a step is believed to have been so many times that after it,
/// at most.
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
    /// What the kernel half took of the fast part.
    pub kernel: f64,
    /// By what is done now and then: collecting, naming, encoding. Averaged over
    /// [`SLOW_PERIODS`].
    pub slow: f64,
}

impl Cost {
    /// Both together.
    pub fn total(self) -> f64 {
        self.fast + self.slow
    }

    /// The daemon's part of both.
    pub fn daemon(self) -> f64 {
        self.total() - self.kernel
    }
}

/// A period's fast part, and the kernel half's part of that.
#[derive(Clone, Copy, Debug, Default)]
struct Fast {
    all: f64,
    kernel: f64,
}

impl Fast {
    fn of(cost: Cost) -> Self {
        Self {
            all: cost.fast,
            kernel: cost.kernel,
        }
    }

    /// Between two, on a logarithmic scale: 0 is this one, 1 the other.
    fn towards(self, other: Self, share: f64) -> Self {
        let between = |from: f64, to: f64| {
            let (from, to) = (from.max(f64::MIN_POSITIVE), to.max(f64::MIN_POSITIVE));
            from * (to / from).powf(share)
        };
        Self {
            all: between(self.all, other.all),
            kernel: between(self.kernel, other.kernel),
        }
    }
}

/// The state of the control.
#[derive(Debug)]
pub struct Law {
    budget: f64,
    /// For each step how much it lowered the fast part, for each CPU second that
    /// the kernel half still takes.
    savings: Vec<f64>,
    /// So many of the first steps lower the slow part, too.
    slow_steps: usize,
    level: usize,
    /// Periods since the level changed.
    age: u32,
    /// Periods in a row over the budget, and the least of their fast parts.
    over: u32,
    least: Fast,
    /// Periods in a row over the budget for the slow part only.
    slowly_over: u32,
    /// Periods in a row that leave room for a step less.
    clear: u32,
    /// Periods in a row that are low.
    low: u32,
    /// The fast part of the period before.
    before: Fast,
    /// Steps that were just taken: from which level, and the fast part then.
    taken: Option<(usize, Fast)>,
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
            least: Fast::default(),
            slowly_over: 0,
            clear: 0,
            low: 0,
            before: Fast::default(),
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
        self.learn(Fast::of(cost));
        self.before = Fast::of(cost);
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
            (true, _) => self.too_much(Fast::of(cost), room),
            (false, true) => self.too_slow(),
            (false, false) => self.enough(cost),
        }
        self.level
    }

    /// Sees what the last steps saved, by the first two periods that tell.
    fn learn(&mut self, now: Fast) {
        if self.age != SETTLE + 2 {
            return;
        }
        let Some((from, before)) = self.taken.take() else {
            return;
        };
        let after = Fast {
            all: (self.before.all + now.all) / 2.0,
            kernel: (self.before.kernel + now.kernel) / 2.0,
        };
        let steps = self.level - from;
        let with = |taken: usize| before.towards(after, taken as f64 / steps as f64);
        let savings = self.savings.iter_mut().take(self.level).skip(from);
        for (taken, saving) in savings.enumerate() {
            let (without, with) = (with(taken), with(taken + 1));
            let most = with.all * (MOST_SAVING - 1.0);
            let saved = (without.all - with.all).clamp(0.0, most);
            *saving = saved / with.kernel.max(f64::MIN_POSITIVE);
        }
    }

    /// What goes on all of the time is more than there is room for.
    fn too_much(&mut self, fast: Fast, room: f64) {
        (self.clear, self.low) = (0, 0);
        if self.over == 0 || fast.all < self.least.all {
            self.least = fast;
        }
        self.over += 1;
        let excess = self.least.all / room.max(f64::MIN_POSITIVE);
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
        let last = self.level.checked_sub(1);
        let Some((last, saving)) = last.and_then(|last| Some((last, self.savings.get(last)?)))
        else {
            return;
        };
        let slow = if last < self.slow_steps {
            cost.slow * SLOW_SAVING
        } else {
            cost.slow
        };
        let expected = cost.fast + cost.kernel * saving + slow;
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
