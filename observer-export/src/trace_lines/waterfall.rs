//! A trace as a tree of its spans, with bars over its time.

use std::collections::{HashMap, HashSet};

use super::super::terminal::format::{paint, seconds};
use super::{DIM, Look, RED, Shown, arrow, duration, parts, service, status, time};
use observer_signals::{Span, SpanKind};

/// Spans shown of one trace.
const MAX_SHOWN: usize = 200;
/// Levels that are indented.
const MAX_DEPTH: usize = 12;

const CYAN: u8 = 36;
const BLUE: u8 = 34;

/// The trace with a line of its own, then a line per span, then an empty one.
/// Spans may be in any order; those whose parent isn't there are roots.
pub fn waterfall(spans: &[Span], look: &Look) -> Shown {
    let mut out = Shown::default();
    let rows = rows(spans);
    let Some((first, _)) = rows.first() else {
        return out;
    };
    let begin = spans.iter().map(|s| s.start).min().unwrap_or_default();
    let end = spans.iter().map(|s| s.end).max().unwrap_or_default();
    let count = match spans.len() {
        1 => "1 span".to_owned(),
        n => format!("{n} spans"),
    };
    let title = format!(
        " trace {:032x}, {}, {count}",
        u128::from_be_bytes(first.trace_id),
        seconds(end.saturating_sub(begin) as f64 / 1e9),
    );
    let title = paint(time(look, first.start), DIM, look.colours).with(title);
    out.push(title.cut(look.width));
    out.end_line();
    let columns = Columns::new(look.width);
    for (span, depth) in rows.iter().take(MAX_SHOWN) {
        let indent = "  ".repeat((*depth).min(MAX_DEPTH));
        let own_line = look.width.saturating_sub(indent.len() + 2);
        let room = if columns.parts == 0 {
            own_line
        } else {
            columns.parts
        };
        let parts = parts(span, room, look.colours);
        let mut line = row(span, &indent, &columns, (begin, end), look);
        if columns.parts != 0 {
            line.push(parts.clone());
        }
        out.push(line.trimmed());
        out.end_line();
        if columns.parts == 0 && parts.width() > 0 {
            out.push(indent + "  ");
            out.push(parts);
            out.end_line();
        }
    }
    if rows.len() > MAX_SHOWN {
        out.push(format!("… and {} more", rows.len() - MAX_SHOWN));
        out.end_line();
    }
    out.end_line();
    out
}

/// A span's row, but for the parts of its time.
fn row(span: &Span, indent: &str, columns: &Columns, all: (u64, u64), look: &Look) -> Shown {
    let label = Shown::from(format!("{indent}{} ", arrow(span)))
        .with(service(span))
        .with(" ")
        .with(&span.name);
    let (status, failed) = status(span);
    let colour = match (failed, span.kind) {
        (true, _) => RED,
        (_, SpanKind::Server) => CYAN,
        _ => BLUE,
    };
    let took = format!(" {:>7} ", seconds(duration(span) as f64 / 1e9));
    label
        .cut(columns.label)
        .cell(columns.label)
        .with(took)
        .with(status.cut(6).cell(6).painted(RED, look.colours && failed))
        .with(" ")
        .with(bar(span, all, columns.bar, colour, look.colours))
        .with(" ")
}

/// Widths.
struct Columns {
    label: usize,
    bar: usize,
    /// 0: parts have a line of their own.
    parts: usize,
}

impl Columns {
    fn new(width: usize) -> Self {
        let parts = if width >= 110 { 24 } else { 0 };
        let label = (width * 2 / 5).clamp(20, 56);
        // Between them: duration, status, spaces.
        let bar = width.saturating_sub(label + 17 + parts).clamp(8, 60);
        Self { label, bar, parts }
    }
}

/// Where in the trace's time the span was; at least one cell.
fn bar(span: &Span, (begin, end): (u64, u64), width: usize, colour: u8, colours: bool) -> Shown {
    let total = end.saturating_sub(begin).max(1) as f64;
    let cell_of = |at: u64| (at.saturating_sub(begin) as f64 / total * width as f64) as usize;
    let from = cell_of(span.start).min(width - 1);
    let to = cell_of(span.end).clamp(from + 1, width);
    Shown::from(" ".repeat(from))
        .with(paint("█".repeat(to - from), colour, colours))
        .with(" ".repeat(width - to))
}

/// Spans with their depth: parents before their children, siblings by their
/// beginning. Each once, whatever the spans say of their parents.
fn rows(spans: &[Span]) -> Vec<(&Span, usize)> {
    let there: HashSet<[u8; 8]> = spans.iter().map(|s| s.span_id).collect();
    let mut children: HashMap<[u8; 8], Vec<(usize, &Span)>> = HashMap::new();
    let mut roots = Vec::new();
    for numbered in spans.iter().enumerate() {
        let (_, span) = numbered;
        let parent = span.parent_span_id;
        if parent != span.span_id && there.contains(&parent) {
            children.entry(parent).or_default().push(numbered);
        } else {
            roots.push(numbered);
        }
    }
    let latest_first =
        |of: &mut Vec<(usize, &Span)>| of.sort_by_key(|(_, span)| std::cmp::Reverse(span.start));
    children.values_mut().for_each(latest_first);
    latest_first(&mut roots);
    let mut rows = Vec::with_capacity(spans.len());
    let mut seen = HashSet::new();
    let mut all = spans.iter().enumerate();
    let mut next: Vec<_> = roots.into_iter().map(|root| (root, 0)).collect();
    loop {
        while let Some(((number, span), depth)) = next.pop() {
            if !seen.insert(number) {
                continue;
            }
            rows.push((span, depth));
            let of = children.get(&span.span_id).into_iter().flatten();
            next.extend(of.map(|child| (*child, depth + 1)));
        }
        // Parents in a circle: nothing leads there from a root.
        match all.find(|(number, _)| !seen.contains(number)) {
            Some(unseen) => next.push((unseen, 0)),
            None => return rows,
        }
    }
}
