//! Metrics: a definition (static, documented) and points.

use super::{Attribute, UnixNanos};
use crate::signals::attribute::SharedResource;

/// The OpenTelemetry instrument a metric corresponds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// Monotonic sum.
    Counter,
    /// Non-monotonic sum.
    UpDownCounter,
    /// A value sampled at the end of the interval.
    Gauge,
    /// Base-2 exponential histogram.
    Histogram,
}

/// What a metric is: the only place where its name, unit and meaning stand.
/// `docs/metrics.md` is generated from these.
#[derive(Debug, PartialEq, Eq)]
pub struct MetricDef {
    /// Metric name, e.g. `observer.syscall.duration`.
    pub name: &'static str,
    /// UCUM unit, e.g. `s`, `By`, `{operation}`.
    pub unit: &'static str,
    /// Which instrument it is.
    pub instrument: Instrument,
    /// One sentence: what is counted, when, on whom.
    pub description: &'static str,
    /// `(attribute key, meaning)` of every attribute a point can carry.
    pub attributes: &'static [(&'static str, &'static str)],
}

/// A base-2 exponential histogram in seconds (or the metric's own unit),
/// bucket for bucket as the kernel counted it.
///
/// Bucket `i` of `buckets` holds values in `(base^(offset+i), base^(offset+i+1)]`
/// with `base = 2^(2^-scale)` (OpenTelemetry data model, "ExponentialHistogram").
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Resolution: `2^scale` buckets per power of two.
    pub scale: i32,
    /// Values in `[0, zero_threshold]`.
    pub zero_count: u64,
    /// Upper bound of the zero bucket.
    pub zero_threshold: f64,
    /// Index of `buckets[0]`.
    pub offset: i32,
    /// Counts, dense; leading and trailing zeros may be trimmed.
    pub buckets: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// Number of recorded values.
    pub fn count(&self) -> u64 {
        self.zero_count + self.buckets.iter().sum::<u64>()
    }

    /// Upper bound of the bucket with absolute index `index`.
    pub fn upper_bound(&self, index: i32) -> f64 {
        let base_log2 = (-f64::from(self.scale)).exp2();
        (f64::from(index + 1) * base_log2).exp2()
    }

    /// The value at quantile `q` (0..=1): the geometric middle of the bucket
    /// that holds it. `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // The rank is 1-based: the smallest value has rank 1.
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = self.zero_count;
        if rank <= seen {
            return Some(self.zero_threshold);
        }
        let half_bucket = (-f64::from(self.scale)).exp2() / 2.0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if rank <= seen {
                let upper = self.upper_bound(self.offset + i as i32);
                return Some(upper / half_bucket.exp2());
            }
        }
        None
    }
}

/// A point's value.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A whole number (counts, bytes).
    Int(i64),
    /// A real number (seconds, ratios).
    Double(f64),
    /// A distribution.
    Histogram(Histogram),
}

/// One value of one series at the end of an interval. Always cumulative since
/// `start`; exporters turn it into a delta when asked to.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// What tells this series from its siblings. Sorted by key by the maker.
    pub attributes: Vec<Attribute>,
    /// When counting began (unused by gauges).
    pub start: UnixNanos,
    /// The value.
    pub value: PointValue,
}

/// All points of one metric of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// What it is.
    pub def: &'static MetricDef,
    /// Its series.
    pub points: Vec<MetricPoint>,
}

/// All metrics of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceMetrics {
    /// Whom they are about.
    pub resource: SharedResource,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

/// Everything read at one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricBatch {
    /// The end of the interval: the time of every point.
    pub time: UnixNanos,
    /// Grouped by resource.
    pub resources: Vec<ResourceMetrics>,
}
