//! A span in one line.

use super::super::terminal::format::{cut, paint, seconds, visible};
use super::{DIM, Look, RED, arrow, duration, parts, plain, service, status, time};
use observer_signals::Span;

/// Digits of a trace id: enough to tell the traces on a screen apart.
const SHORT_ID: usize = 8;

/// The line, without its end: when it ended, who, what, how long, how, where
/// the time went, which trace.
pub fn line(span: &Span, look: &Look) -> String {
    // On a narrow terminal there is room for one part of the time.
    let wide = look.width >= 110;
    let name_width = if wide {
        (look.width - 84).clamp(26, 48)
    } else {
        look.width.saturating_sub(62).max(7)
    };
    let service_width = if wide { 18 } else { 12 };
    let (status, failed) = status(span);
    let status = cell(&cut(&status, 6), 6);
    let status = if failed {
        paint(&status, RED, look.colours)
    } else {
        status
    };
    let id: String = span.trace_id[..SHORT_ID / 2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let before = format!(
        "{} {} {} {} {:>7} {status} ",
        paint(&time(look, span.end), DIM, look.colours),
        cell(&cut(&service(span), service_width), service_width),
        arrow(span),
        cell(&cut(&plain(&span.name), name_width), name_width),
        seconds(duration(span) as f64 / 1e9),
    );
    let room = look.width.saturating_sub(visible(&before) + SHORT_ID + 1);
    let parts = parts(span, room, look.colours);
    format!(
        "{before}{} {}",
        cell(&parts, room),
        paint(&id, DIM, look.colours)
    )
}

/// Text in a column of `width`.
pub(super) fn cell(text: &str, width: usize) -> String {
    let room = width.saturating_sub(visible(text));
    format!("{text}{}", " ".repeat(room))
}
