//! The span of a connection, made at its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use observer_common::tcp::{
    ABORTED, Connection, EVENTS, Event, Family, NOT_SENT, RECEIVED, Role, SENT,
};

use super::metrics::{direction, error_type, network_type, retransmit_name};
use observer_signals::WallClock;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Span, SpanEvent, SpanKind, SpanStatus, Value};

/// Makes the span.
pub(super) fn span(connection: &Connection, clock: WallClock, resource: SharedResource) -> Span {
    let kind = match connection.role {
        role if role == Role::Client as u8 => SpanKind::Client,
        role if role == Role::Server as u8 => SpanKind::Server,
        _ => SpanKind::Internal,
    };
    let remembered = (connection.event_count as usize).min(EVENTS);
    let events = connection.events.iter().take(remembered);
    Span {
        resource,
        trace_id: random(),
        span_id: random(),
        parent_span_id: [0; 8],
        name: "tcp connection".into(),
        kind,
        start: clock.wall(connection.started),
        // The reset of a connection given up comes after its end.
        end: clock.wall(
            events
                .clone()
                .fold(connection.ended, |end, event| end.max(event.time)),
        ),
        attributes: attributes(connection),
        events: events.map(|event| span_event(event, clock)).collect(),
        dropped_events: connection.event_count - remembered as u32,
        status: status(connection),
    }
}

/// Random bytes, never all zero: that would mean "none".
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fastrand::fill(&mut bytes);
    let none = bytes == [0; N];
    if let Some(last) = bytes.last_mut() {
        *last |= u8::from(none);
    }
    bytes
}

fn attributes(connection: &Connection) -> Vec<Attribute> {
    let (local, peer) = (
        address(connection.family, connection.local),
        address(connection.family, connection.peer),
    );
    let mut attributes = vec![
        Attribute::new("network.transport", "tcp"),
        Attribute::new("network.local.address", local.to_string()),
        Attribute::new("network.peer.address", peer.to_string()),
        Attribute::new("observer.tcp.bytes.sent", connection.sent),
        Attribute::new("observer.tcp.bytes.received", connection.received),
        Attribute::new("observer.tcp.retransmits", connection.segments),
    ];
    for (key, port) in [
        ("network.local.port", connection.local_port),
        ("network.peer.port", connection.peer_port),
    ] {
        attributes.push(Attribute::new(key, u32::from(u16::from_be(port))));
    }
    if let Some(network) = network_type(connection.family) {
        attributes.push(Attribute::new("network.type", network));
    }
    if connection.tgid != 0 {
        attributes.push(Attribute::new("process.pid", connection.tgid));
    }
    if connection.srtt_us != 0 {
        let seconds = f64::from(connection.srtt_us) / 1e6;
        attributes.push(Attribute::new("observer.tcp.rtt", seconds));
    }
    if connection.established != 0 && connection.role == Role::Client as u8 {
        let took = connection.established.saturating_sub(connection.started);
        let seconds = took as f64 / 1e9;
        attributes.push(Attribute::new("observer.tcp.connect.duration", seconds));
    }
    if connection.older != 0 {
        // The span's start is when the daemon first saw it.
        attributes.push(Attribute::new("observer.tcp.older_than_observer", true));
    }
    if connection.error != 0 {
        attributes.push(Attribute::new("error.type", error_type(connection.error)));
    }
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}

/// An address from the kernel's bytes, which are in network order.
fn address(family: u8, words: [u64; 2]) -> IpAddr {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&words[1].to_ne_bytes());
    if family == Family::V6 as u8 {
        Ipv6Addr::from(bytes).into()
    } else {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
    }
}

fn span_event(event: &Event, clock: WallClock) -> SpanEvent {
    let time = clock.wall(event.time);
    let kind = event.kind as u8;
    if kind == SENT || kind == RECEIVED {
        SpanEvent {
            time,
            name: "tcp.reset",
            attributes: vec![Attribute::new("network.io.direction", direction(kind))],
        }
    } else {
        SpanEvent {
            time,
            name: "tcp.retransmit",
            attributes: vec![
                Attribute::new("network.tcp.retransmit.type", retransmit_name(kind)),
                Attribute::new("observer.tcp.retransmits", event.segments),
            ],
        }
    }
}

fn status(connection: &Connection) -> SpanStatus {
    match connection.error {
        0 => SpanStatus::Unset,
        ABORTED => SpanStatus::Error("given up before it was established".into()),
        NOT_SENT => SpanStatus::Error("no packet could be sent".into()),
        errno => SpanStatus::Error(match error_type(errno) {
            Value::String(name) => name.into_owned(),
            _ => errno.to_string(),
        }),
    }
}
