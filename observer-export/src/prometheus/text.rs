//! Text: OpenMetrics 1.0 and the older format 0.0.4.
//!
//! Sources: "OpenMetrics, a cloud-native, highly scalable metrics protocol"
//! (draft-richih-opsawg-openmetrics-00, "Text format"), and Prometheus, "Exposition
//! formats", "Text-based format".

use std::fmt::Write;

use observer_signals::metric::Exemplar;
use observer_signals::{Histogram, MetricPoint, PointValue};

use super::families::{Families, Family, Kind};
use super::histogram::{BOUNDS, cumulative};
use super::labels::Labels;
use super::number;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenMetrics 1.0.
    Open,
    /// 0.0.4: counters' families have the suffix `_total`, no units, no exemplars.
    Classic,
}

/// Writes all of it.
pub(super) fn write(out: &mut String, families: &Families<'_>, dialect: Dialect) {
    info(out, &families.infos, dialect);
    for (name, family) in &families.all {
        write_family(out, name, family, dialect);
    }
    if dialect == Dialect::Open {
        out.push_str("# EOF\n");
    }
}

/// `target_info`: an info in OpenMetrics, a gauge before it.
fn info(out: &mut String, infos: &[Labels<'_>], dialect: Dialect) {
    let (name, kind) = match dialect {
        Dialect::Open => ("target", "info"),
        Dialect::Classic => ("target_info", "gauge"),
    };
    if infos.is_empty() {
        return;
    }
    let _ = writeln!(out, "# HELP {name} {INFO_HELP}\n# TYPE {name} {kind}");
    for labels in infos {
        sample(out, "target_info", "", &rendered(labels));
        out.push_str("1\n");
    }
}

/// What `target_info` is.
pub(super) const INFO_HELP: &str = "What is known of the service beside its name.";

fn write_family(out: &mut String, name: &str, family: &Family<'_>, dialect: Dialect) {
    let kind = family.kind();
    let suffix = match kind {
        Kind::Counter => "_total",
        Kind::Gauge | Kind::Histogram => "",
    };
    let header = match dialect {
        Dialect::Open => name.to_owned(),
        Dialect::Classic => format!("{name}{suffix}"),
    };
    let word = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let _ = write!(out, "# HELP {header} ");
    escape(out, family.def.description, dialect == Dialect::Open);
    let _ = writeln!(out, "\n# TYPE {header} {word}");
    if let (Some(unit), Dialect::Open) = (&family.unit, dialect) {
        let _ = writeln!(out, "# UNIT {header} {unit}");
    }
    for (labels, point) in family.points() {
        let labels = rendered(&labels);
        if let PointValue::Histogram(histogram) = &point.value {
            write_histogram(out, name, &labels, histogram, &point.exemplars, dialect);
        } else {
            sample(out, name, suffix, &labels);
            value(out, &point.value);
            if kind == Kind::Counter && dialect == Dialect::Open {
                exemplar(out, largest(point));
            }
            out.push('\n');
        }
    }
}

/// The largest exemplar of a counter: it can have one.
pub(super) fn largest(point: &MetricPoint) -> Option<&Exemplar> {
    let all = point.exemplars.iter();
    all.max_by(|a, b| a.value.total_cmp(&b.value))
}

/// The largest exemplar of each bucket, up to and with `+Inf` ("Exemplars").
pub(super) fn by_bucket(exemplars: &[Exemplar]) -> [Option<&Exemplar>; BOUNDS.len() + 1] {
    let mut found = [None; BOUNDS.len() + 1];
    for one in exemplars {
        let fits = |exponent: &i32| one.value <= f64::from(*exponent).exp2();
        let place = BOUNDS.iter().position(fits).unwrap_or(BOUNDS.len());
        if let Some(best) = found.get_mut(place)
            && best.is_none_or(|best: &Exemplar| best.value < one.value)
        {
            *best = Some(one);
        }
    }
    found
}

fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &str,
    histogram: &Histogram,
    exemplars: &[Exemplar],
    dialect: Dialect,
) {
    let count = histogram.count();
    let bounds = BOUNDS.map(|exponent| f64::from(exponent).exp2());
    let bounds = bounds.into_iter().chain([f64::INFINITY]);
    let counts = cumulative(histogram).into_iter().chain([count]);
    for ((bound, count), one) in bounds.zip(counts).zip(by_bucket(exemplars)) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bound = number::bound(bound);
        let _ = write!(
            out,
            "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
        );
        if dialect == Dialect::Open {
            exemplar(out, one);
        }
        out.push('\n');
    }
    sample(out, name, "_sum", labels);
    number::write(out, histogram.sum);
    out.push('\n');
    sample(out, name, "_count", labels);
    let _ = writeln!(out, "{count}");
}

/// Writes a series, up to its value.
fn sample(out: &mut String, name: &str, suffix: &str, labels: &str) {
    let _ = if labels.is_empty() {
        write!(out, "{name}{suffix} ")
    } else {
        write!(out, "{name}{suffix}{{{labels}}} ")
    };
}

fn value(out: &mut String, value: &PointValue) {
    match value {
        PointValue::Int(n) => {
            let _ = write!(out, "{n}");
        }
        PointValue::Double(n) => number::write(out, *n),
        PointValue::Histogram(_) => {}
    }
}

fn exemplar(out: &mut String, exemplar: Option<&Exemplar>) {
    let Some(exemplar) = exemplar else {
        return;
    };
    let (trace, span) = (hex(&exemplar.trace_id), hex(&exemplar.span_id));
    let _ = write!(out, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} ");
    number::write(out, exemplar.value);
    out.push(' ');
    number::seconds(out, exemplar.time);
}

/// An id in hexadecimal digits.
pub(super) fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn rendered(labels: &Labels<'_>) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{name}=\"");
        escape(&mut out, value, true);
        out.push('"');
    }
    out
}

/// Escapes what would end a line or a value. All else is data.
fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
