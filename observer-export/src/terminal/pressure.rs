//! Each resource of the host by utilization, saturation and errors, who waits for it or
//! holds it up, and what is about to run out.

use std::collections::BTreeMap;

use super::format::{bytes, count, percent, seconds, wrapped};
use super::network::Network;
use super::ranking::Ranking;
use super::table::table;
use super::view::{View, attribute, label, number};
use super::{Interval, Shown};
use observer_signals::{MetricPoint, PointValue, Resource};

/// Disks shown: the busiest.
const DISKS: usize = 3;

/// Limits that are named, the nearest first.
const LIMITS: usize = 4;

/// From this share on a limit is named, whether it grows or not.
const NEARLY_FULL: f64 = 0.9;

/// What ends sooner is named (seconds): a day.
const SOON: f64 = 86_400.0;

/// What isn't known.
const UNKNOWN: &str = "not known";

const PRESSURE: &str = "observer.pressure.time";
const CGROUP: &str = "observer.cgroup.path";

/// The section; `None` where nothing of it was observed.
pub fn section(view: &View<'_>, interval: &Interval<'_>) -> Option<Shown> {
    let is_there = |name: &str| view.points(name).next().is_some();
    if !is_there("system.cpu.time") && !is_there("system.memory.limit") {
        return None;
    }
    let mut all = vec![cpu(view, interval), memory(view, interval)];
    all.extend(disks(view, interval));
    all.push(network(view, interval));
    let saturated = all.iter().filter(|it| it.is_saturated && !it.by.is_empty());
    let lines: Vec<String> = saturated
        .map(|it| format!("  {} by {}", it.name.trim_start(), it.by))
        .collect();
    let cells = all.into_iter().map(Row::cells).collect();
    let headings = ["RESOURCES", "used", "waited", "errors"];
    let mut out = table(&headings, cells, false, interval);
    for line in lines.into_iter().chain(limits(view)) {
        out.push(wrapped(line, interval.width));
    }
    Some(out)
}

/// A resource, or a part of it.
struct Row {
    name: String,
    used: String,
    waited: String,
    errors: String,
    /// Whether it is said by whom.
    is_saturated: bool,
    by: String,
}

impl Row {
    fn cells(self) -> Vec<String> {
        vec![self.name, self.used, self.waited, self.errors]
    }
}

/// From this share of its use on, or of the interval in which somebody waited, a resource
/// is called saturated.
const MUCH_USED: f64 = 0.8;
const MUCH_WAITED: f64 = 0.05;

/// Whether a point is the host's, and not a cgroup's.
fn is_hosts(point: &MetricPoint) -> bool {
    attribute(point, CGROUP).is_empty()
}

/// How whom a cgroup's figure is of is called: the service that is alone in it, else the
/// cgroup.
fn who(resource: &Resource, point: &MetricPoint) -> String {
    if resource.get_str("observer.service.name.source").is_some() {
        return label(resource);
    }
    let path = attribute(point, CGROUP);
    let name = path.rsplit('/').find(|name| !name.is_empty());
    name.unwrap_or("/").to_owned()
}

/// Whether a resource is saturated, by its use and by the time in which somebody waited.
fn is_much(used: f64, waited: Option<f64>, interval: &Interval<'_>) -> bool {
    used >= MUCH_USED || waited.is_some_and(|time| time / interval.seconds >= MUCH_WAITED)
}

/// Seconds of a histogram or counter by workload, as shares of the interval.
fn times(
    view: &View<'_>,
    name: &str,
    keep: impl Fn(&MetricPoint) -> bool,
    interval: &Interval<'_>,
) -> String {
    let (ranking, _) = ranked(view, name, keep);
    ranking.text(|time| percent(time / interval.seconds))
}

/// The same as parts of all: a device works on several things at once, so that their times
/// add up to more than the interval.
fn parts(view: &View<'_>, name: &str, keep: impl Fn(&MetricPoint) -> bool) -> String {
    let (ranking, all) = ranked(view, name, keep);
    ranking.text(|time| percent(time / all))
}

/// Seconds by service, and of all.
fn ranked(view: &View<'_>, name: &str, keep: impl Fn(&MetricPoint) -> bool) -> (Ranking, f64) {
    let (mut ranking, mut all) = (Ranking::default(), 0.0);
    for (resource, point) in view.points(name).filter(|(_, p)| keep(p)) {
        let time = match &point.value {
            PointValue::Histogram(histogram) => histogram.sum,
            _ => number(point),
        };
        ranking.add(label(resource), time);
        all += time;
    }
    (ranking, all)
}

