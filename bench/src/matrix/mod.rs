//! One workload with nothing, with empty programs, with Observer and with its
//! peers, by turns: how much slower it is, what the tool costs, what it lost
//! and whether its figures are true.
//!
//! A workload is a [`Work`], a tool a [`Contender`]; a [`Plan`] says how often
//! and how long, [`Plan::measure`] does it, and [`Results::section`] reports.

mod contender;
mod floor;
mod observer;
mod peer;
mod results;
mod run;
mod section;

use std::collections::BTreeMap;

use anyhow::Result;

pub use contender::{Contender, Nothing, Report, Role, Running};
pub use floor::{ARGUMENT as FLOOR_ARGUMENT, Floor, main as floor_main};
pub use observer::{Observer, standard};
pub use peer::{Peer, Ready, lost_lines};
pub use results::{Account, Results, Round, Series};
pub use run::Plan;

/// Figures by what they are of, e.g. `"calls"`. What a workload says and what a
/// tool says about the same thing has the same name.
pub type Figures = BTreeMap<&'static str, f64>;

/// Events that a tool says it lost, by cause: Observer's are `family/cause`.
pub type Losses = BTreeMap<String, u64>;

/// Something to do, again and again, while tools watch.
pub trait Work {
    /// What `rate` is of, e.g. `"calls/s"`.
    fn unit(&self) -> &'static str;

    /// The process to watch, for tools that watch one; `None` if there isn't
    /// one that lives as long as the work.
    fn pid(&self) -> Option<u32> {
        None
    }

    /// Does it once, for about a second, or two or three unless `quick`.
    ///
    /// # Errors
    /// When it couldn't be done; ends the benchmark.
    fn run(&mut self, quick: bool) -> Result<Outcome>;
}

/// What doing it once came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How fast: more is better. Compared between tools.
    pub rate: f64,
    /// What there was to be counted from the call to its return, warm-up
    /// included, in the kernel's or the workload's own words: the truth.
    pub facts: Figures,
    /// What else was measured, e.g. `"p99 µs"`; reported by its median.
    pub extra: Figures,
}
