//! Counts losses by signal and cause, and tells people at most every 30 s.

use std::time::{Duration, Instant};

use super::signal::{ByCause, BySignal, DropCause, Signal};

/// At most one line per signal and cause in this time.
const QUIET: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Default)]
struct Account {
    total: u64,
    reported: u64,
    last_report: Option<Instant>,
}

/// The losses since start.
#[derive(Default)]
pub struct Losses {
    accounts: BySignal<ByCause<Account>>,
}

impl Losses {
    /// Counts `items` as lost and logs, unless the same was logged just now.
    /// `why` is what a person needs to know beyond the cause; it may be empty.
    pub fn count(&mut self, signal: Signal, cause: DropCause, items: u64, why: &str) {
        if items == 0 {
            return;
        }
        let account = &mut self.accounts[signal][cause];
        account.total += items;
        if account.last_report.is_none_or(|t| t.elapsed() >= QUIET) {
            account.last_report = Some(Instant::now());
            report(signal, cause, account, why);
        }
    }

    /// Counts without a word, where one was said already.
    pub fn count_quietly(&mut self, signal: Signal, cause: DropCause, items: u64) {
        let account = &mut self.accounts[signal][cause];
        account.total += items;
        account.reported += items;
    }

    /// Logs what was counted but not yet told.
    pub fn report_rest(&mut self) {
        for signal in Signal::ALL {
            for cause in DropCause::ALL {
                let account = &mut self.accounts[signal][cause];
                if account.total > account.reported {
                    report(signal, cause, account, "");
                }
            }
        }
    }

    /// Items of `signal` lost so far.
    pub fn totals(&self, signal: Signal) -> ByCause<u64> {
        self.accounts[signal].map(|account| account.total)
    }
}

fn report(signal: Signal, cause: DropCause, account: &mut Account, why: &str) {
    let lost = account.total - account.reported;
    account.reported = account.total;
    tracing::warn!(
        signal = signal.as_str(),
        cause = cause.as_str(),
        lost,
        total = account.total,
        "{lost} {} lost on the way to the OTLP endpoint{}{why}",
        signal.item(),
        if why.is_empty() { "" } else { ": " },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that losses are told at once, then not, then the rest, and that
    /// the total is right throughout.
    #[test]
    fn told_sparingly_and_counted_fully() {
        let mut losses = Losses::default();
        let cause = DropCause::QueueFull;
        let told = |losses: &Losses| losses.accounts[Signal::Traces][cause].reported;
        for (items, expected) in [(5, 5), (6, 5), (0, 5), (7, 5)] {
            losses.count(Signal::Traces, cause, items, "why");
            assert_eq!(told(&losses), expected);
        }
        losses.report_rest();
        assert_eq!(told(&losses), 18);
        assert_eq!(losses.totals(Signal::Traces)[cause], 18);
        assert_eq!(losses.totals(Signal::Metrics), ByCause::default());
    }
}
