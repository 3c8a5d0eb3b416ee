//! Checks metric requests by decoding them again, field by field.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    self as proto, Exemplar, NumberDataPoint, exemplar, metric::Data,
};
use prost::Message;

use super::*;
use crate::otlp::SCHEMA_URL;
use observer_signals::{Histogram, PointValue, Resource, metric::Metric, metric::MetricBatch};

static COUNTER: MetricDef = MetricDef {
    name: "c",
    unit: "{x}",
    instrument: Instrument::Counter,
    description: "Counts.",
    attributes: &[],
};
static CURRENT: MetricDef = MetricDef {
    name: "u",
    instrument: Instrument::UpDownCounter,
    ..COUNTER
};
static GAUGE: MetricDef = MetricDef {
    name: "g",
    instrument: Instrument::Gauge,
    ..COUNTER
};
static HISTOGRAM: MetricDef = MetricDef {
    name: "h",
    instrument: Instrument::Histogram,
    ..COUNTER
};

fn batch(time: u64, series: usize, n: u64) -> MetricBatch {
    let points = |value: &dyn Fn(usize) -> PointValue| -> Vec<MetricPoint> {
        (0..series)
            .map(|i| MetricPoint {
                attributes: [Attribute::new("i", i as i64)].into(),
                start: 5,
                value: value(i),
                exemplars: Vec::new(),
            })
            .collect()
    };
    let histogram = |i: usize| {
        PointValue::Histogram(Histogram {
            scale: 3,
            zero_count: n,
            zero_threshold: 1e-9,
            offset: -4,
            buckets: vec![0, 0, n * (i as u64 + 1), 0, 2 * n, 0],
            sum: n as f64,
        })
    };
    let metric = |def, points| Metric { def, points };
    let resources = ["a", "b"].map(|name| ResourceMetrics {
        resource: Arc::new(Resource {
            attributes: vec![Attribute::new("service.name", name)],
        }),
        metrics: vec![
            metric(
                &COUNTER,
                points(&|i| PointValue::Int((n * (i as u64 + 1)) as i64)),
            ),
            metric(&CURRENT, points(&|_| PointValue::Int(n as i64))),
            metric(&GAUGE, points(&|_| PointValue::Double(0.5))),
            metric(&HISTOGRAM, points(&histogram)),
        ],
    });
    MetricBatch {
        time,
        resources: resources.into(),
    }
}

/// A request that is just as prost would have written it.
fn decoded(bytes: &[u8]) -> ExportMetricsServiceRequest {
    let request = ExportMetricsServiceRequest::decode(bytes).expect("it was encoded");
    assert_eq!(request.encode_to_vec(), bytes);
    request
}

/// All requests, after a way over the wire.
fn requests(
    encoder: &mut MetricEncoder,
    batch: &MetricBatch,
    limit: usize,
) -> Vec<ExportMetricsServiceRequest> {
    let mut requests = Vec::new();
    encoder.encode_within(batch, limit, |bytes, count, _| {
        assert!(bytes.len() <= limit, "{} > {limit}", bytes.len());
        let decoded = decoded(bytes);
        let points: usize = decoded
            .resource_metrics
            .iter()
            .flat_map(|r| &r.scope_metrics[0].metrics)
            .map(|m| points_of(m).len())
            .sum();
        assert_eq!(points as u64, count);
        requests.push(decoded);
    });
    requests
}

/// `(start, time, value or count)` of every point.
fn points_of(metric: &proto::Metric) -> Vec<(u64, u64, u64)> {
    let numbers = |points: &[NumberDataPoint]| {
        let value = |p: &NumberDataPoint| match p.value {
            Some(Number::AsInt(i)) => i as u64,
            _ => 0,
        };
        points
            .iter()
            .map(|p| (p.start_time_unix_nano, p.time_unix_nano, value(p)))
            .collect()
    };
    match metric.data.as_ref().expect("data") {
        Data::Sum(sum) => numbers(&sum.data_points),
        Data::Gauge(gauge) => numbers(&gauge.data_points),
        Data::ExponentialHistogram(h) => h
            .data_points
            .iter()
            .map(|p| (p.start_time_unix_nano, p.time_unix_nano, p.count))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn find<'a>(requests: &'a [ExportMetricsServiceRequest], name: &str) -> &'a proto::Metric {
    requests[0].resource_metrics[0].scope_metrics[0]
        .metrics
        .iter()
        .find(|m| m.name == name)
        .expect(name)
}

