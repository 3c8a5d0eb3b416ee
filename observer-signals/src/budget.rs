//! How the governor stands, for metrics and people.

use std::collections::BTreeMap;

/// How often steps of a lever were taken, and taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Steps taken to cost less.
    pub taken: u64,
    /// Steps taken back.
    pub back: u64,
}

/// How things stand, for metrics and people. Costs are shares of the host's
/// CPU, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetStatus {
    /// Share that Observer may cost.
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
    /// Steps so far, by the lever's name.
    pub steps: BTreeMap<&'static str, StepCounts>,
    /// What is done less now, for people.
    pub less: String,
}
