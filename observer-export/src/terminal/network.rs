//! The network as one resource: how much of its interfaces is used, what waits, what is
//! lost, and whose.

use std::collections::BTreeMap;

use observer_signals::{MetricPoint, Resource};

use super::Interval;
use super::format::{bytes, count, percent};
use super::ranking::Ranking;
use super::view::{View, attribute, label, number};

const INTERFACE: &str = "network.interface.name";
const DROPS: &str = "observer.net.drops";
const REASON: &str = "observer.net.drop.reason";
/// Not a way out of the host.
const LOOPBACK: &str = "lo";
/// From this share of an interface's speed on the network is called saturated.
const MUCH_USED: f64 = 0.8;

/// The network's figures; `None` where nobody observes them.
pub(super) struct Network {
    /// Of the busiest interface: the share of its speed, or bytes a second where that isn't
    /// known.
    pub used: Option<String>,
    /// What was sent again, and came to a full queue.
    pub waited: Option<String>,
    /// Connections and packets that came to nothing.
    pub errors: Option<String>,
    pub is_saturated: bool,
    /// Who, with what of them is meant.
    pub by: [(&'static str, String); 2],
}

impl Network {
    /// The interval's.
    pub(super) fn of(view: &View<'_>, interval: &Interval<'_>) -> Self {
        let has = |names: &[&str]| names.iter().any(|name| view.points(name).next().is_some());
        let sum = |name: &str| view.sum(name, |_, _| true);
        let rate = |n: f64| format!("{}/s", count(n / interval.seconds));
        // Where nothing was added in the interval a count's point isn't there; levels are.
        let is_net = has(&["observer.net.interface.queue.limit", "system.network.io"]);
        let (used, share) = used(view, interval);
        let is_tcp = has(&["observer.tcp.connections", "observer.tcp.io"]);
        let again = sum("observer.tcp.retransmits");
        // All of `listen`, of which `accept` is a part.
        let full = view.sum("observer.net.queue.overflows", |_, p| {
            attribute(p, "observer.net.queue.type") != "accept"
        });
        let mut waited = Vec::new();
        if is_tcp || again > 0.0 {
            waited.push(format!("resent {}", rate(again)));
        }
        if is_net || full > 0.0 {
            waited.push(format!("full queues {}", rate(full)));
        }
        let failed = sum("observer.tcp.connections.failed") + sum("observer.tcp.resets");
        let dropped = view.sum(DROPS, |_, point| is_trouble(point));
        let broken = sum("system.network.errors");
        let mut errors = Vec::new();
        if is_tcp || failed > 0.0 {
            errors.push(count(failed));
        }
        if is_net || dropped > 0.0 {
            errors.push(format!("{} dropped", count(dropped)));
        }
        if broken > 0.0 {
            errors.push(format!("{} broken", count(broken)));
        }
        let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
        let mut resent = Ranking::default();
        for (resource, point) in view.points("observer.tcp.retransmits") {
            resent.add(label(resource), number(point));
        }
        let mut drops = Ranking::default();
        for (resource, point) in view.points(DROPS).filter(|(_, p)| is_trouble(p)) {
            drops.add(whose(resource, point), number(point));
        }
        Self {
            used: is_net.then_some(used),
            waited: joined(waited),
            errors: joined(errors),
            is_saturated: again > 0.0 || full > 0.0 || dropped > 0.0 || share >= MUCH_USED,
            by: [
                ("resent: ", resent.text(rate)),
                ("dropped: ", drops.text(rate)),
            ],
        }
    }
}

/// Whether anybody misses what was dropped: not what a socket still held when its program
/// closed it, nor what came twice (include/net/dropreason-core.h).
fn is_trouble(point: &MetricPoint) -> bool {
    let harmless = ["QUEUE_PURGE", "TCP_OLD_DATA"];
    !harmless.contains(&attribute(point, REASON))
}

/// Whose a dropped packet is, and why it was dropped.
fn whose(resource: &Resource, point: &MetricPoint) -> String {
    let reason = attribute(point, REASON);
    let interface = attribute(point, INTERFACE);
    // Workloads say whence they have their name; the host doesn't.
    let is_hosts = resource.get_str("observer.service.name.source").is_none();
    match (is_hosts, interface) {
        (false, _) => format!("{} {reason}", label(resource)),
        (true, "") => format!("nobody's {reason}"),
        (true, interface) => format!("{interface} {reason}"),
    }
}

/// How much the busiest interface is used, as text and as a share of its speed (0: not
/// known): both ways each have the whole speed.
fn used(view: &View<'_>, interval: &Interval<'_>) -> (String, f64) {
    let mut speeds: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, point) in view.points("observer.net.interface.speed") {
        speeds.insert(attribute(point, INTERFACE), number(point));
    }
    let (mut share, mut most) = (0.0_f64, 0.0_f64);
    for (_, point) in view.points("system.network.io") {
        let interface = attribute(point, INTERFACE);
        let each = number(point) / interval.seconds;
        if interface == LOOPBACK {
            continue;
        }
        most = most.max(each);
        if let Some(speed) = speeds.get(interface).filter(|speed| **speed > 0.0) {
            share = share.max(each * 8.0 / speed);
        }
    }
    let text = match speeds.keys().any(|name| *name != LOOPBACK) {
        true => percent(share),
        false => format!("{}/s", bytes(most)),
    };
    (text, share)
}

#[cfg(test)]
mod tests {
    use observer_signals::{MetricDef, PointValue};

