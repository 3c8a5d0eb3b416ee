//! Log lines: to standard error, readable on a terminal, JSON otherwise; written by a
//! thread of their own, since whoever reads them may have stopped.
//!
//! Much of what is logged came from outside: names of processes and files, what a
//! collector answers. So each event is one line, of bounded length, in which nothing is
//! obeyed by a terminal: in text as escapes (`\n`, `\u{1b}`), in JSON as JSON's.

mod writer;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::config::Log;
use crate::config::values::LogFormat;
use observer_signals::outside::{Escaping, LONGEST, is_obeyed, shortened};

/// Longer lines of JSON, in bytes, are taken apart to cut what is in them.
const LONG_LINE: usize = 4 * LONGEST;

/// How long the end waits for what wasn't written yet.
pub(crate) const AT_END: Duration = Duration::from_millis(500);

/// Starts logging for the whole process; also takes what libraries (and,
/// through aya-log, the kernel half) say with the `log` crate.
///
/// # Errors
/// Logging was started before, or the filter is wrong.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let lines = writer::start()?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(log.filter.directives())?)
        .with_ansi(terminal && colours_wanted());
    let started = if json {
        builder
            .json()
            .flatten_event(true)
            .with_writer(move || JsonLines(lines()))
            .try_init()
    } else {
        builder
            .with_target(false)
            .fmt_fields(TextFields)
            .with_writer(lines)
            .try_init()
    };
    started.map_err(|error| anyhow::anyhow!("can't start logging: {error}"))?;
    // A thread that panics says so in the log: standard error could keep it waiting.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{}", panic.to_string().replace('\n', " "));
    }));
    Ok(())
}

/// Whether it was started.
pub(crate) fn is_on() -> bool {
    writer::ERRORS.has_writer()
}

/// Log lines that weren't written, since the start.
pub(crate) fn dropped() -> u64 {
    writer::ERRORS.dropped()
}

/// Writes a line to standard error as it is, after what was logged.
pub(crate) fn say(line: &str) {
    writer::ERRORS.put(format!("{line}\n").into_bytes());
}

/// Waits until all is written, for so long at most: nobody may be reading.
pub(crate) fn flush(limit: Duration) {
    writer::ERRORS.flush(limit);
}

/// <https://no-color.org>: any value but the empty one forbids colours.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes fields as text: the message, then `name=value`.
struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut fields_to = TextVisitor {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut fields_to);
        fields_to.result
    }
}

struct TextVisitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Visit for TextVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What the `log` crate says about where a line is from.
        if self.result.is_err() || field.name().starts_with("log.") {
            return;
        }
        let space = if self.is_first { "" } else { " " };
        self.is_first = false;
        let name = match field.name() {
            "message" => None,
            name => Some(name.strip_prefix("r#").unwrap_or(name)),
        };
        let out = &mut self.writer;
        self.result = (|| {
            out.write_str(space)?;
            if let Some(name) = name {
                write!(out, "{name}=")?;
            }
            write!(Escaping::new(out, LONGEST), "{value:?}")
        })();
    }
}

/// Writes lines of JSON on, each of which comes in one piece.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(json_line(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line of JSON, the same to whoever parses it, without characters that a terminal
/// obeys; long strings in it are cut.
fn json_line(line: &str) -> Cow<'_, str> {
    let (body, end) = match line.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (line, ""),
    };
    if body.len() <= LONG_LINE && !body.contains(is_obeyed) {
        return Cow::Borrowed(line);
    }
    let mut cut = None;
    if body.len() > LONG_LINE
        && let Ok(mut value) = serde_json::from_str(body)
    {
        cut_strings(&mut value);
        cut = Some(value.to_string());
    }
    let mut out = String::new();
    for c in cut.as_deref().unwrap_or(body).chars() {
        // They can only be in strings: elsewhere JSON is ASCII, and on one line.
        if is_obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.push_str(end);
    Cow::Owned(out)
}

