//! Metrics as OTLP metric requests: sums, gauges, exponential histograms.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    self as proto, AggregationTemporality, DataPointFlags, Exemplar, ExponentialHistogramDataPoint,
    NumberDataPoint, exemplar, metric::Data,
};
use prost::Message;

use super::attributes::{key_values, resource, scope};
use super::settings::Temporality;
use super::traces::framed;
use super::{MAX_REQUEST_BYTES, SCHEMA_URL};
use crate::delta::Delta;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{
    Attribute, Histogram, Instrument, MetricDef, MetricPoint, PointValue, UnixNanos, metric,
};

/// How one metric is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Cumulative,
    Delta,
}

/// The temporality of an instrument under a preference. Observer's counters
/// are read from the kernel, which makes them asynchronous in the words of
/// the specification; its histograms have no asynchronous counterpart.
fn temporality(preference: Temporality, instrument: Instrument) -> Sent {
    match (preference, instrument) {
        (Temporality::Delta, Instrument::Counter | Instrument::Histogram)
        | (Temporality::LowMemory, Instrument::Histogram) => Sent::Delta,
        _ => Sent::Cumulative,
    }
}

/// Turns batches into requests; remembers the previous values where deltas
/// are asked for.
#[derive(Debug)]
pub struct MetricEncoder {
    preference: Temporality,
    extra: Vec<Attribute>,
    delta: Delta,
}

impl MetricEncoder {
    /// `extra` are attributes for every resource.
    pub fn new(preference: Temporality, extra: Vec<Attribute>) -> Self {
        Self {
            preference,
            extra,
            delta: Delta::default(),
        }
    }

    /// Hands requests and the number of data points in each to `emit`.
    pub fn encode(
        &mut self,
        batch: &metric::MetricBatch,
        emit: impl FnMut(ExportMetricsServiceRequest, u64),
    ) {
        self.encode_within(batch, MAX_REQUEST_BYTES, emit);
    }

    fn encode_within(
        &mut self,
        batch: &metric::MetricBatch,
        limit: usize,
        emit: impl FnMut(ExportMetricsServiceRequest, u64),
    ) {
        let mut packer = Packer::new(limit, emit);
        for group in &batch.resources {
            self.encode_resource(group, batch.time, &mut packer);
        }
        packer.flush();
        self.delta.end_batch(batch.time);
    }

    /// Says that these series have ended: points without a value, flagged so
    /// (OpenTelemetry data model, "No recorded value"). A delta that doesn't come
    /// says that by itself.
    pub fn encode_ended(
        &mut self,
        ended: &[ResourceMetrics],
        time: UnixNanos,
        emit: impl FnMut(ExportMetricsServiceRequest, u64),
    ) {
        let mut packer = Packer::new(MAX_REQUEST_BYTES, emit);
        for group in ended {
            self.delta.forget(group);
            packer.open_resource(resource(&group.resource, &self.extra));
            for metric in &group.metrics {
                let sent = temporality(self.preference, metric.def.instrument);
                if sent == Sent::Delta {
                    continue;
                }
                packer.open_metric(metric.def, sent);
                for point in &metric.points {
                    packer.push(ended_point(metric.def.instrument, point, time));
                }
            }
        }
        packer.flush();
    }

    fn encode_resource<E: FnMut(ExportMetricsServiceRequest, u64)>(
        &mut self,
        group: &ResourceMetrics,
        time: UnixNanos,
        packer: &mut Packer<E>,
    ) {
        let proto_resource = resource(&group.resource, &self.extra);
        packer.open_resource(proto_resource);
        let identity = Delta::resource_key(&group.resource);
        for metric in &group.metrics {
            let sent = temporality(self.preference, metric.def.instrument);
            packer.open_metric(metric.def, sent);
            for point in &metric.points {
                match sent {
                    Sent::Cumulative => packer.add(point, time),
                    Sent::Delta => {
                        let key = Delta::series_key(identity, metric.def, &point.attributes);
                        if let Some(delta) = self.delta.step(key, point, time) {
                            packer.add(&delta, time);
                        }
                    }
                }
            }
        }
    }
}