    use super::*;
    use crate::terminal::testing::{definition, point, service};

    static IO: MetricDef = definition("system.network.io");
    static SPEED: MetricDef = definition("observer.net.interface.speed");
    static DROPPED: MetricDef = definition(DROPS);
    static OVERFLOWS: MetricDef = definition("observer.net.queue.overflows");

    /// Checks use with and without a known speed, what is lost and where, and that nothing
    /// is made up where nobody observes it.
    #[test]
    fn what_is_used_and_lost() {
        let interval = Interval {
            seconds: 10.0,
            ..Interval::default()
        };
        let of = |pairs: &[(&'static str, &'static str)], n| point(pairs, PointValue::Int(n));
        let nothing = Network::of(&View::new(&[]), &interval);
        assert!(nothing.used.is_none() && nothing.waited.is_none() && nothing.errors.is_none());
        assert!(!nothing.is_saturated);

        let io = vec![
            of(&[(INTERFACE, "eth0")], 125_000_000),
            of(&[(INTERFACE, "lo")], 900_000_000_000),
        ];
        let drop = [(INTERFACE, "eth0"), (REASON, "NO_SOCKET")];
        let closed = [(INTERFACE, "eth0"), (REASON, "QUEUE_PURGE")];
        let accept = of(&[("observer.net.queue.type", "accept")], 20);
        let listen = of(&[("observer.net.queue.type", "listen")], 30);
        let mut metrics = vec![
            (&IO, io),
            (&DROPPED, vec![of(&drop, 50), of(&closed, 70)]),
            (&OVERFLOWS, vec![accept, listen]),
        ];
        let host = [service("observer", metrics.clone())];
        let network = Network::of(&View::new(&host), &interval);
        assert_eq!(network.used.as_deref(), Some("11.9 MiB/s"));
        assert_eq!(network.waited.as_deref(), Some("full queues 3/s"));
        assert_eq!(network.errors.as_deref(), Some("50 dropped"));
        assert_eq!(network.by[1].1, "eth0 NO_SOCKET 5/s");
        metrics.push((&SPEED, vec![of(&[(INTERFACE, "eth0")], 1_000_000_000)]));
        let host = [service("observer", metrics)];
        let network = Network::of(&View::new(&host), &interval);
        assert_eq!(network.used.as_deref(), Some("10 %"));
    }
}
