//! The list of sinks: each signal is made once and handed to all that want it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cadence::{Cadence, Due};
use super::{Shutdown, Sink, Standing, Wants};
use observer_export::self_stats::SelfStats;
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::{Profile, Span};

/// Time that one profile covers where nobody asks for any.
const PROFILE_PERIOD: Duration = Duration::from_secs(10);

/// At most one line about the failures of a sink in this time.
const QUIET: Duration = Duration::from_secs(30);

/// So much longer than its limit a sink may take to end before it is given up.
const GRACE: Duration = Duration::from_millis(200);

/// Who gets a batch of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Those for whom one is due at this time.
    Due(Instant),
    /// All: it is the last one.
    All,
}

/// All sinks of a daemon.
pub struct Sinks {
    members: Vec<Member>,
    /// A batch is made for nobody where nobody wants metrics: families keep
    /// house when they are collected.
    idle: Option<Due>,
    interval: Duration,
}

/// A sink and what is known of it.
struct Member {
    sink: Box<dyn Sink>,
    wants: Wants,
    /// When it gets its next batch of metrics.
    due: Option<Due>,
    /// When it got its last one.
    served: Option<Instant>,
    /// Series that ended since.
    ended: Vec<Arc<[ResourceMetrics]>>,
    /// Failures that weren't logged yet.
    failures: u64,
    last_report: Option<Instant>,
}

impl Sinks {
    /// Hands signals to these. `interval` is the time between two batches of
    /// metrics where none of them wants any.
    pub fn new(sinks: Vec<Box<dyn Sink>>, interval: Duration) -> Self {
        let members: Vec<Member> = sinks.into_iter().map(Member::new).collect();
        let mut sinks = Self {
            members,
            idle: None,
            interval,
        };
        sinks.schedule(Instant::now());
        sinks
    }

    fn schedule(&mut self, start: Instant) {
        for member in &mut self.members {
            member.due = member.wants.metrics.map(|cadence| Due::new(start, cadence));
        }
        let nobody = self.members.iter().all(|member| member.due.is_none());
        self.idle = nobody.then(|| Due::new(start, Cadence::each(self.interval)));
    }

    /// Whether any wants spans: otherwise they needn't be made.
    pub fn wants_spans(&self) -> bool {
        self.members.iter().any(|member| member.wants.spans)
    }

    /// When profiles end, for all.
    pub fn profiles(&self) -> Cadence {
        let wanted = self.members.iter().filter_map(|m| m.wants.profiles);
        Cadence::shared(wanted).unwrap_or(Cadence::each(PROFILE_PERIOD))
    }

    /// The first intervals begin at `start`; `before` was counted until then.
    pub fn begin(&mut self, start: Instant, before: &MetricBatch, own: &SelfStats) {
        self.schedule(start);
        for member in &mut self.members {
            member.sink.begin(before, own);
        }
    }

    /// The loop begins; this says whether it goes on.
    pub fn watched(&mut self, standing: &Standing) {
        for member in &mut self.members {
            member.sink.watched(standing);
        }
    }

    /// When the next batch of metrics is due.
    pub fn metrics_due(&self) -> Instant {
        let dues = self.members.iter().filter_map(|member| member.due);
        let next = dues.chain(self.idle).map(|due| due.next()).min();
        next.unwrap_or_else(|| Instant::now() + self.interval)
    }

    /// Whether all who want metrics got a batch after `at`.
    pub fn had_metrics_since(&self, at: Instant) -> bool {
        let mut wanting = self.members.iter().filter(|member| member.due.is_some());
        wanting.all(|member| member.served.is_some_and(|served| served > at))
    }

    /// Has every sink told, with its next batch, that series have ended.
    pub fn end(&mut self, ended: Vec<ResourceMetrics>) {
        let ended: Arc<[ResourceMetrics]> = ended.into();
        for member in self.members.iter_mut().filter(|m| m.due.is_some()) {
            member.ended.push(Arc::clone(&ended));
        }
    }

    /// Hands on a batch of metrics with the daemon's own figures.
    pub fn metrics(&mut self, batch: &Arc<MetricBatch>, own: &SelfStats, to: Recipients) {
        if let (Some(idle), Recipients::Due(now)) = (&mut self.idle, to) {
            idle.is_due(now);
        }
        for member in &mut self.members {
            let Some(due) = &mut member.due else {
                continue;
            };
            let gets = match to {
                Recipients::Due(now) => due.is_due(now),
                Recipients::All => true,
            };
            if gets {
                member.served = Some(Instant::now());
                for ended in std::mem::take(&mut member.ended) {
                    let result = member.sink.ended(&ended, batch.time);
                    member.report(result);
                }
                let result = member.sink.metrics(batch, own);
                member.report(result);
            }
        }
    }

    /// Hands on spans; to be called several times a second even if there are
    /// none.
    pub fn spans(&mut self, spans: &[Span]) {
        for member in self.members.iter_mut().filter(|m| m.wants.spans) {
            let result = member.sink.spans(spans);
            member.report(result);
        }
    }

    /// Hands on a profile.
    pub fn profile(&mut self, profile: &Profile) {
        let members = self.members.iter_mut();
        for member in members.filter(|member| member.wants.profiles.is_some()) {
            let result = member.sink.profile(profile);
            member.report(result);
        }
    }

    /// Ends all at the same time, each within `limit`; one that doesn't end is
    /// given up.
    ///
    /// # Errors
    /// Nothing of all that one of them took got anywhere.
    pub async fn shutdown(self, limit: Duration) -> Result<()> {
        let mut outcome = Ok(());
        let members = self.members.into_iter();
        let mut ending: Vec<(&'static str, Shutdown)> = members
            .map(|member| (member.sink.name(), member.sink.shutdown(limit)))
            .collect();
        let all = poll_fn(|context| {
            ending.retain_mut(|(_, sink)| match sink.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(ended) => {
                    if outcome.is_ok() {
                        outcome = ended;
                    }
                    false
                }
            });
            if ending.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        if tokio::time::timeout(limit + GRACE, all).await.is_err() {
            for (name, _) in ending {
                tracing::warn!(
                    sink = name,
                    "{name} does not end within {limit:?}: what it still had is lost"
                );
            }
        }
        outcome
    }
}

impl Member {
    fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            wants: sink.wants(),
            sink,
            due: None,
            served: None,
            ended: Vec::new(),
            failures: 0,
            last_report: None,
        }
    }

    /// Logs a failure, unless one was logged just now.
    fn report(&mut self, result: Result<()>) {
        let Err(error) = result else {
            return;
        };
        self.failures += 1;
        if self.last_report.is_none_or(|at| at.elapsed() >= QUIET) {
            let (name, failures) = (self.sink.name(), self.failures);
            tracing::warn!(sink = name, failures, "{name}: {error:#}");
            self.last_report = Some(Instant::now());
            self.failures = 0;
        }
    }
}
