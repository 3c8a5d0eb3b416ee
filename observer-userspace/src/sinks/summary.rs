//! The summary as a sink: what happened in each interval, on standard output.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::printer::Printer;
use super::{Cadence, Shutdown, Sink, Wants};
use crate::identity::Host;
use crate::logging::colours_wanted;
use observer_export::delta::Delta;
use observer_export::self_stats::SelfStats;
use observer_export::terminal::{self, HottestFunctions, Lost, OwnCost, WaitTimes};
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::profile::ProfileKind;
use observer_signals::{Profile, UnixNanos};

/// The first summary comes no later: nobody at a terminal likes to wait.
const FIRST: Duration = Duration::from_secs(5);

/// So long before a summary a profile ends: looking its symbols up takes a
/// moment, and the summary shows the hottest functions.
const NAMING_TIME: Duration = Duration::from_secs(1);

/// Columns where no terminal says how many there are.
const WIDTH: usize = 160;

/// Columns of a terminal that doesn't say how many it has.
const TERMINAL_WIDTH: usize = 100;

/// The summary, and what is known since the last one.
pub(super) struct Summary {
    printer: Printer,
    host: String,
    /// Are idle threads shown?
    idle: bool,
    wants: Wants,
    metrics: Delta,
    own: OwnDelta,
    since: Instant,
    hottest: Recent<HottestFunctions>,
    waits: Recent<WaitTimes>,
}

impl Summary {
    /// One summary each `interval`, with `idle` threads or without; beside other sinks of
    /// the same figures as they get, alone the first comes early.
    ///
    /// # Errors
    /// The thread that prints can't be started.
    pub(super) fn start(host: &Host, interval: Duration, others: bool, idle: bool) -> Result<Self> {
        let name = host.daemon.get_str("host.name");
        Ok(Self {
            printer: Printer::start(|| {})?,
            host: name.unwrap_or("this host").to_owned(),
            idle,
            wants: wants(interval, others),
            metrics: Delta::default(),
            own: OwnDelta::default(),
            since: Instant::now(),
            hottest: Recent::default(),
            waits: Recent::default(),
        })
    }
}

fn wants(interval: Duration, others: bool) -> Wants {
    let first = if others {
        interval
    } else {
        interval.min(FIRST)
    };
    Wants {
        metrics: Some(Cadence {
            first,
            period: interval,
        }),
        spans: false,
        profiles: Some(Cadence {
            first: first.saturating_sub(NAMING_TIME.min(first / 4)),
            period: interval,
        }),
    }
}

impl Sink for Summary {
    fn name(&self) -> &'static str {
        "summary"
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn begin(&mut self, before: &MetricBatch, own: &SelfStats) {
        self.since = Instant::now();
        self.metrics.added(before);
        self.own.begin(own);
    }

    fn ended(&mut self, ended: &[ResourceMetrics], _time: UnixNanos) -> Result<()> {
        ended.iter().for_each(|group| self.metrics.forget(group));
        Ok(())
    }

    fn metrics(&mut self, batch: &Arc<MetricBatch>, own: &SelfStats) -> Result<()> {
        let now = Instant::now();
        let seconds = now - std::mem::replace(&mut self.since, now);
        let is_terminal = io::stdout().is_terminal();
        let width = if is_terminal {
            terminal::width().unwrap_or(TERMINAL_WIDTH)
        } else {
            WIDTH
        };
        let metrics = self.metrics.added(batch);
        // One kind may have nothing to tell of: an idle host has no samples.
        let none = !self.hottest.is_new && !self.waits.is_new;
        let late = none && (self.hottest.is_late() || self.waits.is_late());
        let mut text = terminal::render(&terminal::Interval {
            clock: &terminal::local_time(batch.time),
            host: &self.host,
            seconds: seconds.as_secs_f64().max(1e-3),
            metrics: &metrics,
            hottest: &self.hottest.take().best(),
            waits: &self.waits.take().by_workload(),
            profiles_late: late,
            idle: self.idle,
            own: self.own.next(own),
            width,
            colours: is_terminal && colours_wanted(),
        });
        text.end_line();
        self.printer.print(text)
    }

    fn profile(&mut self, profile: &Profile) -> Result<()> {
        match profile.kind {
            ProfileKind::OnCpu => self.hottest.next().add(profile),
            ProfileKind::OffCpu | ProfileKind::Wall => self.waits.next().add(profile),
        }
        Ok(())
    }

    fn shutdown(self: Box<Self>, limit: Duration) -> Shutdown {
        let finish = self.printer.finish(limit);
        Box::pin(async move {
            finish.await;
            Ok(())
        })
    }
}

/// What profiles since the last summary say.
#[derive(Default)]
struct Recent<T> {
    gathered: T,
    /// Something was gathered since the last look.
    is_new: bool,
    /// Something ever was.
    is_kept: bool,
}

