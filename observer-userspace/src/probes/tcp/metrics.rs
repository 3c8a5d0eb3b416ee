//! Metrics of TCP: what they are called, and how tallies become points.

use observer_common::tally::Kind;
use observer_common::tcp::{
    ABORTED, Family, NOT_SENT, RECEIVED, Retransmit, Role, SENT, split_label, state,
};
use observer_common::workload::WorkloadId;

use crate::kernel::syscall_names::errno_name;
use crate::probes::{MetricBuilder, Tick};
use observer_signals::{Attribute, Instrument, MetricDef, PointValue, UnixNanos, Value};

const NETWORK: (&str, &str) = (
    "network.type",
    "`ipv4` or `ipv6`: what is on the wire; absent when there was no socket",
);
const ROLE: (&str, &str) = (
    "network.connection.role",
    "`client` or `server`; absent for connections older than the daemon",
);
const RETRANSMIT_TYPE: (&str, &str) = (
    "network.tcp.retransmit.type",
    "`syn`, `synack`, `fast` (acknowledgements told of a loss), `timeout` (the timer ran out, and the recovery from that), `tail_loss_probe`, or `unknown`",
);
const DIRECTION: (&str, &str) = ("network.io.direction", "`transmit` or `receive`");

/// Retransmitted segments.
pub static RETRANSMITS: MetricDef = MetricDef {
    name: "observer.tcp.retransmits",
    unit: "{segment}",
    instrument: Instrument::Counter,
    description: "Segments that were sent again, as the kernel's own `RetransSegs` counts them.",
    attributes: &[RETRANSMIT_TYPE, NETWORK],
};

/// Retransmits.
pub static RETRANSMIT_EVENTS: MetricDef = MetricDef {
    name: "observer.tcp.retransmit.events",
    unit: "{event}",
    instrument: Instrument::Counter,
    description: "Times that something was sent again; one such event may be several segments.",
    attributes: &[RETRANSMIT_TYPE, NETWORK],
};

/// Resets.
pub static RESETS: MetricDef = MetricDef {
    name: "observer.tcp.resets",
    unit: "{reset}",
    instrument: Instrument::Counter,
    description: "Resets (RST) sent and received. Those that answer a packet for which there is no socket have no workload and are the host's.",
    attributes: &[DIRECTION, NETWORK],
};

/// Outgoing connections.
pub static OPENED: MetricDef = MetricDef {
    name: "observer.tcp.connections.opened",
    unit: "{connection}",
    instrument: Instrument::Counter,
    description: "Connections that the workload opened, counted when they are established.",
    attributes: &[NETWORK],
};

/// Incoming connections.
pub static ACCEPTED: MetricDef = MetricDef {
    name: "observer.tcp.connections.accepted",
    unit: "{connection}",
    instrument: Instrument::Counter,
    description: "Connections that others opened to a listener of the workload, counted when they are established.",
    attributes: &[NETWORK],
};

/// Connections that weren't.
pub static FAILED: MetricDef = MetricDef {
    name: "observer.tcp.connections.failed",
    unit: "{connection}",
    instrument: Instrument::Counter,
    description: "Connections that ended before they were established. A connect that fails before the kernel chose a route (`ENETUNREACH`) is none; it is a failed syscall.",
    attributes: &[
        (
            "error.type",
            "Name of the errno, e.g. `ECONNREFUSED`, `ETIMEDOUT`; `aborted` when the application gave up first, `not_sent` when not even one packet was sent (no free port)",
        ),
        ROLE,
        NETWORK,
    ],
};

/// Ended connections.
pub static CLOSED: MetricDef = MetricDef {
    name: "observer.tcp.connections.closed",
    unit: "{connection}",
    instrument: Instrument::Counter,
    description: "Established connections that ended.",
    attributes: &[
        (
            "error.type",
            "Name of the errno with which it ended, e.g. `ECONNRESET`; absent when it ended in order",
        ),
        ROLE,
        NETWORK,
    ],
};

