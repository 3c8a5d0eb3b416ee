//! What can be done less.

use std::ops::Range;

/// Something of which less can be done, level by level.
#[derive(Clone, Debug)]
pub struct Lever {
    /// Its name in metrics.
    pub name: &'static str,
    /// What it is about, for people.
    pub subject: &'static str,
    /// What is done at each level, for people: first as configured, then ever
    /// less.
    pub levels: Vec<String>,
    /// Whether nothing is done at the last level.
    pub ends_off: bool,
    /// Whether the levels between lower what the daemon does now and then
    /// (naming stacks), beside what goes on all of the time.
    pub lowers_slow: bool,
}

impl Lever {
    /// The levels at which less is done, but something.
    pub(super) fn lowered(&self) -> Range<usize> {
        1..self.levels.len() - usize::from(self.ends_off && self.levels.len() > 1)
    }

    /// The level at which nothing is done.
    pub(super) fn off(&self) -> Option<usize> {
        (self.ends_off && self.levels.len() > 1).then(|| self.levels.len() - 1)
    }
}
