//! How often a sink gets a signal, and when it is due next.

use std::time::{Duration, Instant};

/// So late a signal is still on time.
const ON_TIME: Duration = Duration::from_millis(5);

/// How often a sink wants a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// From the start to the first one.
    pub first: Duration,
    /// From each to the next.
    pub period: Duration,
}

impl Cadence {
    /// Each `period`, from the start on.
    pub fn each(period: Duration) -> Self {
        Self {
            first: period,
            period,
        }
    }

    /// One cadence for all that share a signal which each time covers only what
    /// was since the last: as often as the most frequent, and first when any of
    /// them wants it, brought forward by whole periods.
    pub fn shared(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        let all: Vec<Self> = all.into_iter().collect();
        let period = all.iter().map(|cadence| cadence.period).min()?;
        let first = all.iter().map(|cadence| {
            let surplus = cadence.first.saturating_sub(period).as_nanos();
            let periods = surplus.div_ceil(period.as_nanos().max(1));
            let periods = u32::try_from(periods).unwrap_or(u32::MAX);
            cadence.first.saturating_sub(period.saturating_mul(periods))
        });
        let first = first.min()?;
        Some(Self { first, period })
    }
}

/// When something is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    next: Instant,
    period: Duration,
}

impl Due {
    pub(super) fn new(start: Instant, cadence: Cadence) -> Self {
        Self {
            next: start + cadence.first,
            period: cadence.period,
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether it is due at `now`; then it is due again a period later. What is
    /// late shifts what follows instead of shortening it.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let late = now - self.next > ON_TIME;
        self.next = if late { now } else { self.next } + self.period;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cadence(first: u64, period: u64) -> Cadence {
        Cadence {
            first: Duration::from_millis(first),
            period: Duration::from_millis(period),
        }
    }

    /// Checks that the most frequent sets the period, and that nobody's first
    /// comes later than wished or more than a period early.
    #[test]
    fn sharing() {
        let shared = |all: &[Cadence]| Cadence::shared(all.iter().copied());
        assert_eq!(shared(&[]), None);
        assert_eq!(shared(&[cadence(4, 10)]), Some(cadence(4, 10)));
        let otlp = cadence(10_000, 10_000);
        let summary = cadence(59_000, 60_000);
        assert_eq!(shared(&[otlp, summary]), Some(cadence(9_000, 10_000)));
        let summary = cadence(750, 1_000);
        assert_eq!(shared(&[otlp, summary]), Some(cadence(750, 1_000)));
        assert_eq!(shared(&[otlp, otlp]), Some(otlp));
    }

    /// Checks that a wake-up a little late doesn't shift the rest, and that one
    /// much too late does.
    #[test]
    fn dues() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut due = Due::new(start, cadence(50, 100));
        assert!(!due.is_due(at(49)));
        assert!(due.is_due(at(53)));
        assert_eq!(due.next(), at(150));
        assert!(!due.is_due(at(149)));
        assert!(due.is_due(at(430)));
        assert_eq!(due.next(), at(530));
    }
}
