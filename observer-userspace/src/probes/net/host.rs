//! What the kernel counts itself: of interfaces, of the queues of CPUs and listeners, of
//! datagrams that came to nothing.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use observer_common::net::INTERFACES;
use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, MetricDef, PointValue};

use super::metrics::{self as m, DIRECTION, ERROR, INTERFACE, NETWORK, QUEUE, int};
use crate::foreign::Foreign;
use crate::kernel::counters::column;

/// What of an interface hardly ever changes is read so often.
const LINK_PERIOD: Duration = Duration::from_secs(60);

/// Bits a second in the unit of `/sys/class/net/*/speed`.
const MEGABIT: u64 = 1_000_000;

/// A point without its begin and its resource.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub def: &'static MetricDef,
    pub attributes: SharedAttributes,
    pub value: PointValue,
}

/// What hardly ever changes of an interface.
#[derive(Clone, Copy, Debug)]
struct Link {
    index: u32,
    /// Bits a second.
    speed: Option<u64>,
    /// Packets.
    queue: Option<u64>,
    /// When it was read.
    at: Instant,
}

/// The figures as of the last reading.
#[derive(Debug, Default)]
pub(super) struct Host {
    figures: Vec<Figure>,
    links: HashMap<String, Link>,
}

impl Host {
    /// All figures.
    pub(super) fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// The interfaces that the kernel half tells apart, by their indices.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (u32, String)> + '_ {
        let links = self.links.iter();
        let told = links.filter(|(_, link)| link.index != 0 && link.index < INTERFACES);
        told.map(|(name, link)| (link.index, name.clone()))
    }

    /// Reads all. What isn't there isn't told.
    pub(super) fn read(&mut self, _: &Foreign) {
        let mut out = Vec::with_capacity(64);
        let devices = text("/proc/self/net/dev");
        let names: Vec<&str> = devices.lines().filter_map(device_name).collect();
        self.links.retain(|name, _| names.contains(&name.as_str()));
        for name in names {
            self.link(name, &mut out);
        }
        interfaces(&devices, &mut out);
        softnet(&text("/proc/self/net/softnet_stat"), &mut out);
        datagrams(
            &text("/proc/self/net/snmp"),
            &text("/proc/self/net/snmp6"),
            &mut out,
        );
        queues(&text("/proc/self/net/netstat"), &mut out);
        self.figures = out;
    }

    fn link(&mut self, name: &str, out: &mut Vec<Figure>) {
        let known = self.links.get(name).copied();
        let link = match known.filter(|link| link.at.elapsed() < LINK_PERIOD) {
            Some(link) => link,
            None => {
                let of = |what: &str| -> Option<u64> {
                    let path = format!("/sys/class/net/{name}/{what}");
                    fs::read_to_string(path).ok()?.trim().parse().ok()
                };
                Link {
                    index: of("ifindex").and_then(|n| n.try_into().ok()).unwrap_or(0),
                    // -1 where it isn't known; 0 from some drivers.
                    speed: of("speed").filter(|speed| *speed != 0),
                    queue: of("tx_queue_len"),
                    at: Instant::now(),
                }
            }
        };
        self.links.insert(name.to_owned(), link);
        let attributes = || vec![Attribute::new(INTERFACE, name.to_owned())];
        let speed = link.speed.map(|speed| speed.saturating_mul(MEGABIT));
        tell(&m::SPEED, attributes(), speed, out);
        tell(&m::QUEUE_LENGTH, attributes(), link.queue, out);
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn tell(
    def: &'static MetricDef,
    attributes: Vec<Attribute>,
    value: Option<u64>,
    out: &mut Vec<Figure>,
) {
    out.extend(value.map(|value| Figure {
        def,
        attributes: attributes.into(),
        value: int(value),
    }));
}

/// The name in a line of `/proc/net/dev`; two lines of heads have none.
fn device_name(line: &str) -> Option<&str> {
    let (name, _) = line.rsplit_once(": ").or_else(|| line.rsplit_once(':'))?;
    Some(name.trim())
}

/// `/proc/net/dev` (net/core/net-procfs.c): eight columns of what came in (bytes, packets,
/// errors, drops, …), then eight of what was sent in the same order.
fn interfaces(devices: &str, out: &mut Vec<Figure>) {
    for line in devices.lines() {
        let Some(name) = device_name(line) else {
            continue;
        };
        let Some((_, numbers)) = line.rsplit_once(':') else {
            continue;
        };
        let numbers: Vec<u64> = numbers
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        for (way, first) in [("receive", 0), ("transmit", 8)] {
            let defs = [
                &m::INTERFACE_IO,
                &m::INTERFACE_PACKETS,
                &m::INTERFACE_ERRORS,
                &m::INTERFACE_DROPS,
            ];
            for (def, value) in defs.into_iter().zip(numbers.iter().skip(first)) {
                let attributes = vec![
                    Attribute::new(INTERFACE, name.to_owned()),
                    Attribute::new(DIRECTION, way),
                ];
                tell(def, attributes, Some(*value), out);
            }
        }
    }
}

/// `/proc/net/softnet_stat` (net/core/net-procfs.c): a line for each CPU, of hexadecimal
/// numbers: packets, dropped since the queue was full, turns that were cut short.
fn softnet(stat: &str, out: &mut Vec<Figure>) {
    let sum = |column: usize| {
        let values = stat.lines().filter_map(|line| {
            let word = line.split_ascii_whitespace().nth(column)?;
            u64::from_str_radix(word, 16).ok()
        });
        values.reduce(u64::wrapping_add)
    };
    tell(&m::SOFTNET_PACKETS, Vec::new(), sum(0), out);
    let softnet = vec![Attribute::new(QUEUE, "softnet")];
    tell(&m::OVERFLOWS, softnet, sum(1), out);
    tell(&m::SOFTNET_SQUEEZED, Vec::new(), sum(2), out);
}

/// `/proc/net/snmp` and `snmp6` (include/uapi/linux/snmp.h). `InErrors` has all that came
/// in and wasn't delivered; what isn't said of it more exactly is `other`.
fn datagrams(snmp: &str, snmp6: &str, out: &mut Vec<Figure>) {
    let v4 = |name: &str| column(snmp, "Udp:", name);
    let v6 = |name: &str| {
        let name = format!("Udp6{name}");
        let mut lines = snmp6.lines().map(str::split_ascii_whitespace);
        lines.find_map(|mut words| {
            (words.next()? == name).then_some(())?;
            words.next()?.parse().ok()
        })
    };
    for family in ["ipv4", "ipv6"] {
        let of = |name: &str| match family {
            "ipv4" => v4(name),
            _ => v6(name),
        };
        let full = of("RcvbufErrors");
        let checksum = of("InCsumErrors");
        let memory = of("MemErrors");
        let known = [full, checksum, memory].into_iter().flatten().sum();
        let other = of("InErrors").map(|all| all.saturating_sub(known));
        for (error, count) in [
            ("no_port", of("NoPorts")),
            ("receive_buffer_full", full),
            ("send_buffer_full", of("SndbufErrors")),
            ("checksum", checksum),
            ("memory", memory),
            ("other", other),
        ] {
            let attributes = vec![
                Attribute::new(ERROR, error),
                Attribute::new(NETWORK, family),
            ];
            tell(&m::DATAGRAM_ERRORS, attributes, count, out);
        }
    }
}

fn queues(netstat: &str, out: &mut Vec<Figure>) {
    for (queue, name) in [
        ("accept", "ListenOverflows"),
        ("listen", "ListenDrops"),
        ("tcp_backlog", "TCPBacklogDrop"),
    ] {
        let attributes = vec![Attribute::new(QUEUE, queue)];
        let count = column(netstat, "TcpExt:", name);
        tell(&m::OVERFLOWS, attributes, count, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(figures: &[Figure], def: &MetricDef, with: &[&str]) -> Option<i64> {
        let is_it = |figure: &&Figure| {
            let has = |wanted: &&str| {
                let mut values = figure.attributes.iter().map(|a| &a.value);
                values.any(|value| *value == (*wanted).to_owned().into())
            };
            std::ptr::eq(figure.def, def) && with.iter().all(has)
        };
        match figures.iter().find(is_it)?.value {
            PointValue::Int(value) => Some(value),
            _ => None,
        }
    }

    /// Checks figures of files as the kernel writes them.
    #[test]
    fn files() {
        let mut out = Vec::new();
        let devices = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n\
                       \x20 eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\neth0:1: 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        interfaces(devices, &mut out);
        let of = |def, with: &[&str]| value_of(&out, def, with);
        assert_eq!(of(&m::INTERFACE_IO, &["eth0", "receive"]), Some(1));
        assert_eq!(of(&m::INTERFACE_IO, &["eth0:1", "receive"]), Some(9));
        assert_eq!(of(&m::INTERFACE_PACKETS, &["eth0", "transmit"]), Some(6));
        assert_eq!(of(&m::INTERFACE_ERRORS, &["eth0", "transmit"]), Some(7));
        assert_eq!(of(&m::INTERFACE_DROPS, &["eth0", "receive"]), Some(4));
        out.clear();
        softnet(
            "0000000a 00000001 00000002 0\n00000010 00000000 00000001 0\n",
            &mut out,
        );
        assert_eq!(value_of(&out, &m::SOFTNET_PACKETS, &[]), Some(26));
        assert_eq!(value_of(&out, &m::OVERFLOWS, &["softnet"]), Some(1));
        assert_eq!(value_of(&out, &m::SOFTNET_SQUEEZED, &[]), Some(3));
        out.clear();
        let snmp = "UdpLite: NoPorts\nUdpLite: 99\nUdp: InDatagrams NoPorts InErrors RcvbufErrors SndbufErrors InCsumErrors MemErrors\nUdp: 1 2 9 3 4 5 0\n";
        datagrams(snmp, "Udp6NoPorts   \t7\n", &mut out);
        let of = |with: &[&str]| value_of(&out, &m::DATAGRAM_ERRORS, with);
        assert_eq!(of(&["no_port", "ipv4"]), Some(2));
        assert_eq!(of(&["no_port", "ipv6"]), Some(7));
        assert_eq!(of(&["other", "ipv4"]), Some(1));
        assert_eq!(of(&["checksum", "ipv6"]), None);
        out.clear();
        queues(
            "TcpExt: ListenOverflows ListenDrops\nTcpExt: 1 2\n",
            &mut out,
        );
        assert_eq!(value_of(&out, &m::OVERFLOWS, &["listen"]), Some(2));
        assert_eq!(value_of(&out, &m::OVERFLOWS, &["tcp_backlog"]), None);
    }
}
