//! Checks the fan-out with sinks that note what they get.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::*;
use observer_signals::attribute::{Attribute, Resource};
use observer_signals::metric::ResourceMetrics;
use observer_signals::{MetricDef, SpanKind, SpanStatus};

/// What sinks got, in order: who, what, and which.
type Log = Rc<RefCell<Vec<(&'static str, &'static str, u64)>>>;

struct Fake {
    name: &'static str,
    wants: Wants,
    log: Log,
    fails: bool,
    /// How long it takes to end.
    ends_in: Duration,
}

impl Fake {
    fn note(&self, what: &'static str, which: u64) -> Result<()> {
        self.log.borrow_mut().push((self.name, what, which));
        if self.fails {
            bail!("{what} {which}");
        }
        Ok(())
    }
}

impl Sink for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn begin(&mut self, _before: &MetricBatch, own: &SelfStats) {
        let _ = self.note("begin", own.usage.rss_bytes);
    }

    fn metrics(&mut self, batch: &Arc<MetricBatch>, own: &SelfStats) -> Result<()> {
        assert_eq!(
            own.usage.rss_bytes, batch.time,
            "figures come with their batch"
        );
        self.note("metrics", batch.time)
    }

    fn spans(&mut self, spans: &[Span]) -> Result<()> {
        self.note("spans", spans.len() as u64)
    }

    fn profile(&mut self, profile: &Profile) -> Result<()> {
        self.note("profile", profile.start)
    }

    fn shutdown(self: Box<Self>, limit: Duration) -> Shutdown {
        Box::pin(async move {
            tokio::time::sleep(self.ends_in).await;
            self.note("end", limit.as_millis() as u64)
        })
    }
}

