//! Metrics: a definition (static, documented) and points.

use super::UnixNanos;
use crate::attribute::{SharedAttributes, SharedResource};

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

    /// Adds another histogram of the same scale.
    pub fn merge(&mut self, other: &Self) {
        if self.count() == 0 {
            *self = other.clone();
            return;
        }
        debug_assert!(other.count() == 0 || self.scale == other.scale);
        self.zero_count += other.zero_count;
        self.sum += other.sum;
        if other.buckets.is_empty() {
            return;
        }
        if self.buckets.is_empty() {
            self.offset = other.offset;
        }
        if other.offset < self.offset {
            let missing = (self.offset - other.offset) as usize;
            self.buckets.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = other.offset;
        }
        let begin = (other.offset - self.offset) as usize;
        if self.buckets.len() < begin + other.buckets.len() {
            self.buckets.resize(begin + other.buckets.len(), 0);
        }
        for (to, from) in self.buckets.iter_mut().skip(begin).zip(&other.buckets) {
            *to += from;
        }
    }

    /// Upper bound of the bucket with absolute index `index`.
    pub fn upper_bound(&self, index: i32) -> f64 {
        let base_log2 = (-f64::from(self.scale)).exp2();
        (f64::from(index + 1) * base_log2).exp2()
    }

    /// The value at quantile `q` (0..=1), interpolated within the bucket that holds it: its
    /// values are taken to lie evenly on the bucket's logarithmic scale, one alone in its
    /// middle. `None` when empty.
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
        let bucket = (-f64::from(self.scale)).exp2();
        for (i, n) in self.buckets.iter().enumerate() {
            if rank <= seen + n {
                let within = ((rank - seen) as f64 - 0.5) / *n as f64;
                let upper = self.upper_bound(self.offset + i as i32);
                return Some(upper / (bucket * (1.0 - within)).exp2());
            }
            seen += n;
        }
        None
    }

    /// The mean of all values; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum / count as f64)
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

/// One of the values that a point is made of, with the span that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// When it was measured.
    pub time: UnixNanos,
    /// The value, in the metric's unit.
    pub value: f64,
    /// The span's trace.
    pub trace_id: [u8; 16],
    /// The span, which is exported.
    pub span_id: [u8; 8],
}

/// One value of one series at the end of an interval. Always cumulative since
/// `start`; exporters turn it into a delta when asked to.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// What tells this series from its siblings. Sorted by key by the maker, and shared:
    /// thousands of workloads have points of the same attributes.
    pub attributes: SharedAttributes,
    /// When counting began (unused by gauges).
    pub start: UnixNanos,
    /// Value at the end of the interval.
    pub value: PointValue,
    /// A few of the interval's values.
    pub exemplars: Vec<Exemplar>,
}

/// All points of one metric of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name, unit, instrument and attributes.
    pub def: &'static MetricDef,
    /// Its series.
    pub points: Vec<MetricPoint>,
}

/// All metrics of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceMetrics {
    /// Whom they are about.
    pub resource: SharedResource,
    /// Metrics of this resource.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(offset: i32, buckets: &[u64]) -> Histogram {
        Histogram {
            scale: 2,
            offset,
            buckets: buckets.to_vec(),
            sum: 1.0,
            ..Histogram::default()
        }
    }

    /// Checks that merging adds bucket by bucket, whatever the offsets.
    #[test]
    fn merge_aligns_offsets() {
        for (a, b) in [
            ((0, 3), (2, 2)),
            ((2, 2), (0, 3)),
            ((-4, 1), (4, 1)),
            ((0, 4), (1, 2)),
        ] {
            let mut merged = histogram(a.0, &vec![1; a.1]);
            merged.merge(&histogram(b.0, &vec![10; b.1]));
            for index in -8..8 {
                let at = |offset: i32, len: usize, n: u64| {
                    if (offset..offset + len as i32).contains(&index) {
                        n
                    } else {
                        0
                    }
                };
                let slot = usize::try_from(index - merged.offset).ok();
                let got = slot
                    .and_then(|i| merged.buckets.get(i))
                    .copied()
                    .unwrap_or(0);
                assert_eq!(
                    got,
                    at(a.0, a.1, 1) + at(b.0, b.1, 10),
                    "index {index} of {a:?} + {b:?}"
                );
            }
        }
    }

    /// Checks quantiles against a distribution known by construction.
    #[test]
    fn quantiles() {
        // 99 values in (1, 2^(1/4)], one in (16, 16 * 2^(1/4)].
        let mut h = histogram(0, &[0; 17]);
        h.buckets[0] = 99;
        h.buckets[16] = 1;
        let median = h.quantile(0.5).unwrap_or_default();
        assert!(median > 1.0 && median < 1.19, "{median}");
        let top = h.quantile(1.0).unwrap_or_default();
        assert!(top > 16.0 && top < 19.1, "{top}");
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().mean(), None);
        // Values evenly on the scale: each quantile lies where it was put.
        let base = 0.25_f64;
        let values: Vec<f64> = (0..400)
            .map(|n| (base * (f64::from(n) + 0.5) / 100.0).exp2())
            .collect();
        let mut h = histogram(0, &[100, 100, 100, 100]);
        h.sum = values.iter().sum();
        for q in [0.01, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let (found, rank) = (
                h.quantile(q).unwrap_or_default(),
                (q * 400.0).ceil() as usize,
            );
            let expected = values[rank - 1];
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{q}: {found}, not {expected}"
            );
        }
        let mean = h.mean().unwrap_or_default();
        assert!(
            (mean - values.iter().sum::<f64>() / 400.0).abs() < 1e-9,
            "{mean}"
        );
    }
}
