//! The metrics of the family, and what becomes of its tallies.

use std::collections::BTreeMap;

use observer_common::net::{Datagram, Direction, Drop, owner};
use observer_common::tally::Kind;
use observer_common::tcp::Family;
use observer_signals::{Attribute, Instrument, MetricDef, PointValue};

use Instrument::{Counter, Gauge};

use super::reasons::Reasons;
use crate::probes::{MetricBuilder, Tick};

/// The attribute that has the kernel's reason.
pub const REASON: &str = "observer.net.drop.reason";
/// The attribute that has the interface.
pub const INTERFACE: &str = "network.interface.name";
/// The attribute that has the direction.
pub const DIRECTION: &str = "network.io.direction";
/// The attribute that has the kind of a queue.
pub const QUEUE: &str = "observer.net.queue.type";
/// The attribute that has the transport.
const TRANSPORT: &str = "network.transport";
/// The attribute that has the address family.
pub const NETWORK: &str = "network.type";
/// The attribute that has an error.
pub const ERROR: &str = "error.type";

type Attributes = &'static [(&'static str, &'static str)];

const WAY: (&str, &str) = (DIRECTION, "`transmit` or `receive`");
const OF_INTERFACE: (&str, &str) = (
    INTERFACE,
    "The interface, in Observer's network namespace (the host's, as it is installed)",
);
const PER_INTERFACE: Attributes = &[OF_INTERFACE, WAY];
const PER_DATAGRAM: Attributes = &[
    WAY,
    (TRANSPORT, "`udp`, `icmp`, `other` (raw sockets, UDP-Lite)"),
    (
        NETWORK,
        "The socket's address family: `ipv4`, `ipv6` (also with mapped IPv4 addresses)",
    ),
];

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = ($name:literal, $unit:literal, $kind:ident, $attributes:expr, $description:literal);)*) => {
        $(
            $(#[$doc])*
            pub static $id: MetricDef = MetricDef {
                name: $name,
                unit: $unit,
                instrument: $kind,
                description: $description,
                attributes: $attributes,
            };
        )*
        /// All of them.
        pub(super) static ALL: &[&MetricDef] = &[$(&$id),*];
    };
}

metrics! {
    /// Drops.
    DROPS = ("observer.net.drops", "{packet}", Counter, &[
        (REASON, "The kernel's own reason, its `SKB_DROP_REASON_` left out: `NO_SOCKET`, `SOCKET_RCVBUFF`, `NETFILTER_DROP`, …; `SUBSYSTEM_n_m` is reason m of a module's own; `untold` before Linux 5.17"),
        (INTERFACE, "Of packets without an owner: the interface that they came by or were to leave by, if it is in Observer's network namespace and one of the first 1023"),
        (DIRECTION, "`receive`: it had come in by an interface; `transmit`: it hadn't"),
    ], "Packets that the kernel dropped (tracepoint `kfree_skb`), counted as packets on the wire: of what GRO or GSO has put together each. A packet is its socket's owner's if it has a socket, else the host's; so are the first ones of a socket by which nothing was sent or received yet, until its owner is found at the interval's end. Before Linux 6.11 the kernel doesn't tell for which socket a packet came in: such are the host's, too. What the kernel has consumed is no drop, nor are messages of Unix domain sockets and netlink.");
    /// Datagrams.
    DATAGRAMS = ("observer.net.datagrams", "{datagram}", Counter, PER_DATAGRAM,
        "Datagrams that programs sent and received, one for each successful call, or message of `sendmmsg` and `recvmmsg`. One that is cut by segmentation offload (`UDP_SEGMENT`) or put together (`UDP_GRO`, `MSG_MORE`) counts per call, and not per packet on the wire. Those that the kernel sends of its own (VXLAN, WireGuard) are nobody's and aren't in it. Linux 6.3 and newer.");
    /// Their bytes.
    DATAGRAM_IO = ("observer.net.datagram.io", "By", Counter, PER_DATAGRAM,
        "Bytes of `observer.net.datagrams`, without headers.");
    /// Errors.
    DATAGRAM_ERRORS = ("observer.net.datagram.errors", "{error}", Counter, &[
        (ERROR, "`no_port`: nobody listened; `receive_buffer_full`, `send_buffer_full`, `checksum`, `memory`; `other`"),
        (NETWORK, "`ipv4` or `ipv6`"),
    ], "UDP datagrams that came to nothing, as the kernel counts them (`/proc/net/snmp`, `/proc/net/snmp6`), since Observer's network namespace began. By workload they are in `observer.net.drops`.");
    /// Bytes.
    INTERFACE_IO = ("system.network.io", "By", Counter, PER_INTERFACE,
        "Bytes of interfaces (`/proc/net/dev`).");
    /// Packets.
    INTERFACE_PACKETS = ("system.network.packet.count", "{packet}", Counter, PER_INTERFACE,
        "Packets of interfaces (`/proc/net/dev`). Drivers of network cards count packets on the wire; virtual interfaces (veth, loopback, bridges) count what they hand on, of which GSO and GRO may have put many together.");
    /// Errors.
    INTERFACE_ERRORS = ("system.network.errors", "{error}", Counter, PER_INTERFACE,
        "Errors of interfaces (`/proc/net/dev`).");
    /// Drops.
    INTERFACE_DROPS = ("system.network.packet.dropped", "{packet}", Counter, PER_INTERFACE,
        "Packets that interfaces dropped (`/proc/net/dev`): the driver's count, for the most part. What the kernel dropped later is in `observer.net.drops` only.");
    /// Speed.
    SPEED = ("observer.net.interface.speed", "bit/s", Gauge, &[OF_INTERFACE],
        "Speed of an interface's link, if it has one and tells it (`/sys/class/net/*/speed`), read every minute.");
    /// Queue.
    QUEUE_LENGTH = ("observer.net.interface.queue.limit", "{packet}", Gauge, &[OF_INTERFACE],
        "Packets that may wait to be sent by an interface (`tx_queue_len`), read every minute.");
    /// Softnet.
    SOFTNET_PACKETS = ("observer.net.softnet.packets", "{packet}", Counter, &[],
        "Packets that the host's CPUs took in, since the boot (`/proc/net/softnet_stat`), after GRO.");
    /// Squeezes.
    SOFTNET_SQUEEZED = ("observer.net.softnet.squeezed", "{event}", Counter, &[],
        "Times that a CPU had to leave packets for later, as its time or number for one turn was used up, since the boot (`/proc/net/softnet_stat`).");
    /// Queues.
    OVERFLOWS = ("observer.net.queue.overflows", "{event}", Counter, &[
        (QUEUE, "`softnet`: a CPU's queue of packets; `accept`: connections that wait to be accepted (`ListenOverflows`); `listen`: all that listeners dropped, those of `accept` included (`ListenDrops`); `tcp_backlog`: packets for a socket that a program was busy with (`TCPBacklogDrop`)"),
    ], "Times that a queue was full and a packet was dropped for it: of the softnet queues since the boot, of the others since Observer's network namespace began (`/proc/net/netstat`).");
}

