//! Data points, field by field, in the layout of
//! opentelemetry/proto/metrics/v1/metrics.proto.

use crate::otlp::wire::Wire;
use observer_signals::{Histogram, Instrument, MetricPoint, PointValue, UnixNanos};

/// `DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
const NO_RECORDED_VALUE: u64 = 1;

/// Writes a `NumberDataPoint` or an `ExponentialHistogramDataPoint`; whether the value
/// is of the instrument's type.
pub(super) fn write(
    out: &mut Wire,
    instrument: Instrument,
    point: &MetricPoint,
    time: UnixNanos,
) -> bool {
    let is_histogram = instrument == Instrument::Histogram;
    match &point.value {
        PointValue::Histogram(histogram) if is_histogram => {
            write_histogram(out, histogram, point, time);
        }
        PointValue::Int(value) if !is_histogram => {
            times(out, instrument, point.start, time);
            // Of a `oneof`: also if it is zero. `sfixed64` is its two's complement.
            out.some_fixed64(6, *value as u64);
            exemplars(out, 5, point);
            out.attributes(7, &point.attributes);
        }
        PointValue::Double(value) if !is_histogram => {
            times(out, instrument, point.start, time);
            out.some_double(4, *value);
            exemplars(out, 5, point);
            out.attributes(7, &point.attributes);
        }
        _ => return false,
    }
    true
}

/// Writes a point that says that its series has no value any more.
pub(super) fn write_ended(
    out: &mut Wire,
    instrument: Instrument,
    point: &MetricPoint,
    start: UnixNanos,
    time: UnixNanos,
) {
    if let PointValue::Histogram(histogram) = &point.value {
        out.attributes(1, &point.attributes);
        out.fixed64(2, start);
        out.fixed64(3, time);
        out.signed(6, histogram.scale);
        out.number(10, NO_RECORDED_VALUE);
    } else {
        times(out, instrument, start, time);
        out.attributes(7, &point.attributes);
        out.number(8, NO_RECORDED_VALUE);
    }
}

/// Start and time of a `NumberDataPoint`.
fn times(out: &mut Wire, instrument: Instrument, start: UnixNanos, time: UnixNanos) {
    if instrument != Instrument::Gauge {
        out.fixed64(2, start);
    }
    out.fixed64(3, time);
}

fn write_histogram(out: &mut Wire, histogram: &Histogram, point: &MetricPoint, time: UnixNanos) {
    let mut used = histogram.buckets.as_slice();
    while let [rest @ .., 0] = used {
        used = rest;
    }
    let mut leading = 0;
    while let [0, rest @ ..] = used {
        used = rest;
        leading += 1;
    }
    out.attributes(1, &point.attributes);
    out.fixed64(2, point.start);
    out.fixed64(3, time);
    out.fixed64(4, histogram.count());
    out.some_double(5, histogram.sum);
    out.signed(6, histogram.scale);
    out.fixed64(7, histogram.zero_count);
    // Buckets: offset, counts.
    out.message(8, |buckets| {
        if !used.is_empty() {
            buckets.signed(1, histogram.offset + leading);
            buckets.numbers(2, used);
        }
    });
    exemplars(out, 11, point);
    out.double(14, histogram.zero_threshold);
}

fn exemplars(out: &mut Wire, field: u32, point: &MetricPoint) {
    for exemplar in &point.exemplars {
        out.message(field, |out| {
            out.fixed64(2, exemplar.time);
            out.some_double(3, exemplar.value);
            out.blob(4, &exemplar.span_id);
            out.blob(5, &exemplar.trace_id);
        });
    }
}