fn fake(name: &'static str, log: &Log, wants: Wants) -> Fake {
    Fake {
        name,
        wants,
        log: Rc::clone(log),
        fails: false,
        ends_in: Duration::ZERO,
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn metrics_only(first: u64, period: u64) -> Wants {
    Wants {
        metrics: Some(Cadence {
            first: seconds(first),
            period: seconds(period),
        }),
        ..Wants::default()
    }
}

fn everything() -> Wants {
    Wants {
        metrics: Some(Cadence::each(seconds(10))),
        spans: true,
        profiles: Some(Cadence::each(seconds(10))),
    }
}

fn fan_out(list: Vec<Fake>) -> Sinks {
    let boxed = list.into_iter().map(|sink| Box::new(sink) as Box<dyn Sink>);
    Sinks::new(boxed.collect(), seconds(10))
}

fn own(figure: u64) -> SelfStats {
    let mut own = SelfStats::default();
    own.usage.rss_bytes = figure;
    own
}

fn batch(time: u64) -> MetricBatch {
    let resource = Arc::new(Resource {
        attributes: vec![Attribute::new("service.name", "a")],
    });
    MetricBatch {
        time,
        resources: vec![ResourceMetrics {
            resource,
            metrics: Vec::new(),
        }],
    }
}

fn span() -> Span {
    Span {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent_span_id: [0; 8],
        name: "GET".into(),
        kind: SpanKind::Server,
        start: 1,
        end: 2,
        attributes: Vec::new(),
        status: SpanStatus::Unset,
        resource: Arc::default(),
        events: Vec::new(),
        dropped_events: 0,
    }
}

/// Lets `until` seconds pass; returns when batches were made.
fn pass(sinks: &mut Sinks, start: Instant, until: u64) -> Vec<u64> {
    let mut made = Vec::new();
    loop {
        let due = sinks.metrics_due();
        let second = (due - start).as_secs();
        if second > until {
            return made;
        }
        made.push(second);
        sinks.metrics(&Arc::new(batch(second)), &own(second), Recipients::Due(due));
    }
}

/// Checks that each gets batches at its own cadence, that one batch serves all
/// that are due at its time, and that who wants none gets none.
#[test]
fn each_at_its_own_cadence() {
    let log = Log::default();
    let mut sinks = fan_out(vec![
        fake("slow", &log, metrics_only(10, 10)),
        fake("early", &log, metrics_only(4, 8)),
        fake(
            "spans",
            &log,
            Wants {
                spans: true,
                ..Wants::default()
            },
        ),
    ]);
    let start = Instant::now();
    sinks.begin(start, &batch(0), &own(7));
    let made = pass(&mut sinks, start, 30);
    assert_eq!(made, [4, 10, 12, 20, 28, 30]);
    sinks.metrics(&Arc::new(batch(31)), &own(31), Recipients::All);
    let got = |name| {
        let log = log.borrow();
        let mine = log.iter().filter(|(who, ..)| *who == name);
        mine.map(|(_, what, which)| (*what, *which))
            .collect::<Vec<_>>()
    };
    let metrics = |times: &[u64]| {
        let times = times.iter().map(|time| ("metrics", *time));
        [("begin", 7)].into_iter().chain(times).collect::<Vec<_>>()
    };
    assert_eq!(got("slow"), metrics(&[10, 20, 30, 31]));
    assert_eq!(got("early"), metrics(&[4, 12, 20, 28, 31]));
    assert_eq!(got("spans"), [("begin", 7)]);
}

/// Checks that families are collected even where nobody wants metrics.
#[test]
fn collected_for_nobody() {
    let log = Log::default();
    let mut sinks = fan_out(vec![fake(
        "spans",
        &log,
        Wants {
            spans: true,
            ..Wants::default()
        },
    )]);
    let start = Instant::now();
    sinks.begin(start, &batch(0), &own(0));
    assert_eq!(pass(&mut sinks, start, 35), [10, 20, 30]);
    assert_eq!(log.borrow().len(), 1, "{:?}", log.borrow());
}

/// Checks that spans and profiles go to those that want them, and that whoever
/// wants spans makes spans be made.
#[test]
fn only_what_is_wanted() {
    let log = Log::default();
    let mut sinks = fan_out(vec![
        fake("metrics", &log, metrics_only(10, 10)),
        fake("all", &log, everything()),
    ]);
    assert!(sinks.wants_spans());
    sinks.spans(&[span(), span()]);
    sinks.spans(&[]);
    let profile = Profile {
        start: 5,
        ..Profile::default()
    };
    sinks.profile(&profile);
    let expected = [
        ("all", "spans", 2),
        ("all", "spans", 0),
        ("all", "profile", 5),
    ];
    assert_eq!(log.borrow()[..], expected);
    let without = fan_out(vec![fake("metrics", &log, metrics_only(10, 10))]);
    assert!(!without.wants_spans());
    assert_eq!(
        without.profiles(),
        Cadence::each(seconds(10)),
        "where nobody asks"
    );
}

/// Checks that one that fails each time changes nothing for the others, nor for
/// itself.
#[test]
fn failures_stay_where_they_are() {
    let log = Log::default();
    let failing = Fake {
        fails: true,
        ..fake("failing", &log, everything())
    };
    let mut sinks = fan_out(vec![failing, fake("other", &log, everything())]);
    let start = Instant::now();
    sinks.begin(start, &batch(0), &own(0));
    assert_eq!(pass(&mut sinks, start, 20), [10, 20]);
    sinks.spans(&[span()]);
    sinks.profile(&Profile::default());
    let log = log.borrow();
    let of = |name: &str| {
        let mine = log.iter().filter(|(who, ..)| *who == name);
        mine.map(|(_, what, which)| (*what, *which))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("failing"), of("other"));
    assert_eq!(of("other").len(), 5);
}

/// Checks that all end at the same time, and that one that doesn't end is given
/// up after its limit without taking the others' time.
#[tokio::test]
async fn ends_within_the_limit() {
    let log = Log::default();
    let fake = |name, ends_in| Fake {
        ends_in,
        ..fake(name, &log, everything())
    };
    let sinks = fan_out(vec![
        fake("hangs", seconds(3600)),
        fake("slow", Duration::from_millis(80)),
        fake("slow too", Duration::from_millis(90)),
    ]);
    let begin = Instant::now();
    let ended = sinks.shutdown(Duration::from_millis(100)).await;
    assert!(ended.is_ok());
    assert!(begin.elapsed() < seconds(20), "{:?}", begin.elapsed());
    assert_eq!(
        log.borrow()[..],
        [("slow", "end", 100), ("slow too", "end", 100)]
    );
}

/// Checks that no two metrics have one name to Prometheus.
#[test]
fn prometheus_names_are_unique() {
    let probes = crate::probes::all();
    let of_families = probes
        .iter()
        .flat_map(|probe| probe.metrics().iter().copied());
    let own = observer_export::otlp::self_metrics::metrics();
    let all: Vec<&'static MetricDef> = of_families.chain(own).collect();
    let names = observer_export::prometheus::families::names_of(&all);
    let names = names.unwrap_or_else(|name| panic!("two metrics are called {name}"));
    assert!(names.len() > 90, "{names:?}");
    assert!(names.contains(&"observer_syscall_duration_seconds".to_owned()));
}
