//! A plain table: first column left, numbers right, last column takes the rest.

use super::format::heading;
use super::{Interval, Shown};

/// Widest first column.
const NAME_WIDTH: usize = 28;

/// Lays out rows under headings. The first column is text, the last one too if
/// `tail`; it is cut where the terminal ends.
pub fn table(
    headings: &[&str],
    rows: Vec<Vec<impl Into<Shown>>>,
    tail: bool,
    interval: &Interval<'_>,
) -> Shown {
    let columns = headings.len();
    let headings: Vec<Shown> = headings.iter().map(|text| Shown::from(*text)).collect();
    let shown = |row: Vec<_>| row.into_iter().map(Into::into).collect();
    let rows: Vec<Vec<Shown>> = rows.into_iter().map(shown).collect();
    let mut widths: Vec<usize> = headings.iter().map(Shown::width).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if let Some(first) = widths.first_mut() {
        *first = (*first).clamp(10, NAME_WIDTH);
    }
    let line = |cells: &[Shown]| {
        let mut line = Shown::default();
        for (column, (cell, width)) in cells.iter().zip(widths.iter().copied()).enumerate() {
            if column == 0 {
                line.push(cell.cut(width).cell(width));
            } else if tail && column + 1 == columns {
                line.push("  ");
                let used = line.width();
                line.push(cell.cut(interval.width.saturating_sub(used).max(8)));
            } else {
                line.push(" ".repeat(2 + width.saturating_sub(cell.width())));
                line.push(cell.clone());
            }
        }
        line.trimmed()
    };
    let mut out = heading(line(&headings), interval);
    out.end_line();
    for row in &rows {
        out.push(line(row));
        out.end_line();
    }
    out
}
