use std::collections::HashMap;

use observer_common::requests::{Protocol, ThreadClock};

use super::*;
use crate::call::{Asked, Call, Db, Dns, Failure, Http, HttpHead, Rpc};
use crate::finished::{Endpoints, Parent, Transport};
use crate::routes::Routes;
use observer_signals::attribute::SharedResource;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{Metric, Value};

fn finished(role: Role, call: Call) -> Finished {
    Finished {
        workload: WorkloadId(1),
        tgid: 1,
        tid: 1,
        role,
        trace_id: [1; 16],
        span_id: [2; 8],
        parent_span_id: [0; 8],
        parent: Parent::Root,
        begun: 1_000_000_000,
        answered: None,
        ended: 1_001_000_000,
        call,
        route: None,
        endpoints: Arc::new(Endpoints {
            local: Some(([10, 0, 0, 1].into(), 8080)),
            peer: Some(([10, 0, 0, 2].into(), 5432)),
            client: None,
            transport: Transport::Tcp,
            tls: false,
            protocol: Protocol::Http1,
        }),
        clock: None,
        waited_for: vec![],
        retransmits: 0,
        sampled: false,
    }
}

fn http(status: u16) -> Call {
    Call::Http(Http {
        head: Arc::new(HttpHead {
            target: "/".to_owned(),
            ..HttpHead::default()
        }),
        status: Some(status),
        ..Http::default()
    })
}

fn collect(metrics: &mut Metrics) -> Vec<ResourceMetrics> {
    let mut out = MetricBuilder::default();
    metrics.collect(WallClock::ahead_by(1_790_000_000_000_000_000), &mut out);
    let resource = SharedResource::default();
    out.finish(Arc::clone(&resource), |_| Arc::clone(&resource))
}

fn metric<'a>(all: &'a [ResourceMetrics], def: &MetricDef) -> &'a Metric {
    let mut metrics = all.iter().flat_map(|resource| &resource.metrics);
    metrics
        .find(|metric| metric.def == def)
        .unwrap_or_else(|| panic!("no {}", def.name))
}

fn count(point: &MetricPoint) -> u64 {
    match &point.value {
        PointValue::Histogram(histogram) => histogram.count(),
        other => panic!("{other:?}"),
    }
}

fn told(point: &MetricPoint) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(s) => s.to_string(),
        Value::Int(i) => i.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = point.attributes.iter();
    attributes
        .map(|a| format!("{}={}", a.key, text(&a.value)))
        .collect()
}

