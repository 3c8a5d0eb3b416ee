//! Metrics as OTLP metric requests: sums, gauges, exponential histograms.
//!
//! Written field by field (see [`super::wire`]): on a host that starts hundreds of
//! programs a second an export has a hundred thousand points.

mod point;

use std::time::Instant;

use super::MAX_REQUEST_BYTES;
use super::attributes::write_resource;
use super::group::{self, framed};
use super::settings::Temporality;
use super::shares::{OWN_BYTES, Shares, Whose};
use super::timeline::{Place, Timeline};
use super::wire::Wire;
use crate::delta::Delta;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{Attribute, Instrument, MetricDef, MetricPoint, UnixNanos, metric};

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
    timeline: Timeline,
    /// Kept from one export to the next: at most three requests' memory.
    buffers: Buffers,
}

impl MetricEncoder {
    /// `extra` are attributes for every resource.
    pub fn new(preference: Temporality, extra: Vec<Attribute>) -> Self {
        Self {
            preference,
            extra,
            delta: Delta::default(),
            timeline: Timeline::default(),
            buffers: Buffers {
                scope: group::encoded_scope(),
                ..Buffers::default()
            },
        }
    }

    /// Hands encoded `ExportMetricsServiceRequest`s, the number of data points in each and
    /// whose they are to `emit`.
    pub fn encode(&mut self, batch: &metric::MetricBatch, emit: impl FnMut(&[u8], u64, &Shares)) {
        self.encode_within(batch, MAX_REQUEST_BYTES, emit);
    }

    fn encode_within(
        &mut self,
        batch: &metric::MetricBatch,
        limit: usize,
        emit: impl FnMut(&[u8], u64, &Shares),
    ) {
        let mut packer = Packer::new(limit, emit, &mut self.buffers);
        let mut place = self.timeline.begin(batch.time, Instant::now());
        let time = place.time;
        let sums_have_keys = self.timeline.needs_keys(&place);
        for group in &batch.resources {
            packer.open_resource(group, &self.extra);
            // What is neither sent as a delta nor began anew isn't told apart.
            let identity = (sums_have_keys || self.preference != Temporality::Cumulative)
                .then(|| Delta::resource_key(&group.resource));
            for metric in &group.metrics {
                let sent = temporality(self.preference, metric.def.instrument);
                packer.open_metric(metric.def, sent);
                let identity = identity.filter(|_| sums_have_keys || sent == Sent::Delta);
                for point in &metric.points {
                    let Some(identity) = identity else {
                        packer.add(point, time);
                        continue;
                    };
                    let key = Delta::series_key(identity, metric.def, &point.attributes);
                    if sent == Sent::Cumulative {
                        let instrument = metric.def.instrument;
                        let point = self.timeline.place(key, instrument, point, &mut place);
                        packer.add(&point, time);
                    } else if let Some(mut delta) = self.delta.step(key, point, time) {
                        delta.start = self.timeline.start(delta.start, time);
                        packer.add(&delta, time);
                    }
                }
            }
        }
        packer.flush();
        self.delta.end_batch(time);
        if let Some(began) = self.timeline.end(place) {
            self.delta.set_back(began);
        }
    }

    /// Says that these series have ended: points without a value, flagged so
    /// (OpenTelemetry data model, "No recorded value"). A delta that doesn't come
    /// says that by itself.
    pub fn encode_ended(
        &mut self,
        ended: &[ResourceMetrics],
        time: UnixNanos,
        emit: impl FnMut(&[u8], u64, &Shares),
    ) {
        let mut packer = Packer::new(MAX_REQUEST_BYTES, emit, &mut self.buffers);
        let place = Place { time, ends: None };
        let sums_have_keys = self.timeline.needs_keys(&place);
        for group in ended {
            let identity = sums_have_keys.then(|| Delta::resource_key(&group.resource));
            if self.preference != Temporality::Cumulative {
                self.delta.forget(group);
            }
            packer.open_resource(group, &self.extra);
            for metric in &group.metrics {
                let sent = temporality(self.preference, metric.def.instrument);
                if sent == Sent::Delta {
                    continue;
                }
                packer.open_metric(metric.def, sent);
                for point in &metric.points {
                    let start = self.timeline.start(point.start, time);
                    packer.add_ended(point, start, time);
                    if let Some(identity) = identity {
                        let key = Delta::series_key(identity, metric.def, &point.attributes);
                        self.timeline.forget(key);
                    }
                }
            }
        }
        packer.flush();
    }
}

/// A request in the making, from the inside out.
#[derive(Debug, Default)]
struct Buffers {
    /// The instrumentation scope, encoded.
    scope: Vec<u8>,
    /// The resource that is open, encoded.
    resource: Wire,
    /// One data point.
    point: Wire,
    /// Those of the metric that is open.
    points: Wire,
    /// What stands before them.
    head: Wire,
    /// The metrics before it, of this resource.
    metrics: Wire,
    /// The resources before that one.
    request: Wire,
}

impl Buffers {
    /// What the request takes, a little overestimated, without the metric that is open.
    fn size(&self) -> usize {
        let open = self.resource.bytes.len() + self.metrics.bytes.len() + group::around();
        self.request.bytes.len() + open + framed(self.points.bytes.len())
    }
}

