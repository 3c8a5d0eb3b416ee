//! What Observer itself cost, in one line.

use super::format::{bytes, count, percent};
use super::{Interval, Shown};
use observer_signals::BudgetStatus;

/// The daemon's own cost in an interval.
#[derive(Clone, Debug, Default)]
pub struct OwnCost {
    /// CPU seconds of the daemon, user and system.
    pub cpu_seconds: f64,
    /// CPU seconds of the kernel half, estimated from a short window.
    pub bpf_seconds: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// What was lost, by cause; empty when nothing was.
    pub lost: Vec<(String, u64)>,
    /// What families don't see though it happens.
    pub blind: Vec<String>,
    /// What the governor did, if any step is taken.
    pub governed: Option<BudgetStatus>,
}

/// Cost, losses and the governor in one line.
pub fn line(interval: &Interval<'_>) -> Shown {
    let own = &interval.own;
    let lost = if own.lost.is_empty() {
        "nothing lost".to_string()
    } else {
        let causes: Vec<String> = own
            .lost
            .iter()
            .map(|(cause, n)| format!("{} {cause}", count(*n as f64)))
            .collect();
        format!("LOST: {}", causes.join(", "))
    };
    let mut out = Shown::from(format!(
        "observer itself: daemon {} of a core, kernel half {}, {} resident, {lost}",
        percent(own.cpu_seconds / interval.seconds),
        percent(own.bpf_seconds / interval.seconds),
        bytes(own.rss as f64),
    ));
    out.end_line();
    let blind = own.blind.iter().map(|text| format!("BLIND: {text}"));
    for line in blind.chain(own.governed.as_ref().map(governed)) {
        out.push(line);
        out.end_line();
    }
    out
}

/// One more line: what is done less, and why.
fn governed(status: &BudgetStatus) -> String {
    let over = if status.exhausted {
        "; there is nothing left to do without"
    } else {
        ""
    };
    format!(
        "to keep to its budget of {} of the host's CPU (now {}{over}): {}",
        percent(status.budget),
        percent(status.bpf + status.daemon),
        status.less,
    )
}
