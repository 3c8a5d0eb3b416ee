//! Exponential histograms as Prometheus has them: classic ones at chosen bounds, native
//! ones of the same scale.
//!
//! Layouts: OpenTelemetry data model, "ExponentialHistogram"; Prometheus' native
//! histograms as in io/prometheus/client/metrics.proto and OpenTelemetry's "Prometheus and
//! OpenMetrics Compatibility", "Exponential Histograms".

use observer_signals::Histogram;

/// Bounds of classic histograms, as powers of two of the metric's unit: they are bounds of
/// exponential buckets of any scale from 0 on, so merging counts nothing wrongly. From a
/// microsecond to a millisecond each fourth, to 16 s each second, and 64 s.
pub(super) const BOUNDS: [i32; 21] = [
    -20, -18, -16, -14, -12, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6,
];

/// The finest and the coarsest scale of native histograms ("Exponential Histograms").
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// How many values are at most each of [`BOUNDS`], in that order.
pub(super) fn cumulative(histogram: &Histogram) -> [u64; BOUNDS.len()] {
    let mut counts = [0; BOUNDS.len()];
    let mut buckets = histogram.buckets.iter().zip(histogram.offset..).peekable();
    let mut sum = 0;
    for (count, exponent) in counts.iter_mut().zip(BOUNDS) {
        while let Some((n, _)) = buckets
            .next_if(|(_, index)| ends_by(histogram.scale, i64::from(*index), i64::from(exponent)))
        {
            sum += n;
        }
        let zeros = histogram.zero_threshold <= f64::from(exponent).exp2();
        *count = sum + if zeros { histogram.zero_count } else { 0 };
    }
    counts
}

/// Whether a bucket's upper bound, `2^((index + 1) · 2^-scale)`, is at most `2^exponent`.
fn ends_by(scale: i32, index: i64, exponent: i64) -> bool {
    let shift = scale.unsigned_abs().min(30);
    if scale >= 0 {
        index < exponent << shift
    } else {
        (index + 1) << shift <= exponent
    }
}

/// Buckets of a native histogram: how far each run of buckets is from the one before (the
/// first from 0), how long it is, and the difference of each count from the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Native {
    pub(super) schema: i32,
    pub(super) spans: Vec<(i32, u32)>,
    pub(super) deltas: Vec<i64>,
}

/// So many empty buckets are cheaper than a new span.
const GAP: i32 = 2;

/// The same buckets, or fewer where the scale is finer than native histograms have it;
/// `None` where it is coarser.
pub(super) fn native(histogram: &Histogram) -> Option<Native> {
    let schema = histogram.scale.min(*SCHEMAS.end());
    if !SCHEMAS.contains(&schema) {
        return None;
    }
    let merged = u32::try_from(histogram.scale - schema).unwrap_or(0).min(31);
    let mut native = Native {
        schema,
        ..Native::default()
    };
    // Native buckets are numbered by their upper bounds, exponential ones by the lower.
    let filled = histogram.buckets.iter().zip(histogram.offset..);
    let filled = filled.filter(|(n, _)| **n > 0);
    let mut filled = filled
        .map(|(n, index)| ((index >> merged) + 1, *n))
        .peekable();
    let (mut next, mut before) = (None, 0_i64);
    while let Some((index, mut count)) = filled.next() {
        while let Some((_, more)) = filled.next_if(|(same, _)| *same == index) {
            count += more;
        }
        let gap = next.map_or(index, |next| index - next);
        match native.spans.last_mut().filter(|_| gap <= GAP) {
            Some((_, length)) if next.is_some() => {
                for _ in 0..gap {
                    native.deltas.push(-before);
                    before = 0;
                    *length += 1;
                }
                *length += 1;
            }
            _ => native.spans.push((gap, 1)),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        native.deltas.push(count - before);
        before = count;
        next = Some(index + 1);
    }
    // One without buckets is told from a classic one by an empty span.
    if native.spans.is_empty() {
        native.spans.push((0, 0));
    }
    Some(native)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(scale: i32, offset: i32, buckets: &[u64]) -> Histogram {
        Histogram {
            scale,
            zero_count: 3,
            zero_threshold: 7e-9,
            offset,
            buckets: buckets.to_vec(),
            sum: 1.0,
        }
    }

    /// What each native bucket holds, read back by the definition of the format.
    fn read_back(native: &Native) -> Vec<(i32, i64)> {
        let (mut index, mut count, mut deltas) = (0, 0, native.deltas.iter());
        let mut found = Vec::new();
        for (offset, length) in &native.spans {
            index += offset;
            for _ in 0..*length {
                count += deltas.next().expect("a delta for each bucket");
                found.push((index, count));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        found.retain(|(_, count)| *count > 0);
        found
    }

    /// Checks that merged counts are those of the values themselves, at each bound, for
    /// values that lie on bounds, just above, and anywhere.
    #[test]
    fn classic_counts_are_exact() {
        for scale in [0, 2, 3, 8, 12] {
            let factor = f64::from(scale).exp2();
            let mut values = Vec::new();
            for step in 0..600 {
                values.push((f64::from(step) / 20.0 - 22.0).exp2());
            }
            for exponent in BOUNDS {
                values.push(f64::from(exponent).exp2());
                values.push(f64::from(exponent).exp2() * 1.000_001);
            }
            let index = |value: &f64| (value.log2() * factor).ceil() as i32 - 1;
            let offset = values.iter().map(index).min().expect("values");
            let last = values.iter().map(index).max().expect("values");
            let mut buckets = vec![0; usize::try_from(last - offset).expect("order") + 1];
            for value in &values {
                buckets[usize::try_from(index(value) - offset).expect("order")] += 1;
            }
            let counts = cumulative(&filled(scale, offset, &buckets));
            for (exponent, count) in BOUNDS.into_iter().zip(counts) {
                let bound = f64::from(exponent).exp2();
                let expected = values.iter().filter(|v| **v <= bound).count() as u64 + 3;
                assert_eq!(count, expected, "scale {scale}, 2^{exponent}");
            }
        }
    }

    /// Checks that native buckets hold what the exponential ones do, one number further.
    #[test]
    fn native_buckets_are_the_same() {
        let histogram = filled(2, -7, &[0, 5, 0, 1, 0, 0, 0, 0, 9, 0]);
        let native = native(&histogram).expect("a scale that is allowed");
        assert_eq!(native.schema, 2);
        assert_eq!(native.spans, [(-5, 3), (4, 1)]);
        assert_eq!(native.deltas, [5, -5, 1, 8]);
        assert_eq!(read_back(&native), [(-5, 5), (-3, 1), (2, 9)]);
    }

    /// Checks that a finer scale is merged down by pairs, also below 1, where indices are
    /// negative, and that one that can't be told is left out.
    #[test]
    fn finer_scales_are_merged() {
        let native_of = |scale, offset, buckets: &[u64]| native(&filled(scale, offset, buckets));
        // At scale 9 the buckets -3, -2, -1, 0, 1 are -2, -1, -1, 0, 0 at scale 8.
        let merged = native_of(9, -3, &[1, 2, 4, 8, 16]).expect("merged");
        assert_eq!(merged.schema, 8);
        assert_eq!(read_back(&merged), [(-1, 1), (0, 6), (1, 24)]);
        assert_eq!(native_of(-5, 0, &[1]), None);
        let empty = native_of(2, 0, &[]).expect("empty");
        assert_eq!((empty.spans, empty.deltas), (vec![(0, 0)], vec![]));
    }
}
