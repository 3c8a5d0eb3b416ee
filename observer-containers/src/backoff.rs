//! Whom to leave alone, and for how long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::client::Failure;

/// The first pause after a failure; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);

/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// How it stands with one who is asked.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    pause: Option<Duration>,
}

impl Backoff {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be asked.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.state().until.is_none_or(|until| now >= until)
    }

    /// Notes what came of asking; says in the log what that means, once.
    pub(crate) fn note<T>(&self, whom: &str, result: &Result<T, Failure>, now: Instant) {
        let mut state = self.state();
        match result {
            Ok(_) => {
                if state.pause.take().is_some() {
                    tracing::info!("{whom} answers: its containers have names");
                }
                state.until = None;
            }
            // Of several who were asked at the same time one counts.
            Err(_) if state.until.is_some_and(|until| now < until) => {}
            Err(error) => {
                if state.pause.is_none() {
                    tracing::warn!(
                        "{whom}: {error}; until it answers, its new containers have their id and no name (`observer check` says more)"
                    );
                }
                let pause = state.pause.map_or(FIRST, |pause| (pause * 2).min(LONGEST));
                state.pause = Some(pause);
                state.until = Some(now + pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that pauses grow to their limit, that failures at the same time are one,
    /// and that an answer ends them.
    #[test]
    fn pauses_grow() {
        let backoff = Backoff::default();
        let failed: Result<(), _> = Err(Failure::Late);
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(backoff.is_over(now));
            backoff.note("it", &failed, now);
            backoff.note("it", &failed, now);
            let pause = Duration::from_secs(seconds);
            assert!(!backoff.is_over(now + pause - Duration::from_millis(1)));
            now += pause;
        }
        backoff.note("it", &Ok(()), now);
        assert!(backoff.is_over(now));
        backoff.note("it", &failed, now);
        assert!(backoff.is_over(now + FIRST));
    }
}
