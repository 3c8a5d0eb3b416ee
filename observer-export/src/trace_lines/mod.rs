//! Spans as people read them, for `observer trace`: one [`line`] each, or a
//! [`waterfall`] per trace.
//!
//! Names come from what others sent over a network: they reach the terminal as
//! [`Shown`] only.

mod line;
mod traces;
mod waterfall;

use observer_signals::attribute::Value;
use observer_signals::{Span, SpanKind, SpanStatus, UnixNanos};

pub use line::line;
pub use traces::Traces;
pub use waterfall::waterfall;

use super::terminal::format::paint;
use super::terminal::{Shown, colour, label};

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// May colours be used?
    pub colours: bool,
    /// Writes a time of day.
    pub clock: fn(UnixNanos) -> String,
}

/// Which spans are shown.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of these services (or processes) only; of all if there are none.
    pub service: Vec<String>,
    /// Only those that took so long or longer, in nanoseconds.
    pub slower_than: u64,
}

impl Wanted {
    /// Whether this one is.
    pub fn wants(&self, span: &Span) -> bool {
        let named = |name: &String| {
            span.resource.get_str("service.name") == Some(name) || label(&span.resource) == *name
        };
        let wanted = self.service.is_empty() || self.service.iter().any(named);
        wanted && duration(span) >= self.slower_than
    }
}

const RED: u8 = 31;
const DIM: u8 = 90;

fn duration(span: &Span) -> u64 {
    span.end.saturating_sub(span.start)
}

fn service(span: &Span) -> Shown {
    label(&span.resource).into()
}

/// Who asks: somebody else, the service, or nobody.
fn arrow(span: &Span) -> &'static str {
    match span.kind {
        SpanKind::Server => "←",
        SpanKind::Client => "→",
        SpanKind::Internal => "·",
    }
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let mut attributes = span.attributes.iter();
    attributes.find(|a| a.key == key).map(|a| &a.value)
}

/// The protocol's own word for how it ended, else what went wrong, else
/// nothing; and whether it failed.
fn status(span: &Span) -> (Shown, bool) {
    let failed = matches!(span.status, SpanStatus::Error(_));
    let codes = [
        "http.response.status_code",
        "rpc.response.status_code",
        "db.response.status_code",
        "observer.dns.response_code",
        "error.type",
    ];
    let code = codes.iter().find_map(|key| match attribute(span, key)? {
        Value::Int(code) => Some(Shown::from(code.to_string())),
        Value::String(code) => Some(Shown::from(&**code)),
        _ => None,
    });
    let otherwise = if failed { "error" } else { "ok" };
    (code.unwrap_or_else(|| otherwise.into()), failed)
}

/// Components of a span's time: attribute, what it is called where there is
/// room for little, its name in a colour table.
const COMPONENTS: [(&str, &str, &str); 6] = [
    ("observer.time.cpu", "cpu", "cpu"),
    ("observer.time.run_queue", "runq", "run queue"),
    ("observer.time.disk", "disk", "disk"),
    ("observer.time.lock", "lock", "lock"),
    ("observer.time.network", "net", "network"),
    ("observer.time.other", "other", "other"),
];

/// Where its time went: `net 80% cpu 15%`, greatest first and as many as fit
/// into `room`; empty where that isn't known.
fn parts(span: &Span, room: usize, colours: bool) -> Shown {
    let mut parts: Vec<(&str, &str, f64)> = Vec::new();
    for (key, short, name) in COMPONENTS {
        match attribute(span, key) {
            Some(Value::Double(time)) => parts.push((short, name, *time)),
            Some(Value::Int(time)) => parts.push((short, name, *time as f64)),
            _ => {}
        }
    }
    let total: f64 = parts.iter().map(|(_, _, time)| time).sum();
    parts.retain(|(_, _, time)| *time >= 0.005 * total && *time > 0.0);
    parts.sort_by(|a, b| b.2.total_cmp(&a.2));
    let (mut shown, mut used) = (Shown::default(), 0);
    for (short, name, time) in parts {
        let text = format!("{short} {:.0}%", 100.0 * time / total);
        let space = usize::from(shown.width() > 0);
        used += space + text.len();
        if used > room {
            break;
        }
        shown.push(" ".repeat(space));
        shown.push(paint(text, colour(name), colours));
    }
    shown
}

/// `HH:MM:SS.mmm`.
fn time(look: &Look, at: UnixNanos) -> String {
    format!("{}.{:03}", (look.clock)(at), at / 1_000_000 % 1000)
}

#[cfg(test)]
mod tests;