/// The value of `network.io.direction`.
fn direction(way: u8) -> &'static str {
    if way == Direction::Sent as u8 {
        "transmit"
    } else {
        "receive"
    }
}

/// The value of `network.transport`: `IPPROTO_*` of include/uapi/linux/in.h and in6.h.
fn transport(protocol: u8) -> &'static str {
    match protocol {
        17 => "udp",
        1 | 58 => "icmp",
        _ => "other",
    }
}

fn network(family: u8) -> &'static str {
    if family == Family::V4 as u8 {
        "ipv4"
    } else {
        "ipv6"
    }
}

/// A count as a point's value.
pub(super) fn int(value: u64) -> PointValue {
    PointValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Adds what the kernel half counted. `interface` knows the names of interfaces.
pub(super) fn tallies(
    tick: &Tick<'_>,
    reasons: &Reasons,
    interface: impl Fn(u32) -> Option<String>,
    out: &mut MetricBuilder,
) {
    // What is nobody's, put together by what is told of it.
    let mut nobodys: BTreeMap<(u32, Option<String>, u8), (u64, u64)> = BTreeMap::new();
    for (series, tally) in &tick.tallies.counters {
        let def = match series.kind {
            kind if kind == Kind::NetDatagrams as u8 => &DATAGRAMS,
            kind if kind == Kind::NetBytes as u8 => &DATAGRAM_IO,
            kind if kind == Kind::NetDrops as u8 => {
                let drop = Drop::of(series.label);
                if drop.owner == owner::KNOWN {
                    let attributes = of_drop(reasons, drop.reason, None, drop.direction);
                    let start = tick.clock.wall(tally.since);
                    out.workload(series.workload, &DROPS, attributes, start, int(tally.value));
                } else {
                    let key = (drop.reason, interface(drop.interface), drop.direction);
                    let (since, sum) = nobodys.entry(key).or_insert((tally.since, 0));
                    *since = tally.since.min(*since);
                    *sum += tally.value;
                }
                continue;
            }
            _ => continue,
        };
        let label = Datagram::of(series.label);
        let attributes = vec![
            Attribute::new(DIRECTION, direction(label.direction)),
            Attribute::new(TRANSPORT, transport(label.protocol)),
            Attribute::new(NETWORK, network(label.family)),
        ];
        let start = tick.clock.wall(tally.since);
        out.workload(series.workload, def, attributes, start, int(tally.value));
    }
    for ((reason, interface, way), (since, sum)) in nobodys {
        let attributes = of_drop(reasons, reason, interface, way);
        out.host(&DROPS, attributes, tick.clock.wall(since), int(sum));
    }
}

fn of_drop(reasons: &Reasons, reason: u32, interface: Option<String>, way: u8) -> Vec<Attribute> {
    let interface = interface.map(|name| Attribute::new(INTERFACE, name));
    let direction = Attribute::new(DIRECTION, direction(way));
    let reason = Attribute::new(REASON, reasons.name(reason));
    interface.into_iter().chain([direction, reason]).collect()
}
