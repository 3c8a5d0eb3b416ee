//! Numbers as text. Those below a million, so all bounds of buckets, are written as Go's
//! `strconv.FormatFloat(x, 'g', -1, 64)` does, which is what Prometheus itself uses: a label
//! `le` is a text, and must be the same text however its bucket came.

use std::fmt::Write;

/// Writes a value.
pub(super) fn write(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let shortest = format!("{value:e}");
        let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        // Writing to a string doesn't fail.
        let _ = if (-4..21).contains(&exponent) {
            write!(out, "{value}")
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs())
        };
    }
}

/// A bucket's upper bound: a number of OpenMetrics' that is no integer ("Considerations:
/// Canonical Numbers").
pub(super) fn bound(value: f64) -> String {
    let mut text = String::new();
    write(&mut text, value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// A time in seconds since 1970, with milliseconds.
pub(super) fn seconds(out: &mut String, nanos: u64) {
    let (whole, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000_000);
    let _ = write!(out, "{whole}.{part:03}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks numbers against what Go 1.22 prints for them.
    #[test]
    fn as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.25, "0.25"),
            (9.5367431640625e-7, "9.5367431640625e-07"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e300, "1e+300"),
            (-2.5, "-2.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = String::new();
            write(&mut out, value);
            assert_eq!(out, text);
        }
        assert_eq!(bound(1.0), "1.0");
        assert_eq!(bound(0.5), "0.5");
        assert_eq!(bound(f64::INFINITY), "+Inf");
        assert_eq!(bound(9.5367431640625e-7), "9.5367431640625e-07");
    }

    /// Checks that a time keeps its milliseconds.
    #[test]
    fn times() {
        let mut out = String::new();
        seconds(&mut out, 1_700_000_000_012_999_999);
        assert_eq!(out, "1700000000.012");
    }
}
