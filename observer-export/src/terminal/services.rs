//! Services: their requests by rate, errors and duration, where the time goes,
//! and what they ask of others.

use std::collections::BTreeMap;

use observer_common::requests::Protocol;

use super::format::{count, paint, percent, quantile};
use super::shown::{cut, visible};
use super::table::table;
use super::unfollowed::{Unfollowed, protocol};
use super::view::{View, attribute, label, number};
use super::{Interval, ROWS, Shown};
use observer_signals::{Histogram, MetricPoint, PointValue};

/// What a service was asked, by metric.
const SERVED: [&str; 3] = [
    "http.server.request.duration",
    "rpc.server.call.duration",
    "observer.db.server.operation.duration",
];

/// What it asked of others: metric, and how the other is called if its points
/// don't say that.
const CALLED: [(&str, &str); 4] = [
    (
        "http.client.request.duration",
        Protocol::Http1.network_name(),
    ),
    ("rpc.client.call.duration", "grpc"),
    ("db.client.operation.duration", "database"),
    ("dns.lookup.duration", Protocol::Dns.network_name()),
];

/// Where a service's time went.
const TIME: &str = "observer.request.time";

/// Operations shown of each service, and others that it calls.
const DETAILS: usize = 3;

/// From this width on, names have more room and times get a bar.
const WIDE: usize = 110;

/// From this width on, there is a column for the mean.
const MEAN: usize = 100;

/// Cells of the bar.
const BAR: usize = 16;

/// Rate, errors and duration of requests of one kind.
#[derive(Default)]
struct Row {
    duration: Histogram,
    errors: u64,
    /// Requests that were only counted; see [`Unfollowed`].
    more: f64,
    /// Is [`Self::more`] an estimate?
    estimated: bool,
    /// Of which protocol; empty if of several.
    protocol: &'static str,
    /// Seconds by component, or by operation.
    parts: BTreeMap<String, f64>,
    /// What its times are told of by; see [`time_key`].
    time_key: String,
}

impl Row {
    fn requests(&self) -> f64 {
        self.duration.count() as f64 + self.more
    }

    fn add(&mut self, point: &MetricPoint) {
        if let PointValue::Histogram(histogram) = &point.value {
            self.duration.merge(histogram);
            if !attribute(point, "error.type").is_empty() {
                self.errors += histogram.count();
            }
        }
    }

    /// Shares of the parts, greatest first.
    fn shares(&self) -> Vec<(&str, f64)> {
        let total: f64 = self.parts.values().sum();
        let parts = self.parts.iter();
        let mut shares: Vec<(&str, f64)> = parts
            .map(|(name, seconds)| (name.as_str(), seconds / total.max(1e-12)))
            .collect();
        shares.retain(|(_, share)| *share >= 0.005);
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares
    }

    fn line(&self, name: &str, parts: Vec<Shown>, interval: &Interval<'_>) -> Line {
        let followed = self.duration.count() as f64;
        let about = if self.estimated { "~" } else { "" };
        let rate = count(self.requests() / interval.seconds);
        let errors = (followed > 0.0).then(|| percent(self.errors as f64 / followed));
        let mut cells = vec![
            cut(name, if interval.width < WIDE { 20 } else { 28 }),
            format!("{about}{rate}"),
            errors.unwrap_or_else(|| "–".into()),
        ];
        cells.extend((interval.width >= MEAN).then(|| quantile(self.duration.mean())));
        cells.extend([0.5, 0.99].map(|q| quantile(self.duration.quantile(q))));
        Line { cells, parts }
    }
}

/// A line of the section.
struct Line {
    /// All but the last.
    cells: Vec<String>,
    /// The last cell's, of which as many are shown as fit.
    parts: Vec<Shown>,
}

impl Line {
    fn finish(self, room: usize) -> Vec<Shown> {
        let mut last = Shown::default();
        for part in self.parts {
            let separator = match last.as_str().chars().last() {
                None | Some(' ') => "",
                Some(_) => ", ",
            };
            if last.width() + separator.len() + part.width() > room {
                break;
            }
            last.push(separator);
            last.push(part);
        }
        let cells = self.cells.into_iter().map(Shown::from);
        cells.chain([last]).collect()
    }
}

#[derive(Default)]
struct Service {
    all: Row,
    operations: BTreeMap<String, Row>,
    calls: BTreeMap<String, Row>,
}

