//! A loop as a workload.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Loop;
use crate::matrix::{Figures, Outcome, Work};
use crate::stats::median;

/// The loop's own clock time (by CPU, so that others don't count) is the rate;
/// rounds by the clock on the wall are `extra["rounds/s on the wall"]`.
pub struct LoopWork {
    /// The loop.
    pub looped: Loop,
    /// What a round is called.
    pub unit: &'static str,
    /// What its calls are called.
    pub calls: &'static str,
    /// Bursts of a run, whose median counts: what interrupts a burst makes it an
    /// outlier.
    pub bursts: u32,
    /// Whether context switches are a fact, too.
    pub switches: bool,
}

/// The name of the figure by the clock on the wall.
pub const ON_THE_WALL: &str = "rounds/s on the wall";

impl Work for LoopWork {
    fn unit(&self) -> &'static str {
        self.unit
    }

    fn pid(&self) -> Option<u32> {
        Some(self.looped.pid())
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let time = Duration::from_millis(if quick { 500 } else { 1200 }) / self.bursts;
        let before = self.switches()?;
        let begin = Instant::now();
        let (mut rates, mut rounds, mut calls) = (Vec::new(), 0, 0);
        for _ in 0..self.bursts {
            let burst = self.looped.burst(time)?;
            rates.push(burst.rate());
            rounds += burst.rounds;
            calls += burst.calls;
        }
        let wall = rounds as f64 / begin.elapsed().as_secs_f64();
        let mut facts = Figures::from([(self.calls, calls as f64)]);
        if self.switches {
            facts.insert("switches", (self.switches()? - before) as f64);
        }
        Ok(Outcome {
            rate: median(&rates),
            facts,
            extra: Figures::from([(ON_THE_WALL, wall)]),
        })
    }
}

impl LoopWork {
    /// Context switches of all its threads so far, as the kernel counts them.
    fn switches(&self) -> Result<u64> {
        if !self.switches {
            return Ok(0);
        }
        // By then all its threads sleep: what they were about to do is done.
        std::thread::sleep(Duration::from_millis(10));
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.looped.pid()))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let counts = status.lines().filter_map(|line| {
                let (name, count) = line.split_once(':')?;
                name.ends_with("ctxt_switches").then(|| count.trim())
            });
            for count in counts {
                sum += count.parse::<u64>().context("no number of switches")?;
            }
        }
        Ok(sum)
    }
}
