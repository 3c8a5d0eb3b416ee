//! Disks: operations and latencies by device and operation, and who made them: by bytes, and
//! by the time that the device worked for them. Not by their number: who makes nine commits
//! a second isn't in the way of anybody as who copies a file is.

use std::collections::BTreeMap;

use super::format::{bytes, count, percent, quantile, wrapped};
use super::ranking::Ranking;
use super::table::table;
use super::view::{View, attribute, label, number};
use super::{Interval, ROWS, Shown};
use observer_signals::{Histogram, PointValue};

/// From this width on there is room for how much is in flight.
const WIDE: usize = 96;

#[derive(Default)]
struct Row {
    queue: Histogram,
    device: Histogram,
    total: Histogram,
    /// Seconds that the device worked for each.
    device_time: Ranking,
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
            "device" => {
                row.device.merge(histogram);
                row.device_time.add(label(resource), histogram.sum);
            }
            _ => row.total.merge(histogram),
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
            let mut cells = vec![
                format!("{device} {operation}"),
                count(row.total.count() as f64 / interval.seconds),
                bytes(moved / interval.seconds),
                quantile(row.queue.quantile(0.5)),
                quantile(row.queue.quantile(0.99)),
                quantile(row.device.quantile(0.5)),
                quantile(row.device.quantile(0.99)),
                count(errors),
            ];
            cells.extend((interval.width >= WIDE).then(|| count(in_flight(view, device))));
            cells
        })
        .collect();
    let mut headings = vec!["DISKS", "ops/s", "bytes/s", "queue p50", "p99"];
    headings.extend(["device p50", "p99", "errors"]);
    headings.extend((interval.width >= WIDE).then_some("in flight"));
    let mut out = table(&headings, cells, false, interval);
    for ((device, operation), row) in rows.iter().take(ROWS) {
        let mut moved = Ranking::default();
        for (resource, point) in view.points("system.disk.io") {
            if attribute(point, "system.device") == *device
                && attribute(point, "disk.io.direction") == *operation
            {
                moved.add(label(resource), number(point));
            }
        }
        let moved = moved.text(|n| format!("{}/s", bytes(n / interval.seconds)));
        let worked = row.device_time.text(|n| percent(n / interval.seconds));
        let parts = [("bytes", moved), ("device time", worked)];
        let parts = parts.iter().filter(|(_, who)| !who.is_empty());
        let parts: Vec<String> = parts.map(|(what, who)| format!("{what}: {who}")).collect();
        if !parts.is_empty() {
            let line = format!("  {device} {operation} by {}", parts.join("; "));
            out.push(wrapped(line, interval.width));
        }
    }
    Some(out)
}

fn in_flight(view: &View<'_>, device: &str) -> f64 {
    let points = view.points("observer.disk.in_flight");
    points
        .filter(|(_, p)| attribute(p, "system.device") == device)
        .map(|(_, p)| number(p))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::testing::{definition, point, service, shown, words};
    use observer_signals::MetricDef;
    use observer_signals::metric::ResourceMetrics;

    static DURATION: MetricDef = definition("observer.disk.operation.duration");
    static MOVED: MetricDef = definition("system.disk.io");

    /// What a workload wrote: operations of so many seconds each, and bytes.
    fn writer(name: &'static str, operations: u64, each: f64, moved: i64) -> ResourceMetrics {
        let device = ("system.device", "sda");
        let timed = |part| {
            let histogram = Histogram {
                scale: 2,
                offset: -20,
                buckets: vec![operations],
                sum: each * operations as f64,
                ..Histogram::default()
            };
            let attributes = [
                device,
                ("observer.disk.operation.name", "write"),
                ("observer.disk.operation.part", part),
            ];
            point(&attributes, PointValue::Histogram(histogram))
        };
        let written = [device, ("disk.io.direction", "write")];
        let written = point(&written, PointValue::Int(moved));
        let timed = vec![timed("total"), timed("device"), timed("queue")];
        service(name, [(&DURATION, timed), (&MOVED, vec![written])])
    }

    /// Checks that who moves most bytes is named first, and who has the device work most,
    /// with rates of their own, however many operations others make; on a narrow terminal,
    /// too.
    #[test]
    fn the_culprit_is_named() {
        let metrics = [
            writer("postgres", 90, 0.001, 90 * 8192),
            writer("dd", 8, 0.05, 800 << 20),
            writer("slow", 1, 5.0, 4096),
        ];
        let shown = |width| shown(section, &metrics, width);
        let expected = "  sda write by bytes: dd 80 MiB/s, postgres 72 KiB/s, slow 410 B/s; \
                        device time: slow 50 %, dd 4.0 %, postgres 0.9 %\n";
        assert!(shown(160).ends_with(expected), "{}", shown(160));
        for width in [80, 100, 120, 200] {
            let words = words(section, &metrics, width);
            assert!(
                words.contains("slow 50 %, dd 4.0 %, postgres 0.9 %"),
                "{words}"
            );
        }
        let narrow = shown(80);
        let lines: Vec<&str> = narrow.lines().skip(2).collect();
        assert_eq!(lines.len(), 2, "{narrow}");
        assert!(
            lines[0].starts_with("  sda write by bytes: dd 80 MiB/s"),
            "{narrow}"
        );
        assert!(lines[1].ends_with("postgres 0.9 %"), "{narrow}");
    }
}
