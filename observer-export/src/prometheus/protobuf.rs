//! The protobuf exposition: `io.prometheus.client.MetricFamily` messages, each after its
//! length, with native histograms.
//!
//! Layout: prometheus/client_model, io/prometheus/client/metrics.proto. Only the fields
//! that are written are here; their numbers are that file's.

use prost::Message;

use observer_signals::metric::Exemplar as Measured;
use observer_signals::{Histogram, MetricPoint, PointValue, UnixNanos};

use super::families::{Families, Family, Kind};
use super::histogram::{self, BOUNDS};
use super::labels::Labels;
use super::text::{INFO_HELP, by_bucket, hex, largest};

/// `enum MetricType`.
const COUNTER: i32 = 0;
const GAUGE: i32 = 1;
const HISTOGRAM: i32 = 4;

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    unit: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<HistogramMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
    #[prost(message, optional, tag = "3")]
    created: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramMessage {
    #[prost(uint64, optional, tag = "1")]
    pub(super) sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created: Option<Timestamp>,
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Writes all of it.
pub(super) fn write(out: &mut Vec<u8>, families: &Families<'_>) {
    if !families.infos.is_empty() {
        let metric = families.infos.iter().map(|labels| Metric {
            label: pairs(labels),
            gauge: Some(Gauge { value: Some(1.0) }),
            ..Metric::default()
        });
        let info = MetricFamily {
            name: Some("target_info".to_owned()),
            help: Some(INFO_HELP.to_owned()),
            kind: Some(GAUGE),
            metric: metric.collect(),
            unit: None,
        };
        push(out, &info);
    }
    for (name, family) in &families.all {
        push(out, &message(name, family, families.time));
    }
}

fn push(out: &mut Vec<u8>, family: &MetricFamily) {
    // Only a buffer that can't grow has no room.
    let pushed = family.encode_length_delimited(out);
    debug_assert!(pushed.is_ok(), "a vector grows");
}

fn message(name: &str, family: &Family<'_>, time: UnixNanos) -> MetricFamily {
    let kind = family.kind();
    let (name, number) = match kind {
        Kind::Counter => (format!("{name}_total"), COUNTER),
        Kind::Gauge => (name.to_owned(), GAUGE),
        Kind::Histogram => (name.to_owned(), HISTOGRAM),
    };
    let metric = family.points().map(|(labels, point)| {
        let mut metric = Metric {
            label: pairs(&labels),
            ..Metric::default()
        };
        match (&point.value, kind) {
            (PointValue::Histogram(histogram), _) => {
                metric.histogram = Some(of_histogram(histogram, point, time));
            }
            (value, Kind::Counter) => {
                metric.counter = Some(Counter {
                    value: plain(value),
                    exemplar: largest(point).map(of_exemplar),
                    created: created(point, time),
                });
            }
            (value, _) => {
                metric.gauge = Some(Gauge {
                    value: plain(value),
                })
            }
        }
        metric
    });
    MetricFamily {
        name: Some(name),
        help: Some(family.def.description.to_owned()),
        kind: Some(number),
        metric: metric.collect(),
        unit: family.unit.clone(),
    }
}

fn plain(value: &PointValue) -> Option<f64> {
    match value {
        PointValue::Int(n) => Some(*n as f64),
        PointValue::Double(n) => Some(*n),
        PointValue::Histogram(_) => None,
    }
}

/// Both kinds of buckets: a Prometheus that doesn't store native histograms takes the
/// classic ones.
fn of_histogram(histogram: &Histogram, point: &MetricPoint, time: UnixNanos) -> HistogramMessage {
    let count = histogram.count();
    let bounds = BOUNDS.map(|exponent| f64::from(exponent).exp2());
    let bounds = bounds.into_iter().chain([f64::INFINITY]);
    let counts = histogram::cumulative(histogram).into_iter().chain([count]);
    let exemplars = by_bucket(&point.exemplars);
    let buckets = bounds.zip(counts).zip(exemplars);
    let bucket = buckets.map(|((bound, count), exemplar)| Bucket {
        cumulative_count: Some(count),
        upper_bound: Some(bound),
        exemplar: exemplar.map(of_exemplar),
    });
    let mut message = HistogramMessage {
        sample_count: Some(count),
        sample_sum: Some(histogram.sum),
        bucket: bucket.collect(),
        created: created(point, time),
        ..HistogramMessage::default()
    };
    if let Some(native) = histogram::native(histogram) {
        let span = |(offset, length)| BucketSpan {
            offset: Some(offset),
            length: Some(length),
        };
        message.schema = Some(native.schema);
        message.zero_threshold = Some(histogram.zero_threshold);
        message.zero_count = Some(histogram.zero_count);
        message.positive_span = native.spans.into_iter().map(span).collect();
        message.positive_delta = native.deltas;
        message.exemplars = exemplars.into_iter().flatten().map(of_exemplar).collect();
    }
    message
}

fn of_exemplar(exemplar: &Measured) -> Exemplar {
    let pair = |name: &str, id: &[u8]| LabelPair {
        name: Some(name.to_owned()),
        value: Some(hex(id)),
    };
    Exemplar {
        label: vec![
            pair("trace_id", &exemplar.trace_id),
            pair("span_id", &exemplar.span_id),
        ],
        value: Some(exemplar.value),
        timestamp: Some(timestamp(exemplar.time)),
    }
}

/// When a series began; not told where the clock was set back since.
fn created(point: &MetricPoint, time: UnixNanos) -> Option<Timestamp> {
    (point.start != 0 && point.start <= time).then(|| timestamp(point.start))
}

fn timestamp(time: UnixNanos) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(time / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(time % 1_000_000_000).unwrap_or(0),
    }
}

fn pairs(labels: &Labels<'_>) -> Vec<LabelPair> {
    let pair = labels.iter().map(|(name, value)| LabelPair {
        name: Some(name.to_string()),
        value: Some(value.to_string()),
    });
    pair.collect()
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