/// Checks the attributes of each kind's series, all of them documented.
#[test]
fn series_are_labelled() {
    let mut metrics = Metrics::new(Arc::default());
    let mut server = finished(Role::Server, http(500));
    server.route = Some("/users/{id}".into());
    let mut client = finished(Role::Client, http(404));
    if let Call::Http(call) = &mut client.call {
        call.host = Some("api:81".into());
    }
    let rpc = Call::Rpc(Rpc {
        service: "shop.Orders".into(),
        method: "Get".into(),
        status: Some(0),
        ..Rpc::default()
    });
    let db = Call::Db(Db {
        system: Protocol::Postgres,
        asked: Arc::new(Asked {
            operation: "SELECT".into(),
            summary: "SELECT users".into(),
            text: Some("SELECT * FROM users".into()),
            collection: Some("users".into()),
            batch: None,
        }),
        namespace: Some("shop".into()),
        error: Some("42P01".to_owned()),
        rows: None,
        cache: None,
        failure: None,
        unseen: false,
    });
    let dns = Call::Dns(Dns {
        name: "example.com".to_owned(),
        question: "A".into(),
        code: None,
        answers: vec![],
        failure: Some(Failure::Timeout),
    });
    let table: [(Finished, &MetricDef, &[&str]); 8] = [
        (
            server,
            &definitions::HTTP_SERVER,
            &[
                "error.type=500",
                "http.request.method=GET",
                "http.response.status_code=500",
                "http.route=/users/{id}",
                "network.protocol.version=1.1",
                "url.scheme=http",
            ],
        ),
        (
            client,
            &definitions::HTTP_CLIENT,
            &[
                "error.type=404",
                "http.request.method=GET",
                "http.response.status_code=404",
                "network.protocol.version=1.1",
                "server.address=api",
                "server.port=81",
                "url.scheme=http",
            ],
        ),
        (
            finished(Role::Server, rpc.clone()),
            &definitions::RPC_SERVER,
            &[
                "rpc.method=shop.Orders/Get",
                "rpc.response.status_code=OK",
                "rpc.system.name=grpc",
            ],
        ),
        (
            finished(Role::Client, rpc),
            &definitions::RPC_CLIENT,
            &[
                "rpc.method=shop.Orders/Get",
                "rpc.response.status_code=OK",
                "rpc.system.name=grpc",
                "server.address=10.0.0.2",
                "server.port=5432",
            ],
        ),
        (
            finished(Role::Client, db.clone()),
            &definitions::DB_CLIENT,
            &[
                "db.collection.name=users",
                "db.namespace=shop",
                "db.operation.name=SELECT",
                "db.query.summary=SELECT users",
                "db.response.status_code=42P01",
                "db.system.name=postgresql",
                "error.type=42P01",
                "server.address=10.0.0.2",
                "server.port=5432",
            ],
        ),
        (
            finished(Role::Server, db),
            &definitions::DB_SERVER,
            &[
                "db.collection.name=users",
                "db.namespace=shop",
                "db.operation.name=SELECT",
                "db.query.summary=SELECT users",
                "db.response.status_code=42P01",
                "db.system.name=postgresql",
                "error.type=42P01",
            ],
        ),
        (
            finished(Role::Client, dns.clone()),
            &definitions::DNS_CLIENT,
            &["dns.question.name=example.com", "error.type=timeout"],
        ),
        (
            finished(Role::Server, dns),
            &definitions::DNS_SERVER,
            &["dns.question.name=example.com", "error.type=timeout"],
        ),
    ];
    for (finished, ..) in &table {
        metrics.observe(finished);
        metrics.observe(finished);
    }
    let all = collect(&mut metrics);
    for (_, def, expected) in table {
        let metric = metric(&all, def);
        assert_eq!(metric.points.len(), 1, "{}", def.name);
        assert_eq!(count(&metric.points[0]), 2);
        assert_eq!(told(&metric.points[0]), expected, "{}", def.name);
        for attribute in &*metric.points[0].attributes {
            let documented = def.attributes.iter().any(|(key, _)| *key == attribute.key);
            assert!(documented, "{} of {}", attribute.key, def.name);
        }
        assert!(METRICS.contains(&def));
    }
}

/// Checks against counting by label: of random requests each is counted once,
/// in its own series.
#[test]
fn every_request_is_counted() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut metrics = Metrics::new(Arc::default());
    let mut routes = Routes::new();
    let mut expected: HashMap<(u16, String), (u64, u64)> = HashMap::new();
    for _ in 0..20_000 {
        let status = [200, 404, 500][random.usize(0..3)];
        let mut one = finished(Role::Server, http(status));
        let route = routes.route(WorkloadId(1), &format!("/r{}/x", random.u32(0..20)));
        one.ended = one.begun + random.u64(0..1 << 34);
        let sums = expected.entry((status, route.to_string())).or_default();
        *sums = (sums.0 + 1, sums.1 + one.duration());
        one.route = Some(route);
        metrics.observe(&one);
    }
    let all = collect(&mut metrics);
    let points = &metric(&all, &definitions::HTTP_SERVER).points;
    assert_eq!(points.len(), expected.len());
    for point in points {
        let of = |key: &str| point.attributes.iter().find(|a| a.key == key);
        let (Some(status), Some(route)) = (of("http.response.status_code"), of("http.route"))
        else {
            panic!("{point:?}");
        };
        let (Value::Int(status), Value::String(route)) = (&status.value, &route.value) else {
            panic!("{point:?}");
        };
        let (requests, ns) = expected[&(*status as u16, route.to_string())];
        assert_eq!(count(point), requests);
        let PointValue::Histogram(histogram) = &point.value else {
            panic!("{point:?}");
        };
        assert!((histogram.sum - ns as f64 / 1e9).abs() < 1e-6);
    }
}