/// Checks every field of a cumulative request.
#[test]
fn cumulative() {
    let mut encoder = MetricEncoder::new(Temporality::Cumulative, Vec::new());
    let requests = requests(&mut encoder, &batch(100, 1, 3), 1 << 20);
    assert_eq!(requests.len(), 1);
    let group = &requests[0].resource_metrics[0];
    assert_eq!(group.schema_url, SCHEMA_URL);
    let scope = group.scope_metrics[0].scope.as_ref().expect("a scope");
    assert_eq!(scope.name, "observer");

    let counter = find(&requests, "c");
    assert_eq!(
        (&counter.unit[..], &counter.description[..]),
        ("{x}", "Counts.")
    );
    assert_eq!(points_of(counter), [(5, 100, 3)]);
    let Some(Data::Sum(sum)) = &counter.data else {
        panic!("not a sum")
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, 2);
    let Some(Data::Sum(sum)) = &find(&requests, "u").data else {
        panic!("not a sum")
    };
    assert!(!sum.is_monotonic);
    assert_eq!(points_of(find(&requests, "g")), [(0, 100, 0)]);
    let Some(Data::ExponentialHistogram(h)) = &find(&requests, "h").data else {
        panic!("not a histogram")
    };
    assert_eq!(h.aggregation_temporality, 2);
    let point = &h.data_points[0];
    assert_eq!((point.scale, point.zero_count, point.count), (3, 3, 12));
    assert_eq!((point.sum, point.zero_threshold), (Some(3.0), 1e-9));
    let positive = point.positive.as_ref().expect("buckets");
    assert_eq!(
        (positive.offset, &positive.bucket_counts[..]),
        (-2, &[3, 0, 6][..])
    );
}

/// Checks which instruments each preference turns into deltas, and that the
/// second delta begins where the first ended.
#[test]
fn temporalities() {
    for (preference, expected) in [
        (Temporality::Cumulative, [2, 2, 2]),
        (Temporality::Delta, [1, 2, 1]),
        (Temporality::LowMemory, [2, 2, 1]),
    ] {
        let mut encoder = MetricEncoder::new(preference, Vec::new());
        requests(&mut encoder, &batch(100, 1, 3), 1 << 20);
        let second = requests(&mut encoder, &batch(200, 1, 10), 1 << 20);
        for (name, kind, (now, before)) in [
            ("c", expected[0], (10, 3)),
            ("u", expected[1], (10, 3)),
            ("h", expected[2], (40, 12)),
        ] {
            let metric = find(&second, name);
            let temporality = match metric.data.as_ref().expect("data") {
                Data::Sum(sum) => sum.aggregation_temporality,
                Data::ExponentialHistogram(h) => h.aggregation_temporality,
                other => panic!("{other:?}"),
            };
            assert_eq!(temporality, kind, "{preference:?} {name}");
            let point = match kind {
                1 => (100, 200, now - before),
                _ => (5, 200, now),
            };
            assert_eq!(points_of(metric), [point], "{preference:?} {name}");
        }
    }
}

/// Checks that a batch split over many requests loses and doubles nothing and
/// leaves no metric empty.
#[test]
fn splits() {
    let mut encoder = MetricEncoder::new(Temporality::Cumulative, Vec::new());
    let requests = requests(&mut encoder, &batch(100, 50, 3), 2000);
    assert!(requests.len() > 10);
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for group in requests.iter().flat_map(|r| &r.resource_metrics) {
        for metric in &group.scope_metrics[0].metrics {
            let points = points_of(metric).len();
            assert!(points > 0);
            let key = (format!("{:?}", group.resource), metric.name.clone());
            *seen.entry(key).or_default() += points;
        }
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.values().all(|&points| points == 50));
}

