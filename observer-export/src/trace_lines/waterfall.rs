//! A trace as a tree of its spans, with bars over its time.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::super::terminal::format::{cut, paint, seconds};
use super::line::cell;
use super::{DIM, Look, RED, arrow, duration, parts, plain, service, status, time};
use observer_signals::{Span, SpanKind};

/// Spans shown of one trace.
const MAX_SHOWN: usize = 200;
/// Levels that are indented.
const MAX_DEPTH: usize = 12;

const CYAN: u8 = 36;
const BLUE: u8 = 34;

/// The trace with a line of its own, then a line per span, then an empty one.
/// Spans may be in any order; those whose parent isn't there are roots.
pub fn waterfall(spans: &[Span], look: &Look) -> String {
    let rows = rows(spans);
    let Some((first, _)) = rows.first() else {
        return String::new();
    };
    let begin = spans.iter().map(|s| s.start).min().unwrap_or_default();
    let end = spans.iter().map(|s| s.end).max().unwrap_or_default();
    let count = match spans.len() {
        1 => "1 span".to_owned(),
        n => format!("{n} spans"),
    };
    let mut out = String::new();
    let title = format!(
        "{} trace {:032x}, {}, {count}",
        paint(&time(look, first.start), DIM, look.colours),
        u128::from_be_bytes(first.trace_id),
        seconds(end.saturating_sub(begin) as f64 / 1e9),
    );
    out.push_str(&cut(&title, look.width));
    out.push('\n');
    let columns = Columns::new(look.width);
    for (span, depth) in rows.iter().take(MAX_SHOWN) {
        let indent = "  ".repeat((*depth).min(MAX_DEPTH));
        let label = format!(
            "{indent}{} {} {}",
            arrow(span),
            service(span),
            plain(&span.name)
        );
        let (status, failed) = status(span);
        let status = cell(&cut(&status, 6), 6);
        let colour = match (failed, span.kind) {
            (true, _) => RED,
            (_, SpanKind::Server) => CYAN,
            _ => BLUE,
        };
        let own_line = look.width.saturating_sub(indent.len() + 2);
        let room = if columns.parts == 0 {
            own_line
        } else {
            columns.parts
        };
        let parts = parts(span, room, look.colours);
        let line = format!(
            "{} {:>7} {} {} {}",
            cell(&cut(&label, columns.label), columns.label),
            seconds(duration(span) as f64 / 1e9),
            if failed {
                paint(&status, RED, look.colours)
            } else {
                status
            },
            bar(span, (begin, end), columns.bar, colour, look.colours),
            if columns.parts == 0 { "" } else { &parts },
        );
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", line.trim_end());
        if columns.parts == 0 && !parts.is_empty() {
            let _ = writeln!(out, "{indent}  {parts}");
        }
    }
    if rows.len() > MAX_SHOWN {
        let _ = writeln!(out, "… and {} more", rows.len() - MAX_SHOWN);
    }
    out.push('\n');
    out
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
fn bar(span: &Span, (begin, end): (u64, u64), width: usize, colour: u8, colours: bool) -> String {
    let total = end.saturating_sub(begin).max(1) as f64;
    let cell_of = |at: u64| (at.saturating_sub(begin) as f64 / total * width as f64) as usize;
    let from = cell_of(span.start).min(width - 1);
    let to = cell_of(span.end).clamp(from + 1, width);
    format!(
        "{}{}{}",
        " ".repeat(from),
        paint(&"█".repeat(to - from), colour, colours),
        " ".repeat(width - to)
    )
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