/// Checks that texts are told apart by what they say, not by where they are.
#[test]
fn same_texts_are_one_series() {
    let mut metrics = Metrics::new(Arc::default());
    for i in 0..5_000u32 {
        // New strings and a new connection each time.
        let db = Call::Db(Db {
            system: Protocol::Redis,
            asked: Arc::new(Asked {
                operation: ["GET", "SET"][i as usize % 2].to_owned().into(),
                summary: ["GET", "SET"][i as usize % 2].into(),
                ..Asked::default()
            }),
            namespace: Some("0".into()),
            error: None,
            rows: None,
            cache: None,
            failure: None,
            unseen: false,
        });
        metrics.observe(&finished(Role::Client, db));
    }
    let all = collect(&mut metrics);
    let points = &metric(&all, &definitions::DB_CLIENT).points;
    assert_eq!(points.len(), 2);
    assert_eq!(points.iter().map(count).sum::<u64>(), 5_000);
}

/// Checks that whatever names come, series are bounded, and nothing is lost;
/// and that another workload keeps its place.
#[test]
fn series_are_bounded() {
    let mut metrics = Metrics::new(Arc::default());
    let lookups = 20_000;
    for i in 0..lookups {
        let dns = Call::Dns(Dns {
            name: format!("h{i}.example"),
            ..Dns::default()
        });
        metrics.observe(&finished(Role::Client, dns));
    }
    assert!(metrics.names.len() <= SERIES as usize + 1);
    let mut other = finished(
        Role::Client,
        Call::Dns(Dns {
            name: "late.example".to_owned(),
            ..Dns::default()
        }),
    );
    other.workload = WorkloadId(2);
    metrics.observe(&other);
    let all = collect(&mut metrics);
    let points = &metric(&all, &definitions::DNS_CLIENT).points;
    assert_eq!(points.len(), SERIES as usize + 2);
    assert_eq!(points.iter().map(count).sum::<u64>(), lookups + 1);
    let overflow = points
        .iter()
        .find(|point| point.attributes[..] == labels::overflow())
        .expect("overflow");
    assert_eq!(count(overflow), lookups - u64::from(SERIES));
    let late = |point: &MetricPoint| told(point) == ["dns.question.name=late.example"];
    assert!(points.iter().any(late));
}

/// Checks that exemplars are of kept spans only, the slowest among them, from
/// different buckets, and gone at the next tick.
#[test]
fn exemplars_are_kept_spans() {
    let mut metrics = Metrics::new(Arc::default());
    let mut kept = HashMap::new();
    for i in 0..10_000u64 {
        let mut one = finished(Role::Server, http(200));
        one.ended = one.begun + 1000 + i * i * 10;
        one.sampled = i % 7 == 0;
        one.span_id = i.to_be_bytes();
        if one.sampled {
            kept.insert(one.span_id, one.duration());
        }
        metrics.observe(&one);
    }
    let mut late = finished(Role::Server, http(200));
    late.ended = late.begun + 60_000_000_000;
    late.span_id = [9; 8];
    metrics.kept(&late);
    kept.insert(late.span_id, late.duration());

    let all = collect(&mut metrics);
    let point = &metric(&all, &definitions::HTTP_SERVER).points[0];
    assert_eq!(count(point), 10_000);
    let exemplars = &point.exemplars;
    assert!((2..=5).contains(&exemplars.len()), "{exemplars:?}");
    for exemplar in exemplars {
        let duration = kept[&exemplar.span_id];
        assert!((exemplar.value - duration as f64 / 1e9).abs() < 1e-12);
        assert_eq!(exemplar.trace_id, [1; 16]);
    }
    assert!(exemplars.iter().any(|e| e.span_id == [9; 8]));
    let mut buckets: Vec<u32> = exemplars
        .iter()
        .map(|e| Durations::bucket((e.value * 1e9).round() as u64))
        .collect();
    buckets.sort_unstable();
    buckets.dedup();
    assert_eq!(buckets.len(), exemplars.len(), "of different buckets");

    let again = collect(&mut metrics);
    let point = &metric(&again, &definitions::HTTP_SERVER).points[0];
    assert_eq!((count(point), point.exemplars.len()), (10_000, 0));
}