/// Fills requests up to a size. Resources and metrics are opened first and
/// written only when a point follows, so that none is empty.
struct Packer<E> {
    limit: usize,
    emit: E,
    request: ExportMetricsServiceRequest,
    size: usize,
    points: u64,
    resource: Arc<opentelemetry_proto::tonic::resource::v1::Resource>,
    metric: Option<(&'static MetricDef, Sent)>,
    resource_is_open: bool,
    metric_is_open: bool,
}

impl<E: FnMut(ExportMetricsServiceRequest, u64)> Packer<E> {
    fn new(limit: usize, emit: E) -> Self {
        Self {
            limit,
            emit,
            request: ExportMetricsServiceRequest::default(),
            size: 0,
            points: 0,
            resource: Arc::default(),
            metric: None,
            resource_is_open: false,
            metric_is_open: false,
        }
    }

    fn open_resource(&mut self, resource: opentelemetry_proto::tonic::resource::v1::Resource) {
        self.resource = Arc::new(resource);
        self.resource_is_open = false;
        self.metric_is_open = false;
    }

    fn open_metric(&mut self, def: &'static MetricDef, sent: Sent) {
        self.metric = Some((def, sent));
        self.metric_is_open = false;
    }

    fn flush(&mut self) {
        if self.points > 0 {
            (self.emit)(std::mem::take(&mut self.request), self.points);
        }
        (self.size, self.points) = (0, 0);
        self.resource_is_open = false;
        self.metric_is_open = false;
    }

    fn add(&mut self, point: &MetricPoint, time: UnixNanos) {
        if let Some((def, _)) = self.metric {
            self.push(encode_point(def.instrument, point, time));
        }
    }

