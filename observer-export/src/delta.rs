//! Deltas out of cumulative points.
//!
//! A series is known by its resource, metric and attributes, kept as a 128-bit
//! hash so that a hundred thousand series cost little. A series that restarts
//! contributes its whole value, counted from its own start (or, if only a count
//! went down, from the last batch); all others contribute what was added since
//! the last batch.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::{
    Attribute, Histogram, Instrument, Metric, MetricDef, MetricPoint, PointValue, Resource,
    UnixNanos,
};

/// A series that was absent this long is forgotten. Probes report every living
/// series at every tick, so an absent one belongs to a workload that is gone;
/// if its like returns, it does so with a new start.
const FORGET_AFTER_NANOS: u64 = 600_000_000_000;

#[derive(Debug)]
struct Previous {
    start: UnixNanos,
    time: UnixNanos,
    value: PointValue,
}

/// The previous value of every series.
#[derive(Debug, Default)]
pub struct Delta {
    series: HashMap<u128, Previous>,
}

impl Delta {
    /// The identity of a resource, to be given to [`Delta::series_key`].
    pub fn resource_key(resource: &Resource) -> u128 {
        hash_attributes(&resource.attributes, 0)
    }

    /// The identity of one series of a metric of a resource.
    pub fn series_key(resource: u128, def: &MetricDef, attributes: &[Attribute]) -> u128 {
        let mut low = DefaultHasher::new();
        def.name.hash(&mut low);
        hash_attributes(attributes, u64::from(def.name.len() as u32))
            ^ resource.rotate_left(1)
            ^ u128::from(low.finish())
    }

    /// What `point` adds to the series' previous point; `None` if nothing.
    pub fn step(&mut self, key: u128, point: &MetricPoint, time: UnixNanos) -> Option<MetricPoint> {
        let previous = self.series.get(&key).filter(|p| p.start == point.start);
        let (value, start) = match previous {
            // A count went down though the start didn't move: it began anew at
            // an unknown moment after the last batch.
            Some(p) => (
                subtract(&point.value, &p.value).unwrap_or_else(|| point.value.clone()),
                p.time,
            ),
            None => (point.value.clone(), point.start),
        };
        self.series.insert(
            key,
            Previous {
                start: point.start,
                time,
                value: point.value.clone(),
            },
        );
        (!is_zero(&value)).then(|| MetricPoint {
            attributes: point.attributes.clone(),
            start,
            value,
            // Each point comes with those of its own interval.
            exemplars: point.exemplars.clone(),
        })
    }

    /// What a batch adds to the one before; gauges and other levels as they are.
    pub fn added(&mut self, batch: &MetricBatch) -> Vec<ResourceMetrics> {
        let mut added = Vec::with_capacity(batch.resources.len());
        for group in &batch.resources {
            let resource = Self::resource_key(&group.resource);
            let mut metrics = Vec::new();
            for metric in &group.metrics {
                let levels = matches!(
                    metric.def.instrument,
                    Instrument::Gauge | Instrument::UpDownCounter
                );
                let points = metric.points.iter().filter_map(|point| {
                    if levels {
                        return Some(point.clone());
                    }
                    let key = Self::series_key(resource, metric.def, &point.attributes);
                    self.step(key, point, batch.time)
                });
                let points: Vec<_> = points.collect();
                if !points.is_empty() {
                    metrics.push(Metric {
                        def: metric.def,
                        points,
                    });
                }
            }
            if !metrics.is_empty() {
                added.push(ResourceMetrics {
                    resource: group.resource.clone(),
                    metrics,
                });
            }
        }
        self.end_batch(batch.time);
        added
    }

    /// Forgets the series of a resource that has ended.
    pub fn forget(&mut self, ended: &ResourceMetrics) {
        let resource = Self::resource_key(&ended.resource);
        for metric in &ended.metrics {
            for point in &metric.points {
                let key = Self::series_key(resource, metric.def, &point.attributes);
                self.series.remove(&key);
            }
        }
    }

    /// The clock was set back to `time`, right after a batch.
    pub fn set_back(&mut self, time: UnixNanos) {
        for previous in self.series.values_mut() {
            previous.time = time;
        }
    }

    /// Forgets series that are long gone.
    pub fn end_batch(&mut self, time: UnixNanos) {
        self.series
            .retain(|_, p| time.saturating_sub(p.time) < FORGET_AFTER_NANOS);
    }
}

/// Two independent 64-bit hashes of the attributes, whatever their order.
fn hash_attributes(attributes: &[Attribute], seed: u64) -> u128 {
    attributes.iter().fold(u128::from(seed), |sum, attribute| {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            attribute.key.hash(&mut hasher);
            attribute.value.hash(&mut hasher);
            hasher.finish()
        };
        sum.wrapping_add(u128::from(half(1)) << 64 | u128::from(half(2)))
    })
}

/// `now - before`; `None` when `now` can't be a continuation of `before`.
pub(crate) fn subtract(now: &PointValue, before: &PointValue) -> Option<PointValue> {
    match (now, before) {
        (PointValue::Int(n), PointValue::Int(b)) if n >= b => Some(PointValue::Int(n - b)),
        (PointValue::Double(n), PointValue::Double(b)) if n >= b => Some(PointValue::Double(n - b)),
        (PointValue::Histogram(n), PointValue::Histogram(b)) => {
            subtract_histogram(n, b).map(PointValue::Histogram)
        }
        _ => None,
    }
}

