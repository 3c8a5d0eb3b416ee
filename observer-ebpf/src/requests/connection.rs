//! A connection: its state, kept with the socket, its ends, its end.

use observer_common::offsets::MISSING;
use observer_common::requests::{Closed, Connection, Opened, Tag, flag, transport};

use super::record;
use super::socket::{AF_INET, Kind, Socket, Trusted, field};
use crate::kernel::{now, offset, peek};

/// `::ffff:0:0/96`, the second half of the address but for the IPv4 part.
const MAPPED: u32 = u32::from_be_bytes([0, 0, 0xff, 0xff]).to_be();

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

/// Tells of a connection's end, once, which leaves the state `was` (`TCP_…`);
/// returns it if it just ended.
#[inline(always)]
pub fn ends(sk: Trusted, was: u8) -> Option<&'static Connection> {
    let connection = sk.state(false)?;
    if connection.announced == 0 || connection.closed != 0 {
        return None;
    }
    connection.closed = 1;
    record::closed(&Closed {
        tag: Tag::Closed as u32,
        error: field!(sk, sock_err, u32),
        connection: connection.id,
        at: now(),
        was: was.into(),
        padding: 0,
    });
    Some(connection)
}

/// A socket connects for a request, as a [`context`] says, or for nobody's (0).
///
/// [`context`]: observer_common::requests::context
#[inline(always)]
pub fn begin(sk: Trusted, request: u64, how: u8) {
    // One that connects again begins anew.
    let Some(connection) = sk.state(request != 0) else {
        return;
    };
    *connection = Connection {
        request,
        connected: how,
        ..Connection::NEW
    };
}

/// Notes which way the bytes went; true if that is another than before.
#[inline(always)]
pub fn turned(connection: &mut Connection, way: u8) -> bool {
    let turned = connection.direction != way + 1;
    connection.direction = way + 1;
    if turned {
        connection.flags |= flag::TURN;
        connection.turns = connection.turns.wrapping_add(1);
        connection.head = 0;
    } else {
        connection.flags &= !flag::TURN;
    }
    turned
}