/// Fills requests up to a size. Resources and metrics are opened first and
/// written only when a point follows, so that none is empty.
struct Packer<'a, E> {
    limit: usize,
    emit: E,
    to: &'a mut Buffers,
    metric: Option<(&'static MetricDef, Sent)>,
    /// Whose the resource is that is open.
    whose: Whose,
    /// Points in the request.
    count: u64,
    /// Those of the resources before the one that is open.
    before: u64,
    /// Whose how much of the request is, without that one.
    shares: Shares,
}

impl<'a, E: FnMut(&[u8], u64, &Shares)> Packer<'a, E> {
    fn new(limit: usize, emit: E, to: &'a mut Buffers) -> Self {
        Self {
            limit,
            emit,
            to,
            metric: None,
            whose: Whose::OWN,
            count: 0,
            before: 0,
            shares: Shares::default(),
        }
    }

    fn open_resource(&mut self, group: &ResourceMetrics, extra: &[Attribute]) {
        if self.close_resource() > OWN_BYTES {
            self.flush();
        }
        self.before = self.count;
        self.whose = Whose::of(&group.resource);
        self.metric = None;
        self.to.resource.bytes.clear();
        write_resource(&mut self.to.resource, &group.resource, extra);
    }

    fn open_metric(&mut self, def: &'static MetricDef, sent: Sent) {
        self.close_metric();
        self.metric = Some((def, sent));
    }

    fn add(&mut self, point: &MetricPoint, time: UnixNanos) {
        if let Some((def, _)) = self.metric {
            self.to.point.bytes.clear();
            let fits = point::write(&mut self.to.point, def.instrument, point, time);
            // A maker's mistake, which its tests find, isn't sent under a wrong type.
            debug_assert!(fits, "a metric's value doesn't fit its instrument");
            if fits {
                self.push(def);
            }
        }
    }

    fn add_ended(&mut self, point: &MetricPoint, start: UnixNanos, time: UnixNanos) {
        if let Some((def, _)) = self.metric {
            self.to.point.bytes.clear();
            point::write_ended(&mut self.to.point, def.instrument, point, start, time);
            self.push(def);
        }
    }

    fn push(&mut self, def: &MetricDef) {
        let size = framed(self.to.point.bytes.len()) + framed(size_of_head(def));
        if self.count > 0 && self.to.size() + size > self.limit {
            self.flush();
        }
        if self.before > 0 && self.to.metrics.bytes.len() + self.to.points.bytes.len() > OWN_BYTES {
            self.flush_before();
        }
        // The list of points is field 1, whatever the instrument.
        self.to.points.element(1, &self.to.point.bytes);
        self.count += 1;
    }

    /// Writes the metric, if it has points.
    fn close_metric(&mut self) {
        let to = &mut *self.to;
        if let Some((def, sent)) = self.metric
            && !to.points.bytes.is_empty()
        {
            let tail = write_head(&mut to.head, def, sent, to.points.bytes.len());
            let parts = [&to.head.bytes, &to.points.bytes, &tail.bytes];
            // ScopeMetrics.metrics
            to.metrics.length(2, parts.iter().map(|p| p.len()).sum());
            for part in parts {
                to.metrics.bytes.extend_from_slice(part);
            }
        }
        to.points.bytes.clear();
    }

    /// Writes the resource, if it has metrics; returns how many bytes.
    fn close_resource(&mut self) -> usize {
        self.close_metric();
        let to = &mut *self.to;
        let before = to.request.bytes.len();
        if !to.metrics.bytes.is_empty() {
            let (resource, metrics) = (&to.resource.bytes, &to.metrics.bytes);
            group::write(&mut to.request, resource, &to.scope, metrics);
            self.shares.add(self.whose, to.request.bytes.len() - before);
        }
        to.metrics.bytes.clear();
        to.request.bytes.len() - before
    }

    /// Hands on what there is of the resources before the one that is open.
    fn flush_before(&mut self) {
        if self.before > 0 {
            (self.emit)(&self.to.request.bytes, self.before, &self.shares);
        }
        self.to.request.bytes.clear();
        self.shares.clear();
        self.count -= self.before;
        self.before = 0;
    }

    /// Hands on what there is; the resource and the metric stay open.
    fn flush(&mut self) {
        self.close_resource();
        self.before = self.count;
        self.flush_before();
    }
}

/// Bytes of a metric beside its points, at most.
fn size_of_head(def: &MetricDef) -> usize {
    def.name.len() + def.description.len() + def.unit.len() + 32
}

/// Writes what stands before the points of a metric, which take `points` bytes; returns
/// what follows them.
fn write_head(head: &mut Wire, def: &MetricDef, sent: Sent, points: usize) -> Wire {
    let temporality = match sent {
        Sent::Delta => 1,
        Sent::Cumulative => 2,
    };
    let mut tail = Wire::default();
    let field = match def.instrument {
        Instrument::Gauge => 5,
        Instrument::Counter | Instrument::UpDownCounter => {
            tail.number(2, temporality);
            tail.number(3, u64::from(def.instrument == Instrument::Counter));
            7
        }
        Instrument::Histogram => {
            tail.number(2, temporality);
            10
        }
    };
    head.bytes.clear();
    head.blob(1, def.name.as_bytes());
    head.blob(2, def.description.as_bytes());
    head.blob(3, def.unit.as_bytes());
    head.length(field, points + tail.bytes.len());
    tail
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
