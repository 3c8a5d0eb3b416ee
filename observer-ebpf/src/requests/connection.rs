//! A connection: its state, kept with the socket, its ends, its end.

use observer_common::offsets::MISSING;
use observer_common::requests::{Closed, Connection, Opened, Tag, protocol_state, transport};

use super::socket::{Socket, Trusted, field, peek};
use super::{record, tls};
use crate::kernel::{now, offset};

/// `AF_UNIX`, `AF_INET`, `AF_INET6` of include/linux/socket.h.
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `IPPROTO_TCP` and `IPPROTO_UDP` of include/uapi/linux/in.h.
const TCP: u16 = 6;
const UDP: u16 = 17;
/// `SOCK_STREAM` of include/linux/net.h.
const STREAM: u16 = 1;
/// `::ffff:0:0/96`, the second half of the address but for the IPv4 part.
const MAPPED: u32 = u32::from_be_bytes([0, 0, 0xff, 0xff]).to_be();

/// Sockets that can carry requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// A Unix domain stream socket.
    Unix,
}

/// Which kind of socket it is, if any of these.
#[inline(always)]
pub fn kind_of(sk: impl Socket) -> Option<Kind> {
    match field!(sk, sock_family, u16) {
        AF_INET | AF_INET6 => match field!(sk, sock_protocol, u16) {
            TCP => Some(Kind::Tcp),
            UDP => Some(Kind::Udp),
            _ => None,
        },
        AF_UNIX if field!(sk, sock_type, u16) == STREAM => Some(Kind::Unix),
        _ => None,
    }
}

/// Says who is connected.
#[inline(always)]
pub fn describe(opened: &mut Opened, sk: impl Socket, kind: Kind) {
    opened.netns = 0;
    opened.family = 0;
    opened.local_port = 0;
    opened.peer_port = 0;
    if matches!(kind, Kind::Unix) {
        opened.transport = transport::UNIX;
        opened.local = [sk.address(), 0];
        opened.peer = [sk.unix_peer(), 0];
        return;
    }
    opened.transport = if matches!(kind, Kind::Tcp) {
        transport::TCP
    } else {
        transport::UDP
    };
    let peer = field!(sk, sock_v6_daddr, [u64; 2]);
    let mapped = peer[0] == 0 && peer[1] as u32 == MAPPED;
    if field!(sk, sock_family, u16) == AF_INET || mapped {
        opened.family = 4;
        opened.local = [u64::from(field!(sk, sock_saddr, u32)), 0];
        opened.peer = [u64::from(field!(sk, sock_daddr, u32)), 0];
    } else {
        opened.family = 6;
        opened.local = field!(sk, sock_v6_saddr, [u64; 2]);
        opened.peer = peer;
    }
    opened.local_port = field!(sk, sock_num, u16);
    opened.peer_port = u16::from_be(field!(sk, sock_dport, u16));
    if offset!(sock_net_inum) != MISSING {
        opened.netns = peek(field!(sk, sock_net, u64) + u64::from(offset!(sock_net_inum)));
    }
}

/// Tells of a connection's end, once.
#[inline(always)]
pub fn ends(sk: Trusted) {
    let Some(connection) = sk.state(false) else {
        return;
    };
    if connection.announced == 0 || connection.closed != 0 {
        return;
    }
    connection.closed = 1;
    if connection.protocol == protocol_state::TLS_RECORDS {
        tls::forget(connection.id);
    }
    record::closed(&Closed {
        tag: Tag::Closed as u32,
        error: field!(sk, sock_err, u32),
        connection: connection.id,
        at: now(),
    });
}

/// A socket connects for a request, or for nobody's (0).
#[inline(always)]
pub fn begin(sk: Trusted, request: u64) {
    // One that connects again begins anew.
    let Some(connection) = sk.state(request != 0) else {
        return;
    };
    *connection = Connection {
        request,
        connected: (request != 0) as u8,
        ..Connection::NEW
    };
}
