//! The configuration file: TOML, with errors that name the line.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::layer::Layer;
use super::suggest::did_you_mean;

/// Reads a configuration file.
///
/// # Errors
/// In one line: file, line, what is wrong, and what was probably meant.
pub fn read(path: &Path) -> anyhow::Result<Layer> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read configuration file {}", path.display()))?;
    parse(&text).map_err(|(line, message)| anyhow!("{}:{line}: {message}", path.display()))
}

/// The layer, or the line (from 1) and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Layer, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (line, explain(error.message()))
    })
}

/// serde's "unknown field `x`, expected one of `a`, `b`" as a person would say it.
fn explain(message: &str) -> String {
    if !message.starts_with("unknown field") {
        return message.lines().collect::<Vec<_>>().join("; ");
    }
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((unknown, known)) = words.split_first() else {
        return message.to_owned();
    };
    let section = known.iter().find_map(|name| {
        let rest = unknown.strip_prefix(name)?.strip_prefix(['-', '.', '_'])?;
        Some(format!("did you mean `{rest}` in section [{name}]?"))
    });
    let similar = || did_you_mean(unknown, known).map(|word| format!("did you mean `{word}`?"));
    let hint = section
        .or_else(similar)
        .unwrap_or_else(|| format!("there are {}", known.join(", ")));
    format!("unknown key `{unknown}`; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Checks that a file with every section is read.
    #[test]
    fn every_section_is_read() {
        let layer = parse(
            r#"
interval = "5s"
probes = ["tcp", "cpu"]
frequency = 19
kernel-debug = true
own-telemetry = false
[filter]
pid = [1, 2]
comm = ["nginx"]
cgroup = ["/sys/fs/cgroup/a"]
[otlp]
endpoint = "http://localhost:4317"
protocol = "grpc"
headers = { authorization = "Bearer x" }
queue-size = "8MiB"
profiles = false
[spans]
slow-io = "20ms"
rate = 5
[tables]
workloads = 64
ring = "64KiB"
[log]
level = "debug"
format = "json"
[record]
duration = "3s"
output = ["a.svg"]
"#,
        )
        .expect("a correct file");
        assert_eq!(layer.interval.map(|p| p.0), Some(Duration::from_secs(5)));
        assert_eq!(layer.probes.map(|p| p.len()), Some(2));
        assert_eq!(layer.otlp.queue_size.map(|s| s.0), Some(8 << 20));
        assert_eq!(
            layer.otlp.headers.map(|h| h[0].name.clone()).as_deref(),
            Some("authorization")
        );
        assert_eq!(layer.tables.workloads.map(|n| n.0), Some(64));
        assert_eq!(layer.spans.tcp, None);
    }

    /// Checks that what is wrong is found on its line, with a suggestion.
    #[test]
    fn errors_name_the_line() {
        let table = [
            (
                "interval = \"1s\"\nintreval = \"5s\"\n",
                2,
                "unknown key `intreval`; did you mean `interval`?",
            ),
            (
                "[otlp]\n\n# c\nend_point = \"x\"\n",
                4,
                "unknown key `end_point`; did you mean `endpoint`?",
            ),
            (
                "otlp-endpoint = \"x\"\n",
                1,
                "unknown key `otlp-endpoint`; did you mean `endpoint` in section [otlp]?",
            ),
            (
                "\n[colours]\na = 1\n",
                2,
                "unknown key `colours`; there are interval",
            ),
            ("\ninterval = 10\n", 2, "`10` is not a duration"),
            (
                "probes = [\"tcp\",\n \"syscal\"]\n",
                2,
                "there is no probe `syscal`; did you mean `syscalls`?",
            ),
            ("[tables]\nring = \"lots\"\n", 2, "`lots` is not a size"),
            ("own-telemetry = \"yes\"\n", 1, "expected a boolean"),
            ("a = 1\ninterval = \n", 2, ""),
        ];
        for (text, line, message) in table {
            let (found, explained) = parse(text).expect_err(text);
            assert_eq!(found, line, "{text}: {explained}");
            assert!(explained.contains(message), "{text}: {explained}");
            assert!(!explained.contains('\n'), "{explained}");
        }
    }

    /// Checks that the documented file is correct and has every option.
    #[test]
    fn documented_file_is_complete() {
        let text = include_str!("../../../docs/observer.toml");
        let layer = parse(text).expect("a correct file");
        let shown = format!("{layer:?}");
        assert!(!shown.contains("None"), "an option is missing: {shown}");
    }
}
