//! A span in one line.

use super::super::terminal::format::{paint, seconds};
use super::{DIM, Look, RED, Shown, arrow, duration, parts, service, status, time};
use observer_signals::Span;

/// Digits of a trace id: enough to tell the traces on a screen apart.
const SHORT_ID: usize = 8;

/// The line, without its end: when it ended, who, what, how long, how, where
/// the time went, which trace.
pub fn line(span: &Span, look: &Look) -> Shown {
    // On a narrow terminal there is room for one part of the time.
    let wide = look.width >= 110;
    let name_width = if wide {
        (look.width - 84).clamp(26, 48)
    } else {
        look.width.saturating_sub(62).max(7)
    };
    let service_width = if wide { 18 } else { 12 };
    let (status, failed) = status(span);
    let status = status.cut(6).cell(6).painted(RED, look.colours && failed);
    let id: String = span.trace_id[..SHORT_ID / 2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut line = paint(time(look, span.end), DIM, look.colours);
    let name = Shown::from(&span.name);
    let took = format!("{:>7}", seconds(duration(span) as f64 / 1e9));
    for part in [
        service(span).cut(service_width).cell(service_width),
        arrow(span).into(),
        name.cut(name_width).cell(name_width),
        took.into(),
        status,
    ] {
        line.push(" ");
        line.push(part);
    }
    line.push(" ");
    let room = look.width.saturating_sub(line.width() + SHORT_ID + 1);
    line.push(parts(span, room, look.colours).cell(room));
    line.push(" ");
    line.with(paint(id, DIM, look.colours))
}
