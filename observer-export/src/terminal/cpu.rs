//! CPU by workload: time, waiting for a CPU, switches, hottest functions.

use std::collections::BTreeMap;

use super::format::{count, percent, quantile};
use super::table::table;
use super::view::{View, label, number};
use super::{Interval, ROWS, Shown};
use observer_signals::{Histogram, PointValue};

#[derive(Default)]
struct Row {
    time: f64,
    run_queue: Histogram,
    switches: f64,
}

/// The section; `None` when nothing ran.
pub fn section(view: &View<'_>, interval: &Interval<'_>) -> Option<Shown> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (resource, point) in view.points("observer.cpu.time") {
        rows.entry(label(resource)).or_default().time += number(point);
    }
    for (resource, point) in view.points("observer.cpu.run_queue.duration") {
        if let PointValue::Histogram(histogram) = &point.value {
            rows.entry(label(resource))
                .or_default()
                .run_queue
                .merge(histogram);
        }
    }
    for (resource, point) in view.points("observer.cpu.context_switches") {
        rows.entry(label(resource)).or_default().switches += number(point);
    }
    let mut rows: Vec<_> = rows.into_iter().filter(|(_, row)| row.time > 0.0).collect();
    rows.sort_by(|a, b| b.1.time.total_cmp(&a.1.time));
    if rows.is_empty() {
        return None;
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .take(ROWS)
        .map(|(name, row)| {
            let hottest = interval
                .hottest
                .iter()
                .find(|(workload, _)| workload == name);
            let hottest: Vec<String> = hottest
                .iter()
                .flat_map(|(_, functions)| functions)
                .map(|(function, share)| format!("{function} {}", percent(*share)))
                .collect();
            vec![
                name.clone(),
                percent(row.time / interval.seconds),
                quantile(row.run_queue.quantile(0.5)),
                quantile(row.run_queue.quantile(0.99)),
                count(row.switches / interval.seconds),
                hottest.join(", "),
            ]
        })
        .collect();
    Some(table(
        &[
            "CPU",
            "of a core",
            "wait p50",
            "wait p99",
            "switches/s",
            "hottest functions",
        ],
        cells,
        true,
        interval,
    ))
}
