use super::*;

const BUDGET: f64 = 0.01;
const STEPS: usize = 10;

/// A machine on which each step lowers what a load costs.
struct Machine {
    law: Law,
    /// What one unit of load costs with so many steps.
    fast: [f64; STEPS + 1],
    /// What the daemon takes whatever there is to see.
    floor: f64,
    slow: f64,
    random: fastrand::Rng,
    noise: f64,
    levels: Vec<usize>,
}

impl Machine {
    /// A load of 1 costs 1 % without steps, 0.1 % with all of them.
    fn new() -> Self {
        let cost = |step: usize| 0.01 * 0.1_f64.powf(step as f64 / STEPS as f64);
        Self {
            law: Law::new(BUDGET, STEPS, 4),
            fast: std::array::from_fn(cost),
            floor: 0.0,
            slow: 0.001,
            random: fastrand::Rng::with_seed(11),
            noise: 0.0,
            levels: Vec::new(),
        }
    }

    fn cost(&self, load: f64) -> f64 {
        self.fast[self.law.level()] * load + self.floor + self.slow
    }

    /// Runs for some periods; returns in how many it was over the budget.
    fn run(&mut self, periods: u32, load: impl Fn(u32) -> f64) -> u32 {
        let mut over = 0;
        for period in 0..periods {
            let noise = 1.0 + self.noise * (self.random.f64() - 0.5);
            let load = self.fast[self.law.level()] * load(period) * noise;
            let cost = Cost {
                fast: load + self.floor,
                // The rest is the daemon's reading of what it tells.
                kernel: 0.7 * load,
                slow: self.slow,
            };
            over += u32::from(cost.total() > BUDGET);
            self.levels.push(self.law.next(cost));
        }
        over
    }

    /// How often the level changed since the last call.
    fn changes(&mut self) -> usize {
        let changes = self.levels.windows(2).filter(|w| w[0] != w[1]).count();
        self.levels.clear();
        changes
    }
}

/// Checks that within the budget nothing is ever given up.
#[test]
fn does_nothing_within_the_budget() {
    let mut machine = Machine::new();
    machine.noise = 0.1;
    assert_eq!(machine.run(1000, |_| 0.8), 0);
    assert!(machine.levels.iter().all(|level| *level == 0));
}

/// Checks that one period over the budget is no reason, and some are.
#[test]
fn a_spike_is_no_reason() {
    let mut machine = Machine::new();
    machine.run(100, |period| if period % 10 == 5 { 9.0 } else { 0.5 });
    assert_eq!(machine.changes(), 0);
    machine.run(5, |_| 1.2);
    assert_eq!(machine.law.level(), 1);
}

/// Checks that five times the budget is brought down to it within seconds, that
/// it stays there without going to and fro, and that all is taken back when the
/// load ends.
#[test]
fn follows_a_load_up_and_down() {
    let mut machine = Machine::new();
    machine.run(20, |_| 0.2);
    let over = machine.run(20, |_| 5.0);
    assert!(over <= 18, "{over}");
    assert!(machine.cost(5.0) <= BUDGET);
    machine.changes();
    let over = machine.run(600, |_| 5.0);
    assert!(over <= 12, "{over}");
    assert!(machine.changes() <= 6);
    machine.run(120, |_| 0.2);
    assert_eq!(machine.law.level(), 0);
}

/// Checks that what the daemon takes while nothing happens, over half of the
/// budget, keeps no step from being taken back soon after the load's end.
#[test]
fn what_no_step_saves_is_no_reason() {
    let mut machine = Machine::new();
    machine.floor = 0.0055;
    machine.run(60, |_| 8.0);
    assert!(machine.law.level() >= 8);
    machine.run(120, |_| 0.02);
    assert_eq!(machine.law.level(), 0);
}

/// Checks that no more is given up than it takes.
#[test]
fn gives_up_no_more_than_needed() {
    let mut machine = Machine::new();
    machine.run(300, |_| 1.5);
    let level = machine.law.level();
    assert!((2..=4).contains(&level), "{level}");
}

/// Checks that noise around the budget doesn't make it go to and fro.
#[test]
fn noise_does_not_make_it_flap() {
    for load in [0.8, 0.9, 1.0, 1.1, 2.0, 4.0] {
        let mut machine = Machine::new();
        machine.noise = 0.3;
        machine.run(3600, |_| load);
        let changes = machine.changes();
        assert!(changes <= 24, "{load}: {changes}");
    }
}

/// Checks that a load that comes and goes faster than steps are taken back
/// makes it more and more patient.
#[test]
fn becomes_patient_with_a_load_that_comes_and_goes() {
    let mut machine = Machine::new();
    let beat = |period: u32| if period % 30 < 15 { 4.0 } else { 0.2 };
    machine.run(1800, beat);
    machine.changes();
    let over = machine.run(1800, beat);
    let changes = machine.changes();
    assert!(changes <= 40, "{changes}");
    assert!(over <= 120, "{over}");
    // But not for ever.
    machine.run(1200, |_| 0.2);
    assert_eq!(machine.law.level(), 0);
}

/// Checks that what can't be lowered is said to be so, after all steps, and no
/// more when it falls.
#[test]
fn says_when_nothing_is_left() {
    let mut machine = Machine::new();
    machine.run(60, |_| 30.0);
    assert_eq!(machine.law.level(), STEPS);
    assert!(machine.law.is_exhausted());
    machine.run(3, |_| 3.0);
    assert!(!machine.law.is_exhausted());
}

/// Checks that for what is done now and then only the steps are taken that
/// lower it, slowly.
#[test]
fn gives_up_nothing_in_vain() {
    let mut machine = Machine::new();
    machine.slow = 0.02;
    machine.run(50, |_| 0.1);
    assert_eq!(machine.law.level(), 1);
    machine.run(500, |_| 0.3);
    assert_eq!(machine.law.level(), 4);
    assert!(machine.law.is_exhausted());
    machine.slow = 0.001;
    machine.run(120, |_| 0.1);
    assert_eq!(machine.law.level(), 0);
}

/// Checks that a step of which too much was expected is tried again at last.
#[test]
fn wrong_expectations_do_not_last() {
    let mut machine = Machine::new();
    machine.run(12, |_| 3.0);
    let level = machine.law.level();
    assert!(level > 0);
    // The load fell just when the steps were taken.
    machine.law.savings.fill(100.0);
    machine.slow = 0.004;
    machine.run(1200, |_| 0.08);
    assert_eq!(machine.law.level(), 0);
}

/// Checks that without steps there is nothing to do but to say so.
#[test]
fn does_without_steps() {
    let mut law = Law::new(BUDGET, 0, 0);
    let cost = Cost {
        fast: 0.05,
        kernel: 0.04,
        slow: 0.0,
    };
    for _ in 0..10 {
        assert_eq!(law.next(cost), 0);
    }
    assert!(law.is_exhausted());
}