/// Handshakes.
pub static HANDSHAKE: MetricDef = MetricDef {
    name: "observer.tcp.connect.duration",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Duration of the handshake: for a client the time that a blocking connect took (from SYN to established when it doesn't block, or syscalls aren't observed; not counted when a signal interrupted it); for a server from its SYN-ACK to the client's ACK (not counted when the SYN-ACK had to be sent again).",
    attributes: &[ROLE, NETWORK],
};

/// Lifetimes.
pub static DURATION: MetricDef = MetricDef {
    name: "observer.tcp.connection.duration",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Time from established to the end, of connections newer than the daemon.",
    attributes: &[ROLE, NETWORK],
};

/// Round trips.
pub static RTT: MetricDef = MetricDef {
    name: "observer.tcp.rtt",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Smoothed round-trip time: one sample per connection and interval in which the peer acknowledged something, and one at its end.",
    attributes: &[NETWORK],
};

/// Payload.
pub static BYTES: MetricDef = MetricDef {
    name: "observer.tcp.io",
    unit: "By",
    instrument: Instrument::Counter,
    description: "Payload bytes: sent, each once however often it was sent again, and received in order.",
    attributes: &[DIRECTION, NETWORK],
};

/// Sockets by state.
pub static CONNECTIONS: MetricDef = MetricDef {
    name: "observer.tcp.connections",
    unit: "{connection}",
    instrument: Instrument::UpDownCounter,
    description: "Connections and listeners by state. Those in `time_wait` belong to no process any more: they are counted for the host, in the daemon's network namespace.",
    attributes: &[
        (
            "network.connection.state",
            "`established`, `listen`, `syn_sent`, `syn_received`, `fin_wait_1`, `fin_wait_2`, `close_wait`, `closing`, `last_ack`, `time_wait`",
        ),
        NETWORK,
    ],
};

/// All of them.
pub(super) static METRICS: &[&MetricDef] = &[
    &RETRANSMITS,
    &RETRANSMIT_EVENTS,
    &RESETS,
    &OPENED,
    &ACCEPTED,
    &FAILED,
    &CLOSED,
    &HANDSHAKE,
    &DURATION,
    &RTT,
    &BYTES,
    &CONNECTIONS,
];

/// Adds what the kernel counted.
pub(super) fn tallies(tick: &Tick<'_>, out: &mut MetricBuilder) {
    for (series, tally) in &tick.tallies.histograms {
        let def = match series.kind {
            kind if kind == Kind::TcpHandshake as u8 => &HANDSHAKE,
            kind if kind == Kind::TcpConnection as u8 => &DURATION,
            kind if kind == Kind::TcpRtt as u8 => &RTT,
            _ => continue,
        };
        let (role, family, _) = split_label(series.label);
        let mut attributes = Vec::with_capacity(2);
        push_role(&mut attributes, role);
        push_network(&mut attributes, family);
        let value = PointValue::Histogram(tally.to_histogram());
        let start = tick.clock.wall(tally.since);
        out.workload(series.workload, def, attributes, start, value);
    }
    for (series, tally) in &tick.tallies.counters {
        let (what, family, error) = split_label(series.label);
        let mut attributes = Vec::with_capacity(3);
        if error != 0 {
            attributes.push(Attribute::new("error.type", error_type(error)));
        }
        let def = match series.kind {
            kind if kind == Kind::TcpRetransmitSegments as u8 => &RETRANSMITS,
            kind if kind == Kind::TcpRetransmitEvents as u8 => &RETRANSMIT_EVENTS,
            kind if kind == Kind::TcpResets as u8 => &RESETS,
            kind if kind == Kind::TcpBytes as u8 => &BYTES,
            kind if kind == Kind::TcpFailed as u8 => &FAILED,
            kind if kind == Kind::TcpClosed as u8 => &CLOSED,
            kind if kind == Kind::TcpOpened as u8 => {
                if what == Role::Server as u8 {
                    &ACCEPTED
                } else {
                    &OPENED
                }
            }
            _ => continue,
        };
        for (key, _) in def.attributes {
            match *key {
                key if key == ROLE.0 => push_role(&mut attributes, what),
                key if key == DIRECTION.0 => {
                    attributes.push(Attribute::new(key, direction(what)));
                }
                _ => {}
            }
        }
        // By name, as all points: "network.tcp…" comes before "network.type".
        if def.attributes.contains(&RETRANSMIT_TYPE) {
            attributes.push(Attribute::new(RETRANSMIT_TYPE.0, retransmit_name(what)));
        }
        push_network(&mut attributes, family);
        let start = tick.clock.wall(tally.since);
        let value = int(tally.value);
        if series.kind == Kind::TcpResets as u8 && family == Family::Unknown as u8 {
            out.host(def, attributes, start, value);
        } else {
            out.workload(series.workload, def, attributes, start, value);
        }
    }
}

