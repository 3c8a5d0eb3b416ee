//! One task per signal that empties its lane of the queue.
//!
//! What an endpoint does to one signal (hang, refuse, not know it) doesn't
//! touch the others: they have their own task, and share only the room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Client;
use super::losses::Losses;
use super::outcome::Outcome;
use super::queue::{Queue, Request};
use super::settings::Backoff;
use super::signal::{BySignal, DropCause, ExportStats, Signal, SignalStats};

/// Failures in a row of one signal after which nobody waits for it any longer
/// when Observer ends.
const LAST_ATTEMPTS: u32 = 2;

/// The longest pause between those.
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// An endpoint may ask for at most this much patience.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// At most one line per signal about an outage in this time.
const QUIET: Duration = Duration::from_secs(30);

/// What the exporter and its tasks share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Rings when something was queued for the signal or the end has come.
    bells: BySignal<Notify>,
}

struct State {
    queue: Queue,
    losses: Losses,
    sent: BySignal<SignalStats>,
    /// Until when a signal isn't sent because the endpoint doesn't know it.
    unsupported_until: BySignal<Option<Instant>>,
    /// When Observer ends: nothing is sent after this.
    deadline: Option<Instant>,
}

impl Shared {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                queue: Queue::new(limit),
                losses: Losses::default(),
                sent: Default::default(),
                unsupported_until: Default::default(),
                deadline: None,
            }),
            bells: Default::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False while the endpoint is known not to know the signal: then there's
    /// no need to encode.
    pub(super) fn accepts(&self, signal: Signal) -> bool {
        self.state().unsupported_until[signal].is_none_or(|until| Instant::now() >= until)
    }

    /// Counts items that were never queued.
    pub(super) fn lose(&self, signal: Signal, cause: DropCause, items: u64, why: &str) {
        self.state().losses.count(signal, cause, items, why);
    }

    /// Counts items of a signal that the endpoint doesn't know: it was told.
    pub(super) fn lose_unsupported(&self, signal: Signal, items: u64) {
        let cause = DropCause::Unsupported;
        self.state().losses.count_quietly(signal, cause, items);
    }

    pub(super) fn push(&self, request: Request) {
        let signal = request.signal;
        let mut state = self.state();
        let limit = state.queue.limit();
        for loss in state.queue.push(request) {
            let why = match loss.cause {
                DropCause::TooLarge => "a request is larger than the whole queue".to_owned(),
                _ => format!(
                    "the queue's {limit} bytes are full, of who has most the oldest goes first"
                ),
            };
            state
                .losses
                .count(loss.signal, loss.cause, loss.items, &why);
        }
        drop(state);
        self.bells[signal].notify_one();
    }

    /// Tells the tasks to finish before `deadline`: no more long waits.
    pub(super) fn end(&self, deadline: Instant) {
        self.state().deadline = Some(deadline);
        for bell in self.bells.iter() {
            bell.notify_one();
        }
    }

    /// Counts what is left as lost. The tasks must have stopped.
    pub(super) fn lose_the_rest(&self) {
        let mut state = self.state();
        for signal in Signal::ALL {
            let items = state.queue.items(signal);
            state
                .losses
                .count(signal, DropCause::Shutdown, items, "Observer ends");
            state.queue.clear(signal);
        }
        state.losses.report_rest();
        // Requests that were under way when their task was stopped are lost
        // as well; they were counted above.
        let limit = state.queue.limit();
        state.queue = Queue::new(limit);
    }

    pub(super) fn stats(&self) -> ExportStats {
        let state = self.state();
        let mut stats = ExportStats {
            queued_bytes: state.queue.bytes() as u64,
            queued_requests: state.queue.requests(),
            limit_bytes: state.queue.limit() as u64,
            signals: state.sent,
        };
        for signal in Signal::ALL {
            let figures = &mut stats.signals[signal];
            figures.lost = state.losses.totals(signal);
            figures.queued_items = state.queue.items(signal);
        }
        stats
    }
}

