//! Syscalls by workload: rate, failures, time, and what the time went into.

use std::collections::BTreeMap;

use super::format::{count, quantile, seconds};
use super::table::table;
use super::view::{View, attribute, is_true, label, number};
use super::{Interval, ROWS, Shown};
use observer_signals::{Histogram, PointValue};

#[derive(Default)]
struct Row {
    calls: f64,
    errors: f64,
    work: Histogram,
    by_name: BTreeMap<String, f64>,
    by_error: BTreeMap<String, f64>,
}

/// The section; `None` without calls.
pub fn section(view: &View<'_>, interval: &Interval<'_>) -> Option<Shown> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (resource, point) in view.points("observer.syscall.calls") {
        // Of these some may not have been timed.
        rows.entry(label(resource)).or_default().calls += number(point);
    }
    for (resource, point) in view.points("observer.syscall.duration") {
        let PointValue::Histogram(histogram) = &point.value else {
            continue;
        };
        let row = rows.entry(label(resource)).or_default();
        if !is_true(point, "syscall.wait") {
            row.work.merge(histogram);
            *row.by_name
                .entry(attribute(point, "syscall.name").to_string())
                .or_default() += histogram.sum;
        }
    }
    for (resource, point) in view.points("observer.syscall.errors") {
        let row = rows.entry(label(resource)).or_default();
        row.errors += number(point);
        let error = format!(
            "{} {}",
            attribute(point, "syscall.name"),
            attribute(point, "error.type")
        );
        *row.by_error.entry(error).or_default() += number(point);
    }
    let mut rows: Vec<_> = rows
        .into_iter()
        .filter(|(_, row)| row.calls > 0.0)
        .collect();
    rows.sort_by(|a, b| b.1.work.sum.total_cmp(&a.1.work.sum));
    if rows.is_empty() {
        return None;
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .take(ROWS)
        .map(|(name, row)| {
            let mut most = top(&row.by_name, 3, |n, time| format!("{n} {}", seconds(time)));
            let errors = top(&row.by_error, 1, |n, times| {
                format!("{n} ×{}", count(times))
            });
            if !errors.is_empty() {
                most = format!("{most}; {errors}");
            }
            vec![
                name.clone(),
                count(row.calls / interval.seconds),
                count(row.errors / interval.seconds),
                seconds(row.work.sum),
                quantile(row.work.quantile(0.5)),
                quantile(row.work.quantile(0.99)),
                most,
            ]
        })
        .collect();
    Some(table(
        &[
            "SYSCALLS",
            "calls/s",
            "errors/s",
            "time",
            "p50",
            "p99",
            "most time in (without waits); errors",
        ],
        cells,
        true,
        interval,
    ))
}

/// The `n` largest entries, largest first.
fn top(entries: &BTreeMap<String, f64>, n: usize, show: impl Fn(&str, f64) -> String) -> String {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by(|a, b| b.1.total_cmp(a.1));
    let shown: Vec<String> = entries
        .into_iter()
        .take(n)
        .map(|(k, v)| show(k, *v))
        .collect();
    shown.join(", ")
}
