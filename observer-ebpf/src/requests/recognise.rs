//! Recognising connections by their messages' first bytes.

use observer_common::requests::{
    Connection, Protocol, Sniffed, direction, flag, protocol_state, role,
};

use super::capture::Source;
use super::look::requests_look;
use super::record;
use super::sniff::{PROXY_SEEN, REQUEST_SEEN, TLS_SEEN};
use crate::kernel::setting;

/// Messages of a connection that are looked at before it is left alone.
const TRIES: u8 = 12;

/// Looks at a message's first bytes; true if they tell what the connection is.
#[inline(always)]
pub fn recognise(
    context: u32,
    connection: &mut Connection,
    source: &Source,
    datagram: bool,
    way: u8,
    length: u32,
) -> bool {
    let (shape, address) = source.place();
    let seen = requests_look(context, shape, address, length, datagram as u32);
    if seen == PROXY_SEEN {
        // What comes behind it takes the turn.
        connection.direction = 0;
        return false;
    }
    let Some(seen) = look(seen) else {
        connection.tries += 1;
        if connection.tries > TRIES {
            connection.protocol = protocol_state::IGNORED;
        }
        return false;
    };
    recognised(connection, seen, way);
    true
}

/// What a message looks like.
#[derive(Clone, Copy)]
enum Look {
    /// It begins like one of this protocol.
    Protocol(Sniffed),
    /// It is a record of TLS.
    Tls,
}

#[inline(always)]
fn look(seen: u32) -> Option<Look> {
    if seen == TLS_SEEN {
        return Some(Look::Tls);
    }
    let protocol = Protocol::from_number(seen as u8)?;
    if setting!(protocols) & (1 << (protocol as u32)) == 0 {
        return None;
    }
    Some(Look::Protocol(Sniffed {
        protocol,
        request: seen & REQUEST_SEEN != 0,
    }))
}

#[inline(always)]
fn recognised(connection: &mut Connection, seen: Look, way: u8) {
    let Look::Protocol(seen) = seen else {
        connection.protocol = protocol_state::TLS_RECORDS;
        return;
    };
    connection.protocol = seen.protocol as u8;
    connection.role = if seen.request == (way == direction::RECEIVED) {
        role::SERVER
    } else {
        role::CLIENT
    };
    if Protocol::only_clients(connection.protocol) && connection.role == role::SERVER {
        connection.protocol = protocol_state::IGNORED;
        return;
    }
    if connection.tries != 0 || !seen.request {
        connection.flags |= flag::MIDSTREAM;
    }
    if connection.id == 0 {
        connection.id = record::number();
    }
}