/// Checks that components are counted once for each request of a route, and
/// add up to its time.
#[test]
fn times_of_routes() {
    let mut metrics = Metrics::new(Arc::default());
    for (status, route) in [(200, "/a"), (500, "/a"), (200, "/b")] {
        let mut one = finished(Role::Server, http(status));
        one.route = Some(route.into());
        one.clock = Some(ThreadClock {
            time: [100_000, 0, 200_000, 0, 500_000, 150_000, 50_000],
            ..ThreadClock::default()
        });
        metrics.observe(&one);
        one.clock = None;
        metrics.observe(&one);
    }
    let all = collect(&mut metrics);
    let points = &metric(&all, &definitions::TIME).points;
    assert_eq!(points.len(), 2 * time::PARTS.len());
    for (route, requests) in [("/a", 2), ("/b", 1)] {
        let mut sum = 0.0;
        for point in points {
            if !told(point).contains(&format!("http.route={route}")) {
                continue;
            }
            assert_eq!(count(point), requests);
            if let PointValue::Histogram(histogram) = &point.value {
                sum += histogram.sum;
            }
        }
        assert!((sum - requests as f64 * 1e-3).abs() < 1e-9, "{route} {sum}");
    }
}

/// Checks that open requests are told until the next tick, then anew.
#[test]
fn active_requests() {
    let mut metrics = Metrics::new(Arc::default());
    let mut told = |open: &[u64]| {
        for open in open {
            metrics.active(WorkloadId(1), Role::Server, true, *open, 5);
        }
        let all = collect(&mut metrics);
        let point = &metric(&all, &definitions::HTTP_SERVER_ACTIVE).points[0];
        assert_eq!(
            point.attributes[..],
            [Attribute::new("url.scheme", "https")]
        );
        point.value.clone()
    };
    assert_eq!(told(&[2, 3]), PointValue::Int(5));
    assert_eq!(told(&[]), PointValue::Int(0));
    assert_eq!(told(&[1]), PointValue::Int(1));
}

/// Checks that what workloads counted that are over stays in the sums of the service
/// that they were, apart from nothing: an heir takes series after series, whoever
/// lives goes on counting, and what has no heir is gone, also its place.
#[test]
fn retired_workloads_stay_in_sums() {
    let mut metrics = Metrics::new(Arc::default());
    let count_of = |metrics: &mut Metrics, workload: u32, status: u16, n: u32| {
        for _ in 0..n {
            let mut one = finished(Role::Server, http(status));
            one.workload = WorkloadId(workload);
            metrics.observe(&one);
        }
    };
    // One service, started three times.
    count_of(&mut metrics, 1, 200, 5);
    count_of(&mut metrics, 1, 500, 1);
    metrics.retire(WorkloadId(1), Some(WorkloadId(1)));
    count_of(&mut metrics, 2, 200, 7);
    metrics.retire(WorkloadId(2), Some(WorkloadId(1)));
    count_of(&mut metrics, 3, 200, 100);
    count_of(&mut metrics, 3, 404, 3);
    let counts = |metrics: &mut Metrics| {
        let all = collect(metrics);
        let points = &metric(&all, &definitions::HTTP_SERVER).points;
        let mut counts: Vec<u64> = points.iter().map(count).collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(counts(&mut metrics), [1, 3, 112]);
    assert_eq!(metrics.series.len(), 4, "two of the heir, two of who lives");
    metrics.retire(WorkloadId(1), None);
    count_of(&mut metrics, 3, 404, 1);
    assert_eq!(counts(&mut metrics), [4, 100]);
    assert_eq!((metrics.series.len(), metrics.index.len()), (2, 2));
}