impl Service {
    /// Adds what was only counted of it: exact where it is of one row, otherwise shared out as
    /// the others are.
    fn add(&mut self, unfollowed: &Unfollowed, name: &str) {
        let asked = unfollowed.of_service(name, true);
        // Not `sum`: that of nothing is -0.
        self.all.more = asked.values().fold(0.0, |sum, more| sum + more);
        for (protocol, more) in asked {
            share_out(&mut self.operations, protocol, more);
        }
        for (protocol, more) in unfollowed.of_service(name, false) {
            if !self.calls.values().any(|row| row.protocol == protocol) {
                let row = self.calls.entry(protocol.to_owned()).or_default();
                row.more = more;
                continue;
            }
            share_out(&mut self.calls, protocol, more);
        }
    }
}

/// Gives each row of a protocol its share of the requests that were only counted.
fn share_out(rows: &mut BTreeMap<String, Row>, protocol: &str, more: f64) {
    let of_it = rows.values_mut().filter(|row| row.protocol == protocol);
    let mut rows: Vec<&mut Row> = of_it.collect();
    let followed: u64 = rows.iter().map(|row| row.duration.count()).sum();
    let estimated = rows.len() > 1;
    for row in &mut rows {
        row.more = more * row.duration.count() as f64 / followed.max(1) as f64;
        row.estimated = estimated;
    }
}

