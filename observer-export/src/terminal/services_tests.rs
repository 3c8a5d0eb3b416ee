//! Checks the section on metrics of a small shop.

use std::sync::Arc;

use super::*;
use crate::terminal::OwnCost;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{Attribute, Instrument, Metric, MetricDef, Resource};

const fn def(name: &'static str) -> MetricDef {
    MetricDef {
        name,
        unit: "s",
        instrument: Instrument::Histogram,
        description: "",
        attributes: &[],
    }
}

static HTTP_SERVER: MetricDef = def("http.server.request.duration");
static HTTP_CLIENT: MetricDef = def("http.client.request.duration");
static DB_CLIENT: MetricDef = def("db.client.operation.duration");
static DB_SERVER: MetricDef = def("observer.db.server.operation.duration");
static DNS: MetricDef = def("dns.lookup.duration");
static TIMES: MetricDef = def(TIME);

/// `n` values in the bucket of 2^`power` seconds, in its middle.
fn point(attributes: &[(&'static str, &'static str)], n: u64, power: i32) -> MetricPoint {
    let attributes = attributes.iter().map(|(k, v)| Attribute::new(*k, *v));
    MetricPoint {
        attributes: attributes.collect(),
        start: 0,
        value: PointValue::Histogram(Histogram {
            scale: 2,
            offset: 4 * power,
            buckets: vec![n],
            sum: n as f64 * (f64::from(power) + 0.125).exp2(),
            ..Histogram::default()
        }),
        exemplars: Vec::new(),
    }
}

