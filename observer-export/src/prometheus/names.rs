//! Names of metrics and labels, and units, as Prometheus has them.
//!
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "Metric Metadata"
//! and "Metric Attributes".

use observer_signals::{Instrument, MetricDef};

/// A metric's name without what its type adds (`_total`), and its unit, if it has one that
/// the name ends with: OpenMetrics wants that ("MetricFamily", "Unit").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FamilyName {
    pub(super) name: String,
    pub(super) unit: Option<String>,
}

/// What a metric's family is called.
pub(super) fn family(def: &MetricDef) -> FamilyName {
    let mut name = valid(def.name, true);
    let Some(unit) = unit(def) else {
        return FamilyName { name, unit: None };
    };
    if !name.split('_').any(|word| word == unit) && !name.contains(&format!("_{unit}")) {
        name.push('_');
        name.push_str(&unit);
    }
    let ends_so = name.ends_with(&format!("_{unit}"));
    FamilyName {
        unit: ends_so.then_some(unit),
        name,
    }
}

/// An attribute's key as a label.
pub(super) fn label(key: &str) -> String {
    let name = valid(key, false);
    match name.as_str() {
        // What the exposition itself says by these.
        "job" | "instance" | "le" | "quantile" | "otel_scope_name" | "otel_scope_version" => {
            format!("exported_{name}")
        }
        _ => name,
    }
}

/// What is allowed of a name, the rest as `_`, never two in a row; colons only where
/// metrics have them.
fn valid(text: &str, colons: bool) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() || (colons && c == ':') {
            c
        } else {
            '_'
        };
        if c != '_' || !name.ends_with('_') {
            name.push(c);
        }
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        name.insert_str(0, if colons { "_" } else { "key_" });
    }
    name
}

/// A unit of UCUM's in full; none for counts (`{call}`).
fn unit(def: &MetricDef) -> Option<String> {
    let plain: String = match def.unit.split_once('{') {
        Some((before, rest)) => {
            let after = rest.split_once('}').map_or("", |(_, after)| after);
            format!("{before}{after}")
        }
        None => def.unit.to_owned(),
    };
    // A ratio is what is measured; what is counted has no unit.
    if plain == "1" {
        return (def.instrument == Instrument::Gauge).then(|| "ratio".to_owned());
    }
    let (of, per) = match plain.split_once('/') {
        Some((of, per)) => (of, Some(per)),
        None => (plain.as_str(), None),
    };
    let of = in_full(of, &UNITS);
    let words = match per.filter(|per| !per.is_empty()) {
        Some(per) if of.is_empty() => format!("per_{}", in_full(per, &PER)),
        Some(per) => format!("{of}_per_{}", in_full(per, &PER)),
        None => of,
    };
    let words = valid(&words, false);
    let words = words.trim_matches('_');
    (!plain.is_empty() && !words.is_empty()).then(|| words.to_owned())
}

fn in_full(short: &str, table: &[(&str, &str)]) -> String {
    let found = table.iter().find(|(known, _)| *known == short);
    found.map_or(short, |(_, word)| word).to_owned()
}

/// UCUM's abbreviations, as OpenTelemetry's conventions use them.
const UNITS: [(&str, &str); 22] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("kBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("bit", "bits"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("Cel", "celsius"),
    ("%", "percent"),
];

/// The same after `/`.
const PER: [(&str, &str); 6] = [
    ("s", "second"),
    ("min", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("By", "byte"),
    ("m", "meter"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn def(name: &'static str, unit: &'static str, instrument: Instrument) -> MetricDef {
        MetricDef {
            name,
            unit,
            instrument,
            description: "",
            attributes: &[],
        }
    }

    /// Checks names and units against the examples and rules of the specification.
    #[test]
    fn families_are_named_by_the_specification() {
        use Instrument::{Counter, Gauge, Histogram};
        for (name, unit, instrument, family_name, family_unit) in [
            (
                "http.server.duration",
                "s",
                Histogram,
                "http_server_duration_seconds",
                "seconds",
            ),
            ("a.calls", "{call}", Counter, "a_calls", ""),
            ("a.io", "By", Counter, "a_io_bytes", "bytes"),
            ("a.utilization", "1", Gauge, "a_utilization_ratio", "ratio"),
            ("a.count", "1", Counter, "a_count", ""),
            (
                "a.speed",
                "By/s",
                Gauge,
                "a_speed_bytes_per_second",
                "bytes_per_second",
            ),
            ("a.rate", "{x}/s", Gauge, "a_rate_per_second", "per_second"),
            ("a.seconds.left", "s", Gauge, "a_seconds_left", ""),
            ("a.left.seconds", "s", Gauge, "a_left_seconds", "seconds"),
            ("a..b--c", "", Gauge, "a_b_c", ""),
            ("1st", "", Gauge, "_1st", ""),
        ] {
            let found = family(&def(name, unit, instrument));
            let unit = (!family_unit.is_empty()).then(|| family_unit.to_owned());
            let name = family_name.to_owned();
            assert_eq!(found, FamilyName { name, unit });
        }
    }

    /// Checks that any key becomes a label that Prometheus takes, and that none says what
    /// the exposition itself says by it.
    #[test]
    fn labels_are_valid() {
        for (key, name) in [
            ("http.route", "http_route"),
            ("__name__", "_name_"),
            ("7", "key_7"),
            ("", "key_"),
            ("a\n\"b", "a_b"),
            ("é:x", "_x"),
            ("job", "exported_job"),
            ("le", "exported_le"),
        ] {
            assert_eq!(label(key), name);
        }
    }
}