/// Seconds of the host's pressure; `None` where the kernel doesn't tell.
fn pressure(view: &View<'_>, resource: &str, share: &str) -> Option<f64> {
    // Where nothing was added in the interval the point isn't there.
    view.points(PRESSURE).find(|(_, p)| is_hosts(p))?;
    Some(view.sum(PRESSURE, |_, p| {
        is_hosts(p)
            && attribute(p, "observer.pressure.resource") == resource
            && attribute(p, "observer.pressure.share") == share
    }))
}

/// Who had to wait for a resource, as shares of the interval.
fn waiting(view: &View<'_>, resource: &str, interval: &Interval<'_>) -> String {
    let mut ranking = Ranking::default();
    let points = view.points(PRESSURE).filter(|(_, p)| !is_hosts(p));
    for (of, point) in points {
        if attribute(point, "observer.pressure.resource") == resource
            && attribute(point, "observer.pressure.share") == "some"
        {
            ranking.add(who(of, point), number(point));
        }
    }
    ranking.text(|time| percent(time / interval.seconds))
}

/// Both texts, where there are any.
fn joined(parts: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    let parts: Vec<String> = parts.map(|(what, text)| format!("{what}{text}")).collect();
    parts.join("; ")
}

fn share(time: Option<f64>, interval: &Interval<'_>) -> String {
    // Read a moment before the interval's end, or after its beginning.
    time.map_or_else(
        || UNKNOWN.to_owned(),
        |time| percent((time / interval.seconds).min(1.0)),
    )
}

fn cpu(view: &View<'_>, interval: &Interval<'_>) -> Row {
    const TIME: &str = "system.cpu.time";
    let all = view.sum(TIME, |_, _| true);
    let idle = view.sum(TIME, |_, p| {
        matches!(attribute(p, "cpu.mode"), "idle" | "iowait")
    });
    let used = (all > 0.0).then(|| 1.0 - idle / all);
    let mut throttled = Ranking::default();
    let mut limited = 0.0;
    for (resource, point) in view.points("observer.cgroup.cpu.throttled.time") {
        throttled.add(who(resource, point), number(point));
        limited += number(point);
    }
    let waited = pressure(view, "cpu", "some");
    // Each thread's waiting is known to the kernel half; where it isn't observed, that of
    // whole cgroups is.
    let waiting_threads = times(view, "observer.cpu.run_queue.duration", |_| true, interval);
    let waiting = match waiting_threads.is_empty() {
        true => waiting(view, "cpu", interval),
        false => waiting_threads,
    };
    Row {
        name: "cpu".to_owned(),
        used: used.map_or_else(|| UNKNOWN.to_owned(), percent),
        waited: share(waited, interval),
        errors: "–".to_owned(),
        is_saturated: is_much(used.unwrap_or(0.0), waited, interval) || limited > 0.0,
        by: joined([
            (
                "core time: ",
                times(view, "observer.cpu.time", |_| true, interval),
            ),
            ("waiting: ", waiting),
            (
                "throttled: ",
                throttled.text(|time| percent(time / interval.seconds)),
            ),
        ]),
    }
}

fn memory(view: &View<'_>, interval: &Interval<'_>) -> Row {
    let limit = view.sum("system.memory.limit", |_, _| true);
    let used = view.sum("system.memory.usage", |_, p| {
        attribute(p, "system.memory.state") == "used"
    });
    let used = (limit > 0.0).then(|| used / limit);
    let killed = view.sum("observer.memory.oom_kills", |_, _| true);
    let (mut victims, mut holders) = (Ranking::default(), Ranking::default());
    for (resource, point) in view.points("observer.cgroup.memory.events") {
        if attribute(point, "observer.cgroup.memory.event.type") == "oom_kill" {
            victims.add(who(resource, point), number(point));
        }
    }
    for (resource, point) in view.points("container.memory.working_set") {
        holders.add(who(resource, point), number(point));
    }
    let waited = pressure(view, "memory", "some");
    Row {
        name: "memory".to_owned(),
        used: used.map_or_else(|| UNKNOWN.to_owned(), percent),
        waited: share(waited, interval),
        errors: match killed > 0.0 {
            true => format!("{} killed", count(killed)),
            false => "0".to_owned(),
        },
        is_saturated: is_much(used.unwrap_or(0.0), waited, interval) || killed > 0.0,
        by: joined([
            ("kills: ", victims.text(count)),
            ("waiting: ", waiting(view, "memory", interval)),
            ("held: ", holders.text(bytes)),
        ]),
    }
}

