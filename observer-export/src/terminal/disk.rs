//! Disks: operations and latencies by device and operation.

use std::collections::BTreeMap;

use super::format::{bytes, count, quantile};
use super::table::table;
use super::view::{View, attribute, label, number};
use super::{Interval, ROWS, Shown};
use observer_signals::{Histogram, PointValue};

#[derive(Default)]
struct Row {
    queue: Histogram,
    device: Histogram,
    total: Histogram,
    by_workload: BTreeMap<String, f64>,
}

/// The section; `None` without operations.
pub fn section(view: &View<'_>, interval: &Interval<'_>) -> Option<Shown> {
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for (resource, point) in view.points("observer.disk.operation.duration") {
        let PointValue::Histogram(histogram) = &point.value else {
            continue;
        };
        let key = (
            attribute(point, "system.device"),
            attribute(point, "observer.disk.operation.name"),
        );
        let row = rows.entry(key).or_default();
        match attribute(point, "observer.disk.operation.part") {
            "queue" => row.queue.merge(histogram),
            "device" => row.device.merge(histogram),
            _ => {
                row.total.merge(histogram);
                *row.by_workload.entry(label(resource)).or_default() += histogram.count() as f64;
            }
        }
    }
    let mut rows: Vec<_> = rows
        .into_iter()
        .filter(|(_, row)| row.total.count() > 0)
        .collect();
    if rows.is_empty() {
        return None;
    }
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.total.count()));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .take(ROWS)
        .map(|((device, operation), row)| {
            let moved = view.sum("system.disk.io", |_, p| {
                attribute(p, "system.device") == *device
                    && attribute(p, "disk.io.direction") == *operation
            });
            let errors = view.sum("observer.disk.errors", |_, p| {
                attribute(p, "system.device") == *device
                    && attribute(p, "observer.disk.operation.name") == *operation
            });
            let busiest = row.by_workload.iter().max_by(|a, b| a.1.total_cmp(b.1));
            vec![
                format!("{device} {operation}"),
                count(row.total.count() as f64 / interval.seconds),
                bytes(moved / interval.seconds),
                quantile(row.queue.quantile(0.5)),
                quantile(row.queue.quantile(0.99)),
                quantile(row.device.quantile(0.5)),
                quantile(row.device.quantile(0.99)),
                count(errors),
                count(in_flight(view, device)),
                busiest.map_or_else(String::new, |(workload, _)| workload.clone()),
            ]
        })
        .collect();
    Some(table(
        &[
            "DISKS",
            "ops/s",
            "bytes/s",
            "queue p50",
            "p99",
            "device p50",
            "p99",
            "errors",
            "in flight",
            "most by",
        ],
        cells,
        true,
        interval,
    ))
}

fn in_flight(view: &View<'_>, device: &str) -> f64 {
    let points = view.points("observer.disk.in_flight");
    points
        .filter(|(_, p)| attribute(p, "system.device") == device)
        .map(|(_, p)| number(p))
        .sum()
}
