//! The steps by which Observer does less, in the order in which they are taken:
//! each lever is lowered as far as something is left of it, and only then is one
//! after the other turned off.

use super::lever::Lever;

/// All steps that there are, in order.
#[derive(Clone, Debug)]
pub struct Ladder {
    levers: Vec<Lever>,
    steps: Vec<Step>,
}

/// One step: a lever goes to this level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// Position among the levers.
    lever: usize,
    level: usize,
}

/// One lever to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its position among the levers.
    pub lever: usize,
    /// The level so far.
    pub before: usize,
    /// The level from now on.
    pub after: usize,
}

impl Ladder {
    /// The steps of these levers: the first is lowered, and turned off, first.
    pub fn new(levers: Vec<Lever>) -> Self {
        let lowered = |(lever, of): (usize, &Lever)| {
            let levels = of.lowered();
            levels.map(move |level| Step { lever, level })
        };
        let off = |(lever, of): (usize, &Lever)| of.off().map(|level| Step { lever, level });
        let steps = levers.iter().enumerate().flat_map(lowered);
        let steps = steps.chain(levers.iter().enumerate().filter_map(off));
        Self {
            steps: steps.collect(),
            levers,
        }
    }

    /// How many steps there are.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// A lever by its position.
    pub fn lever(&self, lever: usize) -> Option<&Lever> {
        self.levers.get(lever)
    }

    /// Names of the levers that steps move.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let levers = self.steps.iter().filter_map(|step| self.lever(step.lever));
        levers.map(|lever| lever.name)
    }

    /// So many of the first steps lower what is done now and then.
    pub fn slow_steps(&self) -> usize {
        let lowers = |step: &&Step| {
            let lever = self.lever(step.lever);
            lever.is_some_and(|lever| lever.lowers_slow && lever.off() != Some(step.level))
        };
        self.steps.iter().take_while(lowers).count()
    }

    /// The level of a lever with so many steps `taken`.
    pub fn level(&self, lever: usize, taken: usize) -> usize {
        let steps = self.steps.iter().take(taken);
        let last = steps.rev().find(|step| step.lever == lever);
        last.map_or(0, |step| step.level)
    }

    /// The changes from so many steps taken to so many, in their order.
    pub fn between(&self, from: usize, to: usize) -> Vec<Change> {
        let change = |step: usize, from: usize, to: usize| {
            let lever = self.steps.get(step)?.lever;
            Some(Change {
                lever,
                before: self.level(lever, from),
                after: self.level(lever, to),
            })
        };
        if from < to {
            let up = (from..to).filter_map(|step| change(step, step, step + 1));
            up.collect()
        } else {
            let down = (to..from).rev();
            down.filter_map(|step| change(step, step + 1, step))
                .collect()
        }
    }

    /// What is done less with so many steps `taken`, for people, by the order of
    /// their last steps: empty without any.
    pub fn summary(&self, taken: usize) -> String {
        let mut lowered: Vec<usize> = Vec::new();
        for step in self.steps.iter().take(taken) {
            lowered.retain(|lever| *lever != step.lever);
            lowered.push(step.lever);
        }
        let parts = lowered.iter().filter_map(|lever| {
            let Lever {
                subject, levels, ..
            } = self.lever(*lever)?;
            let level = levels.get(self.level(*lever, taken))?;
            Some(format!("{subject}: {level}"))
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lever(name: &'static str, levels: &[&str], ends_off: bool, lowers_slow: bool) -> Lever {
        Lever {
            name,
            subject: name,
            levels: levels.iter().map(|level| (*level).to_owned()).collect(),
            ends_off,
            lowers_slow,
        }
    }

    /// Checks that what can be lowered is lowered before anything is turned off,
    /// and that a lever with one level has no step.
    #[test]
    fn off_comes_last() {
        let ladder = Ladder::new(vec![
            lever("a", &["2", "1", "off"], true, true),
            lever("b", &["on", "off"], true, true),
            lever("c", &["3", "2", "1"], false, false),
            lever("d", &["on"], true, true),
        ]);
        let names: Vec<_> = ladder.names().collect();
        assert_eq!(names, ["a", "c", "c", "a", "b"]);
        assert_eq!((ladder.step_count(), ladder.slow_steps()), (5, 1));
        let levels = |taken| [0, 1, 2, 3].map(|lever| ladder.level(lever, taken));
        assert_eq!(levels(0), [0, 0, 0, 0]);
        assert_eq!(levels(3), [1, 0, 2, 0]);
        assert_eq!(levels(5), [2, 1, 2, 0]);
        assert_eq!(ladder.summary(3), "a: 1, c: 1");
        assert_eq!(ladder.summary(5), "c: 1, a: off, b: off");
        let change = Change {
            lever: 0,
            before: 1,
            after: 2,
        };
        assert_eq!(ladder.between(3, 4), [change]);
    }
}
