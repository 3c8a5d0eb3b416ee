//! TCP health of the host, in a few lines.

use std::collections::BTreeMap;

use super::format::{bytes, count, heading, percent, quantile, wrapped};
use super::ranking::Ranking;
use super::view::{View, attribute, label, number};
use super::{Interval, Shown};

/// The section; `None` without traffic.
pub fn section(view: &View<'_>, interval: &Interval<'_>) -> Option<Shown> {
    let sum = |name: &str| view.sum(name, |_, _| true);
    let directed = |name: &str, direction: &str| {
        view.sum(name, |_, p| {
            attribute(p, "network.io.direction") == direction
        })
    };
    let opened = sum("observer.tcp.connections.opened");
    let accepted = sum("observer.tcp.connections.accepted");
    let failed = by(view, "observer.tcp.connections.failed", "error.type");
    let sent = directed("observer.tcp.io", "transmit");
    let received = directed("observer.tcp.io", "receive");
    let retransmits = by(
        view,
        "observer.tcp.retransmits",
        "network.tcp.retransmit.type",
    );
    let failures: f64 = failed.values().sum();
    let resent: f64 = retransmits.values().sum();
    if opened + accepted + failures + sent + received + resent == 0.0 {
        return None;
    }
    let connect = view.histogram("observer.tcp.connect.duration", |_, _| true);
    let rtt = view.histogram("observer.tcp.rtt", |_, _| true);
    let states = by(view, "observer.tcp.connections", "network.connection.state");
    let mut out = heading("TCP", interval);
    out.end_line();
    let mut tell = |line: String| out.push(wrapped(line, interval.width));
    tell(format!(
        "  connections: {} opened, {} accepted, {} failed{}; now {}",
        count(opened),
        count(accepted),
        count(failures),
        listed(&failed),
        listed(&states).trim_matches([' ', '(', ')']),
    ));
    tell(format!(
        "  sent {}/s, received {}/s; retransmitted segments {}{}; resets {} sent, {} received",
        bytes(sent / interval.seconds),
        bytes(received / interval.seconds),
        count(resent),
        listed(&retransmits),
        count(directed("observer.tcp.resets", "transmit")),
        count(directed("observer.tcp.resets", "receive")),
    ));
    tell(format!(
        "  handshake p50 {}, p99 {}; round trip p50 {}, p99 {}",
        quantile(connect.quantile(0.5)),
        quantile(connect.quantile(0.99)),
        quantile(rtt.quantile(0.5)),
        quantile(rtt.quantile(0.99)),
    ));
    for (what, metric) in [
        ("retransmitted by", "observer.tcp.retransmits"),
        ("resets by", "observer.tcp.resets"),
        ("failed connections by", "observer.tcp.connections.failed"),
    ] {
        let mut whose = Ranking::default();
        for (resource, point) in view.points(metric) {
            whose.add(label(resource), number(point));
        }
        let all = sum(metric);
        let text = whose.text(|n| {
            let (rate, share) = (count(n / interval.seconds), percent(n / all));
            format!("{} ({rate}/s, {share})", count(n))
        });
        if !text.is_empty() {
            tell(format!("  {what} {text}"));
        }
    }
    Some(out)
}

/// Sums of a metric by one attribute, without zeros.
fn by<'a>(view: &View<'a>, name: &str, key: &str) -> BTreeMap<&'a str, f64> {
    let mut sums = BTreeMap::new();
    for (_, point) in view.points(name) {
        *sums.entry(attribute(point, key)).or_default() += number(point);
    }
    sums.retain(|_, n| *n != 0.0);
    sums
}

/// ` (a 3, b 1)`, largest first; nothing if there is nothing.
fn listed(sums: &BTreeMap<&str, f64>) -> String {
    if sums.is_empty() {
        return String::new();
    }
    let mut sums: Vec<_> = sums.iter().collect();
    sums.sort_by(|a, b| b.1.total_cmp(a.1));
    let shown: Vec<String> = sums
        .iter()
        .map(|(name, n)| format!("{name} {}", count(**n)))
        .collect();
    format!(" ({})", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::testing::{definition, point, service, words};
    use observer_signals::{MetricDef, PointValue};

    static RETRANSMITS: MetricDef = definition("observer.tcp.retransmits");
    static FAILED: MetricDef = definition("observer.tcp.connections.failed");

    /// Checks that those are named whose segments were sent again and whose connections
    /// failed, by rate and share, on terminals of all widths.
    #[test]
    fn sufferers_are_named() {
        let of = |(key, value), n| vec![point(&[(key, value)], PointValue::Int(n))];
        let timeouts = |n| {
            (
                &RETRANSMITS,
                of(("network.tcp.retransmit.type", "timeout"), n),
            )
        };
        let refused = (&FAILED, of(("error.type", "ECONNREFUSED"), 1));
        let metrics = [
            service("far", [timeouts(60), refused]),
            service("near", [timeouts(20)]),
            service("well", [timeouts(0)]),
        ];
        for width in [80, 100, 120, 200] {
            let words = words(section, &metrics, width);
            for expected in [
                "retransmitted segments 80 (timeout 80)",
                "retransmitted by far 60 (6/s, 75 %), near 20 (2/s, 25 %)",
                "failed connections by far 1 (0.1/s, 100 %)",
            ] {
                assert!(words.contains(expected), "{expected}: {words}");
            }
            assert!(
                !words.contains("well") && !words.contains("resets by"),
                "{words}"
            );
        }
    }
}
