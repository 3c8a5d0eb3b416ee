use super::*;
use crate::prometheus::families::targets;
use crate::prometheus::samples::{HOSTILE, snapshot};
use crate::prometheus::targets::Targets;

/// Checks that what was written is read back with its names, types, labels and values, and
/// that a histogram has the buckets of both kinds. (That others can read it, a test with the
/// real Prometheus says.)
#[test]
fn families_are_read_back() {
    let snapshot = snapshot(HOSTILE);
    let targets = targets(&snapshot, &mut Targets::default());
    let mut out = Vec::new();
    write(&mut out, &Families::of(&snapshot, &targets));
    let mut rest = out.as_slice();
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).expect("a family"));
    }
    let names: Vec<_> = families
        .iter()
        .map(|f| (f.name.as_deref(), f.kind))
        .collect();
    let expected = [
        (Some("target_info"), Some(GAUGE)),
        (Some("x_calls_total"), Some(COUNTER)),
        (Some("x_full_ratio"), Some(GAUGE)),
        (Some("x_io_bytes"), Some(GAUGE)),
        (Some("x_time_seconds"), Some(HISTOGRAM)),
    ];
    assert_eq!(names, expected);
    let calls = &families[1].metric[0];
    assert_eq!(calls.counter.as_ref().and_then(|c| c.value), Some(42.0));
    let job = &calls.label[0];
    assert_eq!(
        (job.name.as_deref(), job.value.as_deref()),
        (Some("job"), Some(HOSTILE))
    );
    let histogram = families[4].metric[0]
        .histogram
        .as_ref()
        .expect("a histogram");
    assert_eq!(histogram.sample_count, Some(10));
    assert_eq!((histogram.schema, histogram.zero_count), (Some(2), Some(1)));
    assert_eq!(histogram.bucket.len(), BOUNDS.len() + 1);
    // 2 and 3 values up to 2^(-7/4) and 2^(-6/4), 4 up to 2^(4/4).
    let spans: Vec<_> = histogram
        .positive_span
        .iter()
        .map(|s| (s.offset, s.length))
        .collect();
    assert_eq!(spans, [(Some(-7), Some(2)), (Some(9), Some(1))]);
    assert_eq!(histogram.positive_delta, [2, 1, 1]);
    assert_eq!(histogram.exemplars.len(), 2);
}