    fn push(&mut self, point: Point) {
        let Some((def, sent)) = self.metric else {
            return;
        };
        let size = framed(point.len());
        if self.points > 0 && self.size + size > self.limit {
            self.flush();
        }
        if !self.resource_is_open {
            let group = proto::ResourceMetrics {
                resource: Some((*self.resource).clone()),
                scope_metrics: vec![proto::ScopeMetrics {
                    scope: Some(scope()),
                    metrics: Vec::new(),
                    schema_url: SCHEMA_URL.to_owned(),
                }],
                schema_url: SCHEMA_URL.to_owned(),
            };
            self.size += framed(group.encoded_len());
            self.request.resource_metrics.push(group);
            self.resource_is_open = true;
        }
        // The scope was put there a few lines above, or in an earlier call.
        let Some(metrics) = self
            .request
            .resource_metrics
            .last_mut()
            .and_then(|r| r.scope_metrics.last_mut())
            .map(|s| &mut s.metrics)
        else {
            return;
        };
        if !self.metric_is_open {
            let metric = empty_metric(def, sent);
            self.size += framed(metric.encoded_len());
            metrics.push(metric);
            self.metric_is_open = true;
        }
        if let Some(data) = metrics.last_mut().and_then(|m| m.data.as_mut()) {
            point.push_to(data);
            self.size += size;
            self.points += 1;
        }
    }
}

fn empty_metric(def: &MetricDef, sent: Sent) -> proto::Metric {
    let temporality = match sent {
        Sent::Cumulative => AggregationTemporality::Cumulative,
        Sent::Delta => AggregationTemporality::Delta,
    } as i32;
    let data = match def.instrument {
        Instrument::Counter | Instrument::UpDownCounter => Data::Sum(proto::Sum {
            data_points: Vec::new(),
            aggregation_temporality: temporality,
            is_monotonic: def.instrument == Instrument::Counter,
        }),
        Instrument::Gauge => Data::Gauge(proto::Gauge::default()),
        Instrument::Histogram => Data::ExponentialHistogram(proto::ExponentialHistogram {
            data_points: Vec::new(),
            aggregation_temporality: temporality,
        }),
    };
    proto::Metric {
        name: def.name.to_owned(),
        description: def.description.to_owned(),
        unit: def.unit.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

enum Point {
    Number(NumberDataPoint),
    Histogram(ExponentialHistogramDataPoint),
}

impl Point {
    fn len(&self) -> usize {
        match self {
            Self::Number(p) => p.encoded_len(),
            Self::Histogram(p) => p.encoded_len(),
        }
    }

    /// A value that doesn't fit the instrument (a maker's mistake, which its
    /// tests find) isn't sent under a wrong type.
    fn push_to(self, data: &mut Data) {
        match (self, data) {
            (Self::Number(p), Data::Sum(sum)) => sum.data_points.push(p),
            (Self::Number(p), Data::Gauge(gauge)) => gauge.data_points.push(p),
            (Self::Histogram(p), Data::ExponentialHistogram(h)) => h.data_points.push(p),
            _ => debug_assert!(false, "a metric's value doesn't fit its instrument"),
        }
    }
}

fn encode_point(instrument: Instrument, point: &MetricPoint, time: UnixNanos) -> Point {
    let attributes = key_values(&point.attributes);
    let start_time_unix_nano = match instrument {
        Instrument::Gauge => 0,
        _ => point.start,
    };
    let value = match &point.value {
        PointValue::Int(i) => Number::AsInt(*i),
        PointValue::Double(d) => Number::AsDouble(*d),
        PointValue::Histogram(h) => {
            let mut encoded = encode_histogram(h, attributes, point.start, time);
            encoded.exemplars = exemplars(point);
            return Point::Histogram(encoded);
        }
    };
    Point::Number(NumberDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano: time,
        value: Some(value),
        exemplars: exemplars(point),
        ..Default::default()
    })
}

/// A point that says that its series has no value any more.
fn ended_point(instrument: Instrument, point: &MetricPoint, time: UnixNanos) -> Point {
    let attributes = key_values(&point.attributes);
    let flags = DataPointFlags::NoRecordedValueMask as u32;
    match &point.value {
        PointValue::Histogram(histogram) => Point::Histogram(ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: point.start,
            time_unix_nano: time,
            scale: histogram.scale,
            flags,
            ..Default::default()
        }),
        PointValue::Int(_) | PointValue::Double(_) => Point::Number(NumberDataPoint {
            attributes,
            start_time_unix_nano: match instrument {
                Instrument::Gauge => 0,
                _ => point.start,
            },
            time_unix_nano: time,
            flags,
            ..Default::default()
        }),
    }
}

fn exemplars(point: &MetricPoint) -> Vec<Exemplar> {
    let of = point.exemplars.iter();
    of.map(|exemplar| Exemplar {
        time_unix_nano: exemplar.time,
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        trace_id: exemplar.trace_id.to_vec(),
        span_id: exemplar.span_id.to_vec(),
        ..Default::default()
    })
    .collect()
}

fn encode_histogram(
    histogram: &Histogram,
    attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
    start: UnixNanos,
    time: UnixNanos,
) -> ExponentialHistogramDataPoint {
    let mut used = histogram.buckets.as_slice();
    while let [rest @ .., 0] = used {
        used = rest;
    }
    let mut leading = 0;
    while let [0, rest @ ..] = used {
        used = rest;
        leading += 1;
    }
    ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: histogram.count(),
        sum: Some(histogram.sum),
        scale: histogram.scale,
        zero_count: histogram.zero_count,
        zero_threshold: histogram.zero_threshold,
        positive: Some(Buckets {
            offset: if used.is_empty() {
                0
            } else {
                histogram.offset + leading
            },
            bucket_counts: used.to_vec(),
        }),
        ..Default::default()
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