fn service(
    name: &'static str,
    metrics: Vec<(&'static MetricDef, Vec<MetricPoint>)>,
) -> ResourceMetrics {
    ResourceMetrics {
        resource: Arc::new(Resource {
            attributes: vec![Attribute::new("service.name", name)],
        }),
        metrics: metrics
            .into_iter()
            .map(|(def, points)| Metric { def, points })
            .collect(),
    }
}

fn shop() -> Vec<ResourceMetrics> {
    let get = ("http.request.method", "GET");
    let user = ("http.route", "/users/{id}");
    let part = |route, component, n| {
        let attributes = [
            ("http.route", route),
            ("observer.time.component", component),
        ];
        point(&attributes, n, -10)
    };
    let select = [
        ("db.system.name", "postgresql"),
        ("db.query.summary", "SELECT users"),
    ];
    vec![
        service(
            "psql",
            vec![(&DNS, vec![point(&[("dns.question.name", "db")], 2, -8)])],
        ),
        service(
            "shop-frontend-with-a-long-name",
            vec![
                (
                    &HTTP_SERVER,
                    vec![
                        point(&[get, user], 900, -8),
                        point(&[get, user, ("error.type", "500")], 100, -2),
                        point(&[get, ("http.route", "/")], 5000, -10),
                    ],
                ),
                (
                    &TIMES,
                    vec![
                        part("/users/{id}", "network", 800),
                        part("/users/{id}", "cpu", 150),
                        part("/users/{id}", "run_queue", 50),
                        part("/", "cpu", 90),
                        part("/", "lock", 10),
                        part("/", "disk", 0),
                    ],
                ),
                (
                    &DB_CLIENT,
                    vec![
                        point(&select, 1000, -9),
                        point(
                            &[("db.system.name", "redis"), ("db.operation.name", "GET")],
                            4000,
                            -14,
                        ),
                    ],
                ),
                (
                    &HTTP_CLIENT,
                    vec![point(&[get, ("server.address", "pay.example")], 10, -3)],
                ),
            ],
        ),
        service(
            "postgres",
            vec![(&DB_SERVER, vec![point(&select, 1000, -9)])],
        ),
    ]
}

fn render(width: usize, colours: bool) -> String {
    let metrics = shop();
    let interval = Interval {
        clock: "12:00:00",
        host: "host",
        seconds: 10.0,
        metrics: &metrics,
        hottest: &[],
        waits: &[],
        idle: false,
        profiles_late: false,
        own: OwnCost::default(),
        width,
        colours,
    };
    let view = View::new(&metrics);
    let shown = section(&view, &Unfollowed::of(&view), &interval).expect("a section");
    shown.as_str().to_owned()
}

/// Checks the whole section on a narrow terminal.
#[test]
fn at_80_columns() {
    let expected = "\
REQUESTS              req/s  errors      p50      p99  where the time goes
shop-frontend-with-…    600   1.7 %  1.08 ms   268 ms  network 73 %, cpu 22 %
  GET /users/{id}       100    10 %   4.3 ms   292 ms  network 80 %, cpu 15 %
  GET /                 500   0.0 %  1.06 ms  1.16 ms  cpu 90 %, lock 10 %
  → postgresql          100   0.0 %  2.13 ms  2.32 ms  SELECT users 100 %
  → http pay.example      1   0.0 %   135 ms   147 ms  GET 100 %
  → redis               400   0.0 %  66.6 µs  72.5 µs  GET 100 %
postgres                100   0.0 %  2.13 ms  2.32 ms
psql
  → dns                 0.2   0.0 %  4.08 ms  4.45 ms  db 100 %
";
    assert_eq!(render(80, false), expected);
}

/// Checks the whole section on a wide terminal, with the mean.
#[test]
fn at_120_columns() {
    let expected = "\
REQUESTS                      req/s  errors     mean      p50      p99  where the time goes
shop-frontend-with-a-long-n…    600   1.7 %  6.07 ms  1.08 ms   268 ms  network 73 %, cpu 22 %, run queue 4.5 %
  GET /users/{id}               100    10 %  31.1 ms   4.3 ms   292 ms  network 80 %, cpu 15 %, run queue 5.0 %
  GET /                         500   0.0 %  1.06 ms  1.06 ms  1.16 ms  cpu 90 %, lock 10 %
  → postgresql                  100   0.0 %  2.13 ms  2.13 ms  2.32 ms  SELECT users 100 %
  → http pay.example              1   0.0 %   136 ms   135 ms   147 ms  GET 100 %
  → redis                       400   0.0 %  66.6 µs  66.6 µs  72.5 µs  GET 100 %
postgres                        100   0.0 %  2.13 ms  2.13 ms  2.32 ms
psql
  → dns                         0.2   0.0 %  4.26 ms  4.08 ms  4.45 ms  db 100 %
";
    assert_eq!(render(120, false), expected);
}

/// Checks that colours change nothing but colours, and add a full bar where
/// there is room.
#[test]
fn colours() {
    let plain = |text: &str| {
        let mut out = String::new();
        let mut escaped = false;
        for c in text.chars() {
            escaped |= c == '\u{1b}';
            if !escaped {
                out.push(c);
            }
            escaped &= c != 'm';
        }
        out
    };
    assert_eq!(plain(&render(80, true)), render(80, false));
    let wide = render(120, true);
    let bars: Vec<usize> = plain(&wide)
        .lines()
        .map(|line| line.chars().filter(|c| *c == '█').count())
        .filter(|cells| *cells > 0)
        .collect();
    assert_eq!(bars, [BAR; 3]);
    assert!(wide.lines().all(|line| visible(line) <= 120));
}

static UNFOLLOWED: MetricDef = def("observer.request.unfollowed");

/// Checks that requests that were only counted are in the rates: exactly where all of a
/// protocol are in one row, estimated by the others' shares where not, and that it is said.
#[test]
fn counted_requests_are_in_the_rates() {
    let counted = |protocol, role, reason, n| MetricPoint {
        attributes: vec![
            Attribute::new("network.protocol.name", protocol),
            Attribute::new("network.connection.role", role),
            Attribute::new("observer.request.unfollowed.reason", reason),
        ]
        .into(),
        start: 0,
        value: PointValue::Int(n),
        exemplars: Vec::new(),
    };
    let mut metrics = shop();
    let frontend = Arc::clone(&metrics[1].resource);
    let points = vec![
        counted("http", "server", "share", 12_000),
        counted("redis", "client", "no_room", 6_000),
    ];
    metrics.push(ResourceMetrics {
        resource: frontend,
        metrics: vec![Metric {
            def: &UNFOLLOWED,
            points,
        }],
    });
    metrics.push(service(
        "unseen",
        vec![(
            &UNFOLLOWED,
            vec![
                counted("http", "server", "no_room", 700),
                counted("mysql", "client", "share", 500),
            ],
        )],
    ));
    let interval = Interval {
        seconds: 10.0,
        width: 100,
        metrics: &metrics,
        ..Interval::default()
    };
    let text = super::super::render(&interval).as_str().to_owned();
    let rate = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {text}"));
        let rest = line.trim_start().trim_start_matches(name);
        let rest = rest.split_once(' ').unwrap_or_default().1;
        rest.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    // 1,000 and 5,000 of 6,000 were followed.
    assert_eq!(rate("shop-frontend"), "1.8k", "{text}");
    assert_eq!(rate("GET /users/{id}"), "~300", "{text}");
    assert_eq!(rate("→ redis"), "1k", "{text}");
    assert_eq!(rate("→ mysql"), "50", "{text}");
    assert_eq!(rate("unseen"), "70", "{text}");
    let said = "either end: 12.5k to save costs, 6.7k since";
    assert!(text.contains(said), "{text}");
    assert!(!text.contains("nothing lost"), "{text}");
}
