//! A plain table: first column left, numbers right, last column takes the rest.

use super::Interval;
use super::format::{cut, heading, visible};

/// Widest first column.
const NAME_WIDTH: usize = 28;

/// Lays out rows under headings. The first column is text, the last one too if
/// `tail`; it is cut where the terminal ends.
pub fn table(
    headings: &[&str],
    rows: &[Vec<String>],
    tail: bool,
    interval: &Interval<'_>,
) -> String {
    let columns = headings.len();
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(visible(cell));
        }
    }
    if let Some(first) = widths.first_mut() {
        *first = (*first).clamp(10, NAME_WIDTH);
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.zip(widths.iter().copied()).enumerate() {
            if column == 0 {
                line.push_str(&format!("{:<width$}", cut(cell, width)));
            } else if tail && column + 1 == columns {
                line.push_str("  ");
                let used = visible(&line);
                line.push_str(&cut(cell, interval.width.saturating_sub(used).max(8)));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        line.trim_end().to_string()
    };
    let mut out = heading(&line(&mut headings.iter().copied()), interval);
    out.push('\n');
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
        out.push('\n');
    }
    out
}