/// Checks that exemplars go with the point of their interval, cumulative or
/// delta, and with no other.
#[test]
fn exemplars_travel() {
    for preference in [Temporality::Cumulative, Temporality::Delta] {
        let mut encoder = MetricEncoder::new(preference, Vec::new());
        for (time, n, exemplar) in [(100, 3, None), (200, 10, Some(0.25)), (300, 11, None)] {
            let mut batch = batch(time, 1, n);
            let exemplars = exemplar.map(|value| metric::Exemplar {
                time: time - 1,
                value,
                trace_id: [1; 16],
                span_id: [2; 8],
            });
            for metric in &mut batch.resources[0].metrics {
                if metric.def.instrument == Instrument::Histogram {
                    metric.points[0].exemplars.extend(exemplars.clone());
                }
            }
            let requests = requests(&mut encoder, &batch, 1 << 20);
            let Some(Data::ExponentialHistogram(h)) = &find(&requests, "h").data else {
                panic!("not a histogram")
            };
            let expected = exemplar.map(|value| Exemplar {
                filtered_attributes: Vec::new(),
                time_unix_nano: 199,
                span_id: vec![2; 8],
                trace_id: vec![1; 16],
                value: Some(exemplar::Value::AsDouble(value)),
            });
            assert_eq!(h.data_points[0].exemplars, Vec::from_iter(expected));
        }
    }
}

/// Checks that series that have ended are flagged so, without a value, under the start and
/// the attributes that they had, and that what was sent as deltas isn't.
#[test]
fn ends() {
    for (preference, expected) in [
        (Temporality::Cumulative, ["c", "g", "h", "u"].as_slice()),
        (Temporality::Delta, &["g", "u"]),
    ] {
        let mut encoder = MetricEncoder::new(preference, vec![Attribute::new("extra", 1_i64)]);
        let batch = batch(100, 2, 3);
        requests(&mut encoder, &batch, 1 << 20);
        let mut ended = Vec::new();
        encoder.encode_ended(&batch.resources, 200, |bytes, count, _| {
            ended.push((decoded(bytes), count));
        });
        let [(request, count)] = &ended[..] else {
            panic!("{} requests", ended.len());
        };
        assert_eq!(*count, 2 * 2 * expected.len() as u64);
        let mut names = std::collections::BTreeSet::new();
        for group in &request.resource_metrics {
            let resource = group.resource.as_ref().expect("a resource");
            assert_eq!(resource.attributes.len(), 2);
            for metric in &group.scope_metrics[0].metrics {
                names.insert(&metric.name[..]);
                let start = if metric.name == "g" { 0 } else { 5 };
                assert_eq!(points_of(metric), [(start, 200, 0); 2], "{}", metric.name);
                let points: Vec<_> = match metric.data.as_ref().expect("data") {
                    Data::Sum(proto::Sum { data_points, .. })
                    | Data::Gauge(proto::Gauge { data_points }) => data_points
                        .iter()
                        .map(|p| (p.flags, p.value.is_some(), &p.attributes))
                        .collect(),
                    Data::ExponentialHistogram(h) => (h.data_points.iter())
                        .map(|p| (p.flags, p.sum.is_some(), &p.attributes))
                        .collect(),
                    other => panic!("{other:?}"),
                };
                for (flags, has_value, attributes) in points {
                    assert_eq!((flags, has_value, attributes.len()), (1, false, 1));
                }
            }
        }
        assert_eq!(names, expected.iter().copied().collect());
    }
}