/// Sends one signal until the end.
pub(super) struct Sender {
    shared: Arc<Shared>,
    client: Client,
    backoff: Backoff,
    /// Retryable failures since the last success.
    failures: u32,
    last_complaint: Option<Instant>,
    told_unsupported: bool,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, client: Client, backoff: Backoff) -> Self {
        Self {
            shared,
            client,
            backoff,
            failures: 0,
            last_complaint: None,
            told_unsupported: false,
        }
    }

    /// Ends when told to and nothing is left, or nothing more is possible.
    pub(super) async fn run(mut self) {
        let signal = self.client.signal();
        loop {
            let (request, ending) = {
                let mut state = self.shared.state();
                (state.queue.take(signal), state.deadline.is_some())
            };
            let Some(request) = request else {
                if ending {
                    return;
                }
                self.shared.bells[signal].notified().await;
                continue;
            };
            match self.client.send(request.body.clone()).await {
                Outcome::Sent { rejected, message } => self.sent(&request, rejected, &message),
                Outcome::Refused { reason } => self.refused(&request, &reason),
                Outcome::Unsupported { reason } => self.unsupported(&request, &reason),
                Outcome::Retry { after, reason } => {
                    if !self.retry(request, after, &reason).await {
                        return;
                    }
                }
            }
        }
    }

    fn sent(&mut self, request: &Request, rejected: u64, message: &str) {
        let signal = request.signal;
        // Profiles count their rejections in profiles, not in samples: all
        // that is known of the samples is that they can't be more.
        let rejected = rejected.min(request.items);
        let mut state = self.shared.state();
        state.queue.finish(request);
        let figures = &mut state.sent[signal];
        figures.sent_requests += 1;
        figures.sent_items += request.items - rejected;
        figures.sent_bytes += request.body.len() as u64;
        state
            .losses
            .count(signal, DropCause::PartialSuccess, rejected, message);
        drop(state);
        if rejected == 0 && !message.is_empty() && self.may_complain() {
            tracing::warn!(
                signal = signal.as_str(),
                "the OTLP endpoint warns: {message}"
            );
        }
        if self.failures > 1 {
            tracing::info!(
                signal = signal.as_str(),
                "the OTLP endpoint {} takes {} again after {} failed attempts",
                self.client.endpoint(),
                signal.as_str(),
                self.failures
            );
            self.last_complaint = None;
        }
        self.failures = 0;
        self.told_unsupported = false;
    }

    fn refused(&mut self, request: &Request, reason: &str) {
        let why = format!("{} answers {reason}", self.client.endpoint());
        let mut state = self.shared.state();
        state.queue.finish(request);
        let cause = DropCause::Refused;
        state
            .losses
            .count(request.signal, cause, request.items, &why);
    }

    fn unsupported(&mut self, request: &Request, reason: &str) {
        let signal = request.signal;
        if !self.told_unsupported {
            self.told_unsupported = true;
            tracing::warn!(
                signal = signal.as_str(),
                "the OTLP endpoint {} does not take {} ({reason}); they are dropped and tried \
                 again every {}; OTEL_{}_EXPORTER=none switches them off",
                self.client.endpoint(),
                signal.as_str(),
                humantime::format_duration(self.backoff.unsupported),
                signal.variable(),
            );
        }
        let mut state = self.shared.state();
        state.queue.finish(request);
        let items = request.items + state.queue.clear(signal);
        state.unsupported_until[signal] = Some(Instant::now() + self.backoff.unsupported);
        state
            .losses
            .count_quietly(signal, DropCause::Unsupported, items);
    }

    /// Puts the request back and waits. False: there's no time left for it.
    async fn retry(&mut self, request: Request, after: Option<Duration>, reason: &str) -> bool {
        let signal = request.signal;
        self.failures = self.failures.saturating_add(1);
        let (waiting, mut deadline) = {
            let mut state = self.shared.state();
            state.sent[signal].retries += 1;
            state.queue.give_back(request);
            (state.queue.bytes(), state.deadline)
        };
        // One failure alone may be an idle connection that the endpoint closed
        // just now: no reason to wake anybody.
        if (self.failures > 1 || after.is_some()) && self.may_complain() {
            tracing::warn!(
                signal = signal.as_str(),
                "the OTLP endpoint {} does not take {} now: {reason}; {waiting} bytes wait",
                self.client.endpoint(),
                signal.as_str(),
            );
        }
        let after = after.map(|wish| wish.min(LONGEST_WISH));
        let pause = match (after, deadline) {
            (Some(wish), _) => wish,
            (None, Some(_)) => self.backoff.initial.min(LAST_PAUSE),
            (None, None) => pause(self.backoff, self.failures),
        };
        if deadline.is_some() && self.failures >= LAST_ATTEMPTS {
            return false;
        }
        let until = Instant::now() + pause;
        loop {
            if deadline.is_some_and(|deadline| until >= deadline) {
                return false;
            }
            // New data doesn't shorten the wait. The end does, unless the
            // endpoint itself asked for patience.
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                () = self.shared.bells[signal].notified() => {
                    let now = self.shared.state().deadline;
                    if deadline.is_none() && now.is_some() {
                        self.failures = 0;
                        if after.is_none() {
                            return true;
                        }
                    }
                    deadline = now;
                }
            }
        }
    }

    fn may_complain(&mut self) -> bool {
        let may = self.last_complaint.is_none_or(|t| t.elapsed() >= QUIET);
        if may {
            self.last_complaint = Some(Instant::now());
        }
        may
    }
}

/// Exponential, with jitter from half to the whole, so that a thousand hosts
/// don't come back in one moment.
fn pause(backoff: Backoff, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = backoff
        .initial
        .saturating_mul(1 << doublings)
        .min(backoff.max);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that pauses grow, vary and stay within their bounds.
    #[test]
    fn pauses() {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
            ..Default::default()
        };
        let mut seen = std::collections::HashSet::new();
        for failures in 1..200 {
            let longest = Duration::from_secs([1, 1, 2, 4, 8].get(failures).map_or(10, |&s| s));
            let pause = pause(backoff, failures as u32);
            assert!(
                pause <= longest && pause >= longest / 2,
                "{failures}: {pause:?}"
            );
            seen.insert(pause);
        }
        assert!(seen.len() > 100, "no jitter");
    }
}
