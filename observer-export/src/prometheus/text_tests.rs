use super::*;
use crate::prometheus::families::targets;
use crate::prometheus::samples::{HOSTILE, snapshot};
use crate::prometheus::targets::Targets;

fn written(service: &str, dialect: Dialect) -> String {
    let snapshot = snapshot(service);
    let targets = targets(&snapshot, &mut Targets::default());
    let mut out = String::new();
    write(&mut out, &Families::of(&snapshot, &targets), dialect);
    out
}

const SCOPE: &str = concat!(
    "otel_scope_name=\"observer\",otel_scope_version=\"",
    env!("CARGO_PKG_VERSION"),
    "\""
);

/// Checks OpenMetrics line by line against what the specification's text says of each kind.
#[test]
fn open_metrics() {
    let text = written("cart", Dialect::Open);
    let labels = format!("job=\"cart\",instance=\"i-1\",{SCOPE}");
    let ids = format!(
        "trace_id=\"{}\",span_id=\"{}\"",
        "ab".repeat(16),
        "cd".repeat(8)
    );
    let hostile = "a\\\"} 7\\n# EOF\\n\\\\\u{202e}é\u{0}";
    let mut expected = vec![
        format!("# HELP target {INFO_HELP}"),
        "# TYPE target info".to_owned(),
        "target_info{job=\"cart\",instance=\"i-1\",host_name=\"h\"} 1".to_owned(),
        "target_info{host_name=\"h\"} 1".to_owned(),
        "# HELP x_calls Calls.\\n\\\"all\\\" \\\\".to_owned(),
        "# TYPE x_calls counter".to_owned(),
        format!("x_calls_total{{{labels},route=\"{hostile}\"}} 42 # {{{ids}}} 1 1700000000.500"),
        format!("x_calls_total{{{SCOPE}}} 1"),
        "# HELP x_full_ratio How full.".to_owned(),
        "# TYPE x_full_ratio gauge".to_owned(),
        "# UNIT x_full_ratio ratio".to_owned(),
        format!("x_full_ratio{{{SCOPE}}} 0.25"),
        "# HELP x_io_bytes Bytes.".to_owned(),
        "# TYPE x_io_bytes gauge".to_owned(),
        "# UNIT x_io_bytes bytes".to_owned(),
        format!("x_io_bytes{{{labels}}} -3"),
        "# HELP x_time_seconds Times.".to_owned(),
        "# TYPE x_time_seconds histogram".to_owned(),
        "# UNIT x_time_seconds seconds".to_owned(),
    ];
    for exponent in BOUNDS {
        let bound = number::bound(f64::from(exponent).exp2());
        let (count, exemplar) = match exponent {
            ..-1 => (1, None),
            -1 => (6, Some("0.29")),
            0 => (6, None),
            1 => (10, Some("1.75")),
            _ => (10, None),
        };
        let exemplar = exemplar.map(|value| format!(" # {{{ids}}} {value} 1700000000.500"));
        let exemplar = exemplar.unwrap_or_default();
        expected.push(format!(
            "x_time_seconds_bucket{{{labels},le=\"{bound}\"}} {count}{exemplar}"
        ));
    }
    expected.extend([
        format!("x_time_seconds_bucket{{{labels},le=\"+Inf\"}} 10"),
        format!("x_time_seconds_sum{{{labels}}} 8.5"),
        format!("x_time_seconds_count{{{labels}}} 10"),
        "# EOF".to_owned(),
    ]);
    let found: Vec<&str> = text.lines().collect();
    assert_eq!(found, expected);
    assert!(text.ends_with("# EOF\n"));
}

/// Checks the older format where it differs.
#[test]
fn classic_text() {
    let text = written("cart", Dialect::Classic);
    let has = |line: &str| text.lines().any(|found| found == line);
    assert!(has("# TYPE target_info gauge"), "{text}");
    assert!(has("# TYPE x_calls_total counter"), "{text}");
    assert!(has("# HELP x_calls_total Calls.\\n\"all\" \\\\"), "{text}");
    assert!(
        !text.contains("# UNIT") && !text.contains("# EOF\n# "),
        "{text}"
    );
    assert!(
        !text.contains("} 1 1700000000") && !text.contains(" # {"),
        "{text}"
    );
}

/// Checks that a name of others' ends neither its label nor its line: as many lines, and
/// as many quotes as with a harmless one.
#[test]
fn hostile_names_are_data() {
    for dialect in [Dialect::Open, Dialect::Classic] {
        let (harmless, hostile) = (written("cart", dialect), written(HOSTILE, dialect));
        assert_eq!(harmless.lines().count(), hostile.lines().count());
        let quotes = |text: &str| {
            text.replace("\\\\", "")
                .replace("\\\"", "")
                .matches('"')
                .count()
        };
        assert_eq!(quotes(&harmless), quotes(&hostile));
        let escaped = "job=\"a\\\"} 7\\n# EOF\\n\\\\\u{202e}é\u{0}\"";
        assert!(hostile.contains(escaped), "{hostile}");
    }
}