/// Adds a workload's connections in a state.
pub(super) fn connections(
    workload: WorkloadId,
    state: u8,
    family: u8,
    count: u64,
    start: UnixNanos,
    out: &mut MetricBuilder,
) {
    let mut attributes = vec![state_attribute(state)];
    push_network(&mut attributes, family);
    out.workload(workload, &CONNECTIONS, attributes, start, int(count));
}

/// Adds connections that are nobody's.
pub(super) fn host_connections(state: u8, count: u64, start: UnixNanos, out: &mut MetricBuilder) {
    let attributes = vec![state_attribute(state)];
    out.host(&CONNECTIONS, attributes, start, int(count));
}

fn state_attribute(state: u8) -> Attribute {
    Attribute::new("network.connection.state", state::name(state))
}

fn int(value: u64) -> PointValue {
    PointValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn push_role(attributes: &mut Vec<Attribute>, role: u8) {
    if let Some(name) = role_name(role) {
        attributes.push(Attribute::new(ROLE.0, name));
    }
}

/// The value of `network.connection.role`.
pub(super) fn role_name(role: u8) -> Option<&'static str> {
    match role {
        r if r == Role::Client as u8 => Some("client"),
        r if r == Role::Server as u8 => Some("server"),
        _ => None,
    }
}

fn push_network(attributes: &mut Vec<Attribute>, family: u8) {
    if let Some(name) = network_type(family) {
        attributes.push(Attribute::new(NETWORK.0, name));
    }
}

/// The value of `network.type`.
pub(super) fn network_type(family: u8) -> Option<&'static str> {
    match family {
        f if f == Family::V4 as u8 => Some("ipv4"),
        f if f == Family::V6 as u8 => Some("ipv6"),
        _ => None,
    }
}

/// The value of `network.io.direction`.
pub(super) fn direction(what: u8) -> &'static str {
    match what {
        SENT => "transmit",
        RECEIVED => "receive",
        _ => "unknown",
    }
}

/// The value of `network.tcp.retransmit.type`.
pub(super) fn retransmit_name(what: u8) -> &'static str {
    Retransmit::ALL
        .iter()
        .find(|how| **how as u8 == what)
        .map_or("unknown", |how| how.name())
}

/// The value of `error.type`.
pub(super) fn error_type(error: u16) -> Value {
    match error {
        ABORTED => "aborted".into(),
        NOT_SENT => "not_sent".into(),
        errno => errno_name(u32::from(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names against numbers of the kernel's tables.
    #[test]
    fn names() {
        assert_eq!(error_type(111), "ECONNREFUSED".into());
        assert_eq!(error_type(NOT_SENT), "not_sent".into());
        assert_eq!(retransmit_name(Retransmit::SynAck as u8), "synack");
        assert_eq!(retransmit_name(99), "unknown");
        assert_eq!(direction(SENT), "transmit");
        assert_eq!(network_type(6), Some("ipv6"));
        assert_eq!(role_name(Role::Listener as u8), None);
    }
}