/// The section; `None` without requests.
pub fn section(view: &View<'_>, unfollowed: &Unfollowed, interval: &Interval<'_>) -> Option<Shown> {
    let mut services = gather(view, unfollowed);
    for (name, service) in &mut services {
        service.add(unfollowed, name);
    }
    let mut services: Vec<_> = services.into_iter().collect();
    if services.is_empty() {
        return None;
    }
    // Who serves goes before who only asks, the busiest first.
    services.sort_by(|(_, a), (_, b)| {
        let busy = |s: &Service| {
            let called: f64 = s.calls.values().map(|row| row.duration.sum).sum();
            (s.all.duration.sum, called)
        };
        busy(b)
            .partial_cmp(&busy(a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let headings = headings(interval);
    let mut lines = Vec::new();
    for (name, service) in services.iter().take(ROWS) {
        if service.all.requests() > 0.0 {
            let parts = components(&service.all, interval);
            lines.push(service.all.line(name, parts, interval));
            // One alone would only repeat the line above.
            if service.operations.len() > 1 {
                for (operation, row) in busiest(&service.operations) {
                    let parts = components(row, interval);
                    lines.push(row.line(&format!("  {operation}"), parts, interval));
                }
            }
        } else {
            let mut cells = vec![name.clone()];
            cells.resize(headings.len() - 1, String::new());
            lines.push(Line {
                cells,
                parts: Vec::new(),
            });
        }
        for (other, row) in busiest(&service.calls) {
            lines.push(row.line(&format!("  → {other}"), operations(row), interval));
        }
    }
    let room = room(&headings, &lines, interval);
    let cells: Vec<_> = lines.into_iter().map(|line| line.finish(room)).collect();
    Some(table(&headings, cells, true, interval))
}

fn headings(interval: &Interval<'_>) -> Vec<&'static str> {
    let mut headings = vec!["REQUESTS", "req/s", "errors"];
    headings.extend((interval.width >= MEAN).then_some("mean"));
    headings.extend(["p50", "p99", "where the time goes"]);
    headings
}

/// What the other columns leave for the last one.
fn room(headings: &[&str], lines: &[Line], interval: &Interval<'_>) -> usize {
    let used = headings.iter().enumerate().take(headings.len() - 1);
    let used = used.map(|(column, heading)| {
        let cells = lines.iter().filter_map(|line| line.cells.get(column));
        let cells = cells.map(|cell| visible(cell));
        cells.max().unwrap_or_default().max(visible(heading)) + 2
    });
    interval.width.saturating_sub(used.sum())
}

fn gather(view: &View<'_>, unfollowed: &Unfollowed) -> BTreeMap<String, Service> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for name in unfollowed.services() {
        services.entry(name.to_owned()).or_default();
    }
    let has_any = |point: &MetricPoint| number(point) > 0.0;
    for name in SERVED {
        for (resource, point) in view.points(name).filter(|(_, p)| has_any(p)) {
            let service = services.entry(label(resource)).or_default();
            service.all.add(point);
            let row = service.operations.entry(operation(point)).or_default();
            row.time_key = time_key(point);
            row.protocol = protocol(name, point);
            row.add(point);
        }
    }
    for (resource, point) in view.points(TIME) {
        let (Some(service), PointValue::Histogram(time)) =
            (services.get_mut(&label(resource)), &point.value)
        else {
            continue;
        };
        let component = attribute(point, "observer.time.component").replace('_', " ");
        *service.all.parts.entry(component.clone()).or_default() += time.sum;
        let key = time_key(point);
        let rows = service.operations.values_mut();
        for row in rows.filter(|row| row.time_key == key) {
            *row.parts.entry(component.clone()).or_default() += time.sum;
        }
    }
    for (name, otherwise) in CALLED {
        for (resource, point) in view.points(name).filter(|(_, p)| has_any(p)) {
            let service = services.entry(label(resource)).or_default();
            let row = service.calls.entry(other(point, otherwise)).or_default();
            row.protocol = protocol(name, point);
            row.add(point);
            *row.parts.entry(operation(point)).or_default() += match &point.value {
                PointValue::Histogram(h) => h.sum,
                _ => 0.0,
            };
        }
    }
    services
}

/// The ones that took most time.
fn busiest(rows: &BTreeMap<String, Row>) -> Vec<(&String, &Row)> {
    let mut rows: Vec<_> = rows.iter().collect();
    let key = |row: &Row| (row.duration.sum, row.more);
    rows.sort_by(|(_, a), (_, b)| {
        let order = key(b).partial_cmp(&key(a));
        order.unwrap_or(std::cmp::Ordering::Equal)
    });
    rows.truncate(DETAILS);
    rows
}

/// What was asked: of low cardinality, as the metrics' attributes are.
fn operation(point: &MetricPoint) -> String {
    let of = |key| attribute(point, key);
    let method = of("http.request.method");
    if !method.is_empty() {
        return format!("{method} {}", of("http.route"))
            .trim_end()
            .to_owned();
    }
    for key in [
        "rpc.method",
        "db.query.summary",
        "db.operation.name",
        "dns.question.name",
    ] {
        if !of(key).is_empty() {
            return of(key).to_owned();
        }
    }
    "other".to_owned()
}

/// What times are told of by: not by methods, nor by tables.
fn time_key(point: &MetricPoint) -> String {
    let keys = ["http.route", "rpc.method", "db.operation.name"];
    let values = keys.map(|key| attribute(point, key));
    let value = values.into_iter().find(|value| !value.is_empty());
    value.unwrap_or_default().to_owned()
}

/// Who was asked.
fn other(point: &MetricPoint, otherwise: &str) -> String {
    let system = attribute(point, "db.system.name");
    let address = attribute(point, "server.address");
    match (system, address) {
        ("", "") => otherwise.to_owned(),
        ("", address) => format!("{otherwise} {address}"),
        (system, _) => system.to_owned(),
    }
}

/// `network 80 %`, `cpu 15 %`, after a bar where there is room.
fn components(row: &Row, interval: &Interval<'_>) -> Vec<Shown> {
    let shares = row.shares();
    let mut parts = Vec::with_capacity(shares.len() + 1);
    if interval.colours && interval.width >= WIDE && !shares.is_empty() {
        parts.push(bar(&shares).with(" "));
    }
    parts.extend(shares.iter().map(|(name, share)| {
        let text = format!("{name} {}", percent(*share));
        paint(text, colour(name), interval.colours)
    }));
    parts
}

/// Each part as many cells as it has of the time, rounded so that all are
/// filled.
fn bar(shares: &[(&str, f64)]) -> Shown {
    let mut text = Shown::default();
    let (mut sum, mut filled) = (0.0, 0);
    for (name, share) in shares {
        sum += share;
        let until = ((sum * BAR as f64).round() as usize).min(BAR);
        text.push(paint("█".repeat(until - filled), colour(name), true));
        filled = until;
    }
    text.with(" ".repeat(BAR - filled))
}

/// The colour (SGR) of a component of time.
pub fn colour(component: &str) -> u8 {
    match component {
        "cpu" => 32,
        "run queue" => 33,
        "disk" => 34,
        "lock" => 35,
        "network" => 36,
        _ => 90,
    }
}

/// Operations by their share of the time.
fn operations(row: &Row) -> Vec<Shown> {
    let shares = row.shares().into_iter().take(DETAILS);
    shares
        .map(|(name, share)| format!("{name} {}", percent(share)).into())
        .collect()
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