fn cut_strings(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => *text = shortened(text, LONGEST),
        Value::Array(values) => values.iter_mut().for_each(cut_strings),
        Value::Object(fields) => fields.values_mut().for_each(cut_strings),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_signals::outside::MARK;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let builder = tracing_subscriber::fmt().with_ansi(false);
        if json {
            let to = kept.clone();
            let lines = builder.json().flatten_event(true);
            let lines = lines.with_writer(move || JsonLines(to.clone()));
            tracing::subscriber::with_default(lines.finish(), log);
        } else {
            let kept = kept.clone();
            let lines = builder
                .fmt_fields(TextFields)
                .with_writer(move || kept.clone());
            tracing::subscriber::with_default(lines.finish(), log);
        }
        let bytes = kept.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    const HOSTILE: &str =
        "a\n2026-01-01T00:00:00Z ERROR forged\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{e0041}";

    /// Checks that one event is one line of text with nothing to obey, whatever is in its
    /// message and fields, and that lines have a longest length.
    #[test]
    fn text_lines() {
        let line = logged(false, || {
            tracing::warn!(signal = HOSTILE, count = 3, "it says {HOSTILE}");
        });
        let (body, rest) = line.split_once('\n').expect("a line");
        assert_eq!(rest, "");
        assert!(!body.contains(is_obeyed), "{body:?}");
        assert!(body.contains(r"it says a\n2026-01-01T00:00:00Z ERROR forged\u{1b}]0;x\u{7}"));
        assert!(body.ends_with(" count=3"), "{body}");
        let long = "x".repeat(3 << 20);
        let line = logged(false, || tracing::warn!("it says {long}"));
        assert!(
            line.len() < LONGEST + 200 && line.ends_with("x…\n"),
            "{}",
            line.len()
        );
    }

    /// Checks that one event is one line of JSON with nothing to obey, from which a parser
    /// gets the very text, and that lines have a longest length.
    #[test]
    fn json_lines() {
        let parsed = |line: &str| -> serde_json::Value {
            assert!(
                line.ends_with('\n') && !line.trim_end().contains(is_obeyed),
                "{line:?}"
            );
            serde_json::from_str(line).expect("JSON")
        };
        let line = logged(true, || {
            tracing::warn!(signal = HOSTILE, "it says {HOSTILE}")
        });
        let value = parsed(&line);
        assert_eq!(value["signal"], HOSTILE);
        assert_eq!(value["message"], format!("it says {HOSTILE}"));
        let long = "\u{1b}x".repeat(1 << 20);
        let line = logged(true, || tracing::warn!("it says {long}"));
        assert!(line.len() < 8 * LONGEST, "{}", line.len());
        let value = parsed(&line);
        assert!(
            value["message"]
                .as_str()
                .is_some_and(|text| text.ends_with('…'))
        );
        assert_eq!(value["level"], "WARN");
    }

    /// A thousand names of what is obeyed, ends lines or strings, isn't seen, or is long.
    fn names() -> Vec<String> {
        let mut random = fastrand::Rng::with_seed(12);
        let parts = [
            "main",
            "é",
            "火",
            "🦀",
            " ",
            "=",
            "\u{1b}[2J",
            "\u{1b}]0;x\u{7}",
            "\u{9b}2J",
            "\u{9d}0;x\u{9c}",
            "\n",
            "\r",
            "\t",
            "\0",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{feff}",
            "\u{ffff}",
            "\u{e0041}",
            "<",
            "\"",
            "'",
            "\\",
            "{}",
            "%s",
            "\u{fffd}",
        ];
        let mut name = |n: usize| -> String {
            let length = if n.is_multiple_of(50) {
                3000
            } else {
                1 + n % 8
            };
            let part = |_| parts.get(random.usize(0..parts.len())).copied();
            (0..length).filter_map(part).collect()
        };
        (0..1000).map(&mut name).collect()
    }

    /// Checks that of a thousand names each is one line in both formats, with nothing to
    /// obey, of bounded length; and that a parser of JSON gets each back, as it was or cut.
    #[test]
    fn a_thousand_names() {
        for name in names() {
            let log = || tracing::warn!(comm = name, path = ?name, "process 7 ({name}) is late");
            for json in [false, true] {
                let line = logged(json, log);
                let (body, rest) = line.split_once('\n').expect("a line");
                assert_eq!(rest, "", "{name:?}");
                assert!(!body.contains(is_obeyed), "{body:?}");
                assert!(line.len() < 24 * LONGEST, "{}", line.len());
                if json {
                    let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
                    let comm = value["comm"].as_str().expect("a text");
                    let is_whole = comm == name;
                    assert!(is_whole || name.len() > LONGEST && comm.ends_with(MARK));
                    assert_eq!(value["level"], "WARN");
                }
            }
        }
    }
}