fn subtract_histogram(now: &Histogram, before: &Histogram) -> Option<Histogram> {
    if now.scale != before.scale || now.zero_threshold != before.zero_threshold {
        return None;
    }
    let mut difference = now.clone();
    difference.zero_count = now.zero_count.checked_sub(before.zero_count)?;
    for (i, &count) in before.buckets.iter().enumerate().filter(|(_, n)| **n > 0) {
        // The two may be trimmed differently: go by absolute index.
        let index = i64::from(before.offset) + i as i64 - i64::from(now.offset);
        let bucket = difference.buckets.get_mut(usize::try_from(index).ok()?)?;
        *bucket = bucket.checked_sub(count)?;
    }
    difference.sum = (now.sum - before.sum).max(0.0);
    Some(difference)
}

fn is_zero(value: &PointValue) -> bool {
    match value {
        PointValue::Int(i) => *i == 0,
        PointValue::Double(d) => *d == 0.0,
        PointValue::Histogram(h) => h.count() == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(offset: i32, buckets: &[u64], sum: f64) -> MetricPoint {
        point(
            1,
            PointValue::Histogram(Histogram {
                scale: 3,
                offset,
                buckets: buckets.to_vec(),
                sum,
                ..Default::default()
            }),
        )
    }

    fn point(start: u64, value: PointValue) -> MetricPoint {
        MetricPoint {
            attributes: Vec::new().into(),
            start,
            value,
            exemplars: Vec::new(),
        }
    }

    /// Checks that deltas add up to the cumulative value, that their intervals
    /// touch, and that silence is no point.
    #[test]
    fn deltas_add_up() {
        let mut delta = Delta::default();
        let steps = [(10, 5), (20, 5), (30, 9), (40, 100)];
        let mut sum = 0;
        let mut end = 1;
        for (time, value) in steps {
            match delta.step(7, &point(1, PointValue::Int(value)), time) {
                Some(d) => {
                    assert!(d.start >= end, "intervals must not overlap");
                    end = time;
                    let PointValue::Int(n) = d.value else {
                        panic!("not an integer")
                    };
                    sum += n;
                }
                None => assert_eq!(time, 20),
            }
            assert_eq!(sum, value);
        }
    }

    /// Checks that a restarted series isn't subtracted from its past, whether
    /// it says so by its start or only by its value.
    #[test]
    fn restart_counts_whole() {
        let mut delta = Delta::default();
        delta.step(7, &point(1, PointValue::Int(50)), 10);
        let d = delta
            .step(7, &point(15, PointValue::Int(60)), 20)
            .expect("a point");
        assert_eq!((d.start, d.value), (15, PointValue::Int(60)));
        let d = delta
            .step(7, &point(15, PointValue::Int(3)), 30)
            .expect("a point");
        assert_eq!((d.start, d.value), (20, PointValue::Int(3)));
    }

    /// Checks histograms whose trimmed ranges differ between two points.
    #[test]
    fn histograms_align_by_index() {
        let mut delta = Delta::default();
        delta.step(7, &histogram(4, &[0, 2, 1], 3.0), 10);
        let d = delta
            .step(7, &histogram(2, &[1, 0, 0, 2, 5], 10.0), 20)
            .expect("a point");
        let PointValue::Histogram(h) = d.value else {
            panic!("not a histogram")
        };
        assert_eq!((h.offset, h.buckets, h.sum), (2, vec![1, 0, 0, 0, 4], 7.0));
        assert_eq!(d.start, 10);
    }

    /// Checks that the order of attributes doesn't matter and that everything
    /// else does.
    #[test]
    fn identity() {
        static A: MetricDef = MetricDef {
            name: "a",
            unit: "1",
            instrument: Instrument::Counter,
            description: "",
            attributes: &[],
        };
        static B: MetricDef = MetricDef { name: "b", ..A };
        let xy = [Attribute::new("x", 1_i64), Attribute::new("y", 2_i64)];
        let yx = [xy[1].clone(), xy[0].clone()];
        let swapped = [Attribute::new("x", 2_i64), Attribute::new("y", 1_i64)];
        assert_eq!(Delta::series_key(1, &A, &xy), Delta::series_key(1, &A, &yx));
        assert_ne!(
            Delta::series_key(1, &A, &xy),
            Delta::series_key(1, &A, &swapped)
        );
        assert_ne!(Delta::series_key(1, &A, &xy), Delta::series_key(2, &A, &xy));
        assert_ne!(Delta::series_key(1, &A, &xy), Delta::series_key(1, &B, &xy));
    }

    /// Checks that a series gone for long is forgotten, and memory with it.
    #[test]
    fn forgets_the_gone() {
        let mut delta = Delta::default();
        delta.step(7, &point(1, PointValue::Int(1)), 10);
        delta.end_batch(10 + FORGET_AFTER_NANOS - 1);
        assert_eq!(delta.series.len(), 1);
        delta.end_batch(10 + FORGET_AFTER_NANOS);
        assert_eq!(delta.series.len(), 0);
    }
}