/// Checks that where the clock was set back, twice, no point begins after it ends, a
/// series' points follow each other, and what its sums and deltas add up to is told once;
/// and that levels are told as they are.
#[test]
fn clock_set_back() {
    const DAY: u64 = 86_400_000_000_000;
    const SECOND: u64 = 1_000_000_000;
    let told = [
        (DAY, 1),
        (DAY + 10 * SECOND, 3),
        // Two hours back.
        (DAY - 7200 * SECOND, 6),
        (DAY - 7190 * SECOND, 10),
        (DAY - 9000 * SECOND, 11),
        (DAY - 8990 * SECOND, 15),
    ];
    for preference in [Temporality::Cumulative, Temporality::Delta] {
        let mut encoder = MetricEncoder::new(preference, Vec::new());
        for name in ["c", "h", "u"] {
            encoder.delta = Delta::default();
            encoder.timeline = Timeline::default();
            // By start: the last time and value.
            let mut series = BTreeMap::<u64, (u64, u64)>::new();
            let mut sum = 0;
            for (time, n) in told {
                let requests = requests(&mut encoder, &batch(time, 1, n), 1 << 20);
                let (start, end, value) = points_of(find(&requests, name))[0];
                assert!(start <= end, "{name}: {start} to {end}");
                if let Some((before, _)) = series.insert(start, (end, value)) {
                    assert!(before < end, "{name}: {before}, then {end}");
                }
                sum += value;
                if name == "u" {
                    assert_eq!(value, n);
                }
            }
            // A histogram of n has n zeroes, n and twice n.
            let all = if name == "h" { 15 * 4 } else { 15 };
            let last: u64 = series.values().map(|(_, value)| *value).sum();
            match (name, preference) {
                ("u", _) => {}
                (_, Temporality::Cumulative) => {
                    assert_eq!((last, series.len()), (all, 3), "{name}");
                }
                _ => assert_eq!(sum, all, "{name}"),
            }
        }
    }
}

/// Checks that a resource that has much has requests of its own, wherever it stands, that
/// the others share theirs, and that each request says whose it is.
#[test]
fn who_has_much_is_alone() {
    let (few, many) = (batch(5, 1, 2), batch(5, 20_000, 2));
    let [small, large] = [few, many].map(|batch| batch.resources);
    let named = |mut group: ResourceMetrics, name: &'static str| {
        group.resource = Arc::new(Resource {
            attributes: vec![Attribute::new("service.name", name)],
        });
        group
    };
    let all = ["a", "b", "MUCH", "c", "d", "MORE"].map(|name| {
        let from = if name.len() > 1 { &large } else { &small };
        named(from[0].clone(), name)
    });
    let key = |name| Whose::of(&named(small[0].clone(), name).resource);
    let points = |group: &ResourceMetrics| {
        let metrics = group.metrics.iter();
        metrics.map(|m| m.points.len() as u64).sum::<u64>()
    };
    let made: u64 = all.iter().map(points).sum();
    let batch = MetricBatch {
        time: 5,
        resources: all.into(),
    };
    let mut encoder = MetricEncoder::new(Temporality::Cumulative, Vec::new());
    let (mut sent, mut alone, mut together) = (0, 0, 0);
    encoder.encode(&batch, |bytes, count, shares| {
        sent += count;
        let names: Vec<_> = decoded(bytes)
            .resource_metrics
            .iter()
            .filter_map(|group| group.resource.clone())
            .map(|resource| format!("{:?}", resource.attributes[0].value))
            .collect();
        assert_eq!(shares.iter().count(), names.len());
        let shares = shares.clone().scaled(1000);
        let is_large = names
            .iter()
            .any(|name| name.contains("MUCH") || name.contains("MORE"));
        if is_large {
            assert_eq!(names.len(), 1, "{names:?}");
            assert_eq!(shares.of(key("MUCH")) + shares.of(key("MORE")), 1000);
            alone += 1;
        } else {
            assert_eq!(names.len(), 2, "{names:?}");
            assert_eq!(
                shares.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(),
                [500, 500]
            );
            together += 1;
        }
    });
    assert_eq!(sent, made);
    assert!(alone >= 2 && together == 2, "{alone} {together}");
}