/// I/O as a whole, which has the waiting, and the busiest disks.
fn disks(view: &View<'_>, interval: &Interval<'_>) -> Vec<Row> {
    let mut busy: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (_, point) in view.points("system.disk.io_time") {
        busy.entry(attribute(point, "system.device")).or_default().0 += number(point);
    }
    for (_, point) in view.points("observer.disk.queue.time") {
        busy.entry(attribute(point, "system.device")).or_default().1 += number(point);
    }
    let mut busy: Vec<_> = busy.into_iter().collect();
    busy.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0));
    let is_observed = view.points("observer.disk.in_flight").next().is_some();
    let failures = |device: Option<&str>| {
        let sum = view.sum("observer.disk.errors", |_, p| {
            device.is_none_or(|device| attribute(p, "system.device") == device)
        });
        match is_observed || sum > 0.0 {
            true => count(sum),
            false => UNKNOWN.to_owned(),
        }
    };
    let most = busy.first().map_or(0.0, |(_, (time, _))| *time);
    let waited = pressure(view, "io", "some");
    let in_device = |p: &MetricPoint| attribute(p, "observer.disk.operation.part") == "device";
    let worked = parts(view, "observer.disk.operation.duration", in_device);
    let all = Row {
        name: "disks".to_owned(),
        used: percent(most / interval.seconds),
        waited: share(waited, interval),
        errors: failures(None),
        is_saturated: is_much(most / interval.seconds, waited, interval),
        by: joined([
            ("device time: ", worked),
            ("waiting: ", waiting(view, "io", interval)),
        ]),
    };
    let each = busy.into_iter().take(DISKS);
    let each = each.map(|(device, (time, queue))| Row {
        name: format!("  {device}"),
        used: percent(time / interval.seconds),
        waited: format!("queue {}", count(queue / interval.seconds)),
        errors: failures(Some(device)),
        is_saturated: false,
        by: String::new(),
    });
    [all].into_iter().chain(each).collect()
}

fn network(view: &View<'_>, interval: &Interval<'_>) -> Row {
    let network = Network::of(view, interval);
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    Row {
        name: "network".to_owned(),
        used: or_unknown(network.used),
        waited: or_unknown(network.waited),
        errors: or_unknown(network.errors),
        is_saturated: network.is_saturated,
        by: joined(network.by),
    }
}

/// What is nearly used up, or will be soon; the nearest to its end first.
fn limits(view: &View<'_>) -> Vec<String> {
    let mut found: BTreeMap<String, (f64, Option<f64>)> = BTreeMap::new();
    for (resource, point) in view.points("observer.limit.utilization") {
        found.insert(limit(resource, point), (number(point), None));
    }
    for (resource, point) in view.points("observer.limit.time_left") {
        if let Some((_, left)) = found.get_mut(&limit(resource, point)) {
            *left = Some(number(point));
        }
    }
    let is_near = |(_, (used, left)): &(String, (f64, Option<f64>))| {
        // What is nearly empty grows at its begin, and that says little.
        *used >= NEARLY_FULL || *used >= 0.5 && left.is_some_and(|left| left < SOON)
    };
    let mut near: Vec<_> = found.into_iter().filter(is_near).collect();
    let end = |left: Option<f64>| left.unwrap_or(f64::INFINITY);
    near.sort_by(|(_, a), (_, b)| {
        let by_end = end(a.1).total_cmp(&end(b.1));
        by_end.then(b.0.total_cmp(&a.0))
    });
    let rest = near.len().saturating_sub(LIMITS);
    let named = near.into_iter().take(LIMITS).map(|(name, (used, left))| {
        let left = left.filter(|left| *left < SOON);
        let left = left.map(|left| format!(", full in {} at this rate", time(left)));
        format!(
            "  {name}: {} used{}",
            percent(used),
            left.unwrap_or_default()
        )
    });
    let mut lines: Vec<String> = named.collect();
    if rest > 0 {
        lines.push(format!("  {rest} other limits are nearly reached"));
    }
    lines
}

/// How a limit is called: what of whom.
fn limit(resource: &Resource, point: &MetricPoint) -> String {
    let name = attribute(point, "observer.limit.name").replace('_', " ");
    let mount = attribute(point, "system.filesystem.mountpoint");
    match (mount, is_hosts(point)) {
        ("", true) => format!("{name} of the host"),
        ("", false) => format!("{name} of {}", who(resource, point)),
        (mount, _) => format!("{name} of {mount}"),
    }
}

/// `40 s`, `3 min`, `5 h`.
fn time(value: f64) -> String {
    match value {
        value if value < 90.0 => seconds(value.round()),
        value if value < 5400.0 => format!("{:.0} min", value / 60.0),
        value => format!("{:.0} h", value / 3600.0),
    }
}

#[cfg(test)]
#[path = "pressure_tests.rs"]
mod tests;