impl<T: Default> Recent<T> {
    /// Takes it.
    fn take(&mut self) -> T {
        self.is_new = false;
        std::mem::take(&mut self.gathered)
    }

    /// To add to it.
    fn next(&mut self) -> &mut T {
        (self.is_new, self.is_kept) = (true, true);
        &mut self.gathered
    }

    /// Whether nothing came, though it usually does.
    fn is_late(&self) -> bool {
        self.is_kept && !self.is_new
    }
}

/// The daemon's own figures at the last summary.
#[derive(Default)]
struct OwnDelta {
    cpu_seconds: f64,
    bpf_seconds: f64,
    /// By probe and cause.
    losses: HashMap<(String, String), u64>,
}

impl OwnDelta {
    /// What was used up to now isn't the first interval's. What was lost is.
    fn begin(&mut self, own: &SelfStats) {
        self.cpu_seconds = own.usage.cpu_seconds();
        self.bpf_seconds = own.bpf_seconds;
    }

    fn next(&mut self, own: &SelfStats) -> OwnCost {
        let cpu = own.usage.cpu_seconds();
        let mut lost = Vec::new();
        for loss in &own.losses {
            let key = (loss.probe.clone(), loss.cause.clone());
            let before = self.losses.insert(key, loss.count).unwrap_or(0);
            if loss.count > before && !loss.quiet {
                lost.push(Lost {
                    cause: loss.cause.clone(),
                    count: loss.count - before,
                    meaning: loss.meaning,
                });
            }
        }
        OwnCost {
            cpu_seconds: cpu - std::mem::replace(&mut self.cpu_seconds, cpu),
            bpf_seconds: own.bpf_seconds
                - std::mem::replace(&mut self.bpf_seconds, own.bpf_seconds),
            rss: own.usage.rss_bytes,
            lost,
            blind: own
                .seeing
                .iter()
                .flat_map(|f| f.blind.iter().flatten().cloned())
                .collect(),
            governed: own.governing.clone().filter(|status| status.level > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_export::self_stats::{ProbeLoss, ProcessUsage};

    /// Checks when it wants what: alone early, beside others with them, and each
    /// time a profile shortly before.
    #[test]
    fn cadence() {
        let seconds = |n| Duration::from_secs(n);
        let wants = |interval, others| {
            let wants = wants(interval, others);
            let metrics = wants.metrics.expect("metrics").first;
            (metrics, wants.profiles.expect("profiles").first)
        };
        assert_eq!(wants(seconds(10), false), (seconds(5), seconds(4)));
        assert_eq!(wants(seconds(10), true), (seconds(10), seconds(9)));
        let short = wants(seconds(1), false);
        assert_eq!(short, (seconds(1), Duration::from_millis(750)));
    }

    /// Checks that cost and losses are the interval's, that starting up is no
    /// interval's cost, and that quiet losses aren't shown.
    #[test]
    fn own_cost_of_an_interval() {
        let loss = |cause: &str, count, quiet| ProbeLoss {
            probe: "tcp".to_owned(),
            cause: cause.to_owned(),
            meaning: "",
            count,
            quiet,
        };
        let own = |cpu, bpf, lost| SelfStats {
            usage: ProcessUsage {
                rss_bytes: 7,
                user_seconds: cpu,
                system_seconds: 1.0,
            },
            bpf_seconds: bpf,
            losses: vec![loss("ring_full", lost, false), loss("limited", lost, true)],
            ..SelfStats::default()
        };
        let mut delta = OwnDelta::default();
        delta.begin(&own(3.0, 0.5, 0));
        let first = delta.next(&own(3.5, 0.75, 2));
        assert_eq!((first.cpu_seconds, first.bpf_seconds), (0.5, 0.25));
        let lost = first
            .lost
            .iter()
            .map(|lost| (lost.cause.as_str(), lost.count));
        assert_eq!(lost.collect::<Vec<_>>(), [("ring_full", 2)]);
        let second = delta.next(&own(3.5, 1.0, 2));
        assert_eq!((second.cpu_seconds, second.bpf_seconds), (0.0, 0.25));
        assert!(second.lost.is_empty() && second.rss == 7);
    }

    /// Checks that profiles add up until they are shown, that nothing is shown twice, and
    /// that it is known when none came that usually does.
    #[test]
    fn recent_profiles() {
        let mut recent = Recent::<Vec<u32>>::default();
        assert!(!recent.is_late() && recent.take().is_empty());
        recent.next().push(1);
        recent.next().push(2);
        assert!(!recent.is_late());
        assert_eq!(recent.take(), [1, 2]);
        assert!(recent.is_late() && recent.take().is_empty());
        recent.next().push(3);
        assert_eq!(recent.take(), [3]);
    }
}
