//! Sessions of TLS libraries, and the sockets that carry their records.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::requests::{
    Closed, Connection, Opened, SESSIONS, Session, SessionKey, Tag, TlsCall, TlsSocket, direction,
    flag, protocol_state,
};
use observer_common::slot::Slot;

use super::super::connection;
use super::super::record::{self, Scratch};
use super::super::socket::{Kind, Socket};
use crate::kernel::now;
use crate::loss::lost;
use crate::shares::{give_back, shares_take};

/// A handshake's record (RFC 8446, 5.1), of version 3.1 to 3.4: nothing that a
/// followed protocol could send instead.
const HANDSHAKE: u8 = 22;

/// Sessions that are tied to a socket. (The table never becomes so full that the kernel
/// forgets those that were used longest ago, but where a count is wrong.)
#[btf_map]
static TLS_SESSIONS: LruHashMap<SessionKey, Session, { SESSIONS as usize }> = LruHashMap::new();

/// By number: connections that carry TLS.
#[btf_map]
static TLS_SOCKETS: LruHashMap<u64, TlsSocket, { SESSIONS as usize }> = LruHashMap::new();

/// See [`shares_take`].
const OF_SESSIONS: u32 = 0;
const OF_SOCKETS: u32 = 1;

/// After so many doubts a session belongs to the other socket.
const MAX_DOUBTS: u8 = 2;

/// Whether the bytes of a recognised connection are the beginning of TLS.
#[inline(always)]
pub fn is_handshake(scratch: &Scratch, captured: u32) -> bool {
    let first = &scratch.data;
    captured >= 5 && first[0] == HANDSHAKE && first[1] == 3 && matches!(first[2], 1..=4)
}

/// The socket carries TLS from now on, to the thread in the slot.
#[inline(always)]
pub fn begins(
    scratch: &mut Scratch,
    slot: &Slot,
    call: &mut TlsCall,
    connection: &mut Connection,
    sk: impl Socket,
    kind: Kind,
    way: u8,
) {
    if connection.announced != 0 {
        // It began in plain text; what is inside of TLS begins anew.
        record::closed(&Closed {
            tag: Tag::Closed as u32,
            error: 0,
            connection: connection.id,
            at: now(),
            was: 0,
            padding: 0,
        });
        connection.announced = 0;
        connection.number = 0;
        connection.id = 0;
    }
    if connection.id == 0 {
        connection.id = record::number();
    }
    remember(scratch, slot, connection, sk, kind);
    connection.protocol = protocol_state::TLS_RECORDS;
    // Its end will be.
    connection.announced = 1;
    used(call, connection, sk, kind, way);
}

/// Keeps what its session begins with.
#[inline(always)]
fn remember(
    scratch: &mut Scratch,
    slot: &Slot,
    connection: &Connection,
    sk: impl Socket,
    kind: Kind,
) {
    let tenant = shares_take(OF_SOCKETS, slot.workload.0);
    if tenant == 0 {
        return lost(Loss::TlsNoRoom);
    }
    let socket = &mut scratch.socket;
    connection::describe(&mut socket.opened, sk, kind);
    socket.session = Session {
        connection: *connection,
        sure: 0,
        doubts: 0,
        tenant: (tenant - 1) as u16,
        tgid: slot.tgid,
    };
    let plain = &mut socket.session.connection;
    plain.flags = (plain.flags | flag::TLS) & !flag::TURN;
    plain.direction = 0;
    plain.tries = 0;
    plain.head = 0;
    if TLS_SOCKETS.insert(connection.id, &*socket, 0).is_err() {
        give_back(OF_SOCKETS, socket.session.tenant);
        lost(Loss::RequestStateFailed);
    }
}

/// The thread sent or received records.
#[inline(always)]
pub fn used(call: &mut TlsCall, connection: &Connection, sk: impl Socket, kind: Kind, way: u8) {
    if call.session != 0 {
        call.connection = connection.id;
    } else if way == direction::RECEIVED {
        call.received = connection.id;
    }
    call.retransmits = if matches!(kind, Kind::Tcp) {
        sk.retransmits()
    } else {
        0
    };
}

/// The connection with this number has ended.
#[inline(always)]
pub fn forget(connection: u64) {
    let Some(socket) = TLS_SOCKETS.get_ptr(connection) else {
        return;
    };
    // SAFETY: a map value.
    let tenant = unsafe { (*socket).session.tenant };
    // Somebody else may be faster.
    if TLS_SOCKETS.remove(connection).is_ok() {
        give_back(OF_SOCKETS, tenant);
    }
}

/// Who is connected by the socket with this number.
#[inline(always)]
pub fn opened(connection: u64) -> Option<&'static Opened> {
    // SAFETY: a map value; what it says of the socket is never changed.
    TLS_SOCKETS
        .get_ptr_mut(connection)
        .map(|socket| unsafe { &(*socket).opened })
}

/// The library frees a session: another may get its place.
#[inline(always)]
pub fn free(key: SessionKey) {
    let Some(session) = TLS_SESSIONS.get_ptr(key) else {
        return;
    };
    // SAFETY: a map value.
    let tenant = unsafe { (*session).tenant };
    // Somebody else may be faster.
    if TLS_SESSIONS.remove(key).is_ok() {
        give_back(OF_SESSIONS, tenant);
    }
}

/// The session of a call that the thread in the slot ends, tied to its socket if that is
/// known.
#[inline(always)]
pub fn session(key: &SessionKey, slot: &Slot, call: &mut TlsCall) -> Option<&'static mut Session> {
    let (mut id, sure) = (call.connection, call.connection != 0);
    let known = TLS_SESSIONS.get_ptr_mut(key);
    // A call that sends says nothing about what was received, unless it is what
    // takes part in the handshake.
    if !sure && (known.is_none() || call.way != u32::from(direction::SENT)) {
        id = call.received;
        call.received = 0;
    }
    if let Some(session) = known {
        // SAFETY: a map value; a session's calls don't overlap.
        let session = unsafe { &mut *session };
        if id == 0 || session.connection.id == id {
            session.doubts = 0;
            session.sure |= sure as u8;
            return Some(session);
        }
        if !sure {
            // The thread received something for another session, most likely.
            session.doubts += 1;
            if session.sure != 0 || session.doubts < MAX_DOUBTS {
                return Some(session);
            }
        }
    }
    if id == 0 {
        return None;
    }
    let socket = TLS_SOCKETS.get_ptr_mut(id)?;
    let tenant = match known {
        // SAFETY: a map value.
        Some(session) => u32::from(unsafe { (*session).tenant }) + 1,
        None => shares_take(OF_SESSIONS, slot.workload.0),
    };
    if tenant == 0 {
        lost(Loss::TlsNoRoom);
        return None;
    }
    // SAFETY: a map value.
    let beginning = unsafe { &(*socket).session };
    if TLS_SESSIONS.insert(key, beginning, 0).is_err() {
        give_back(OF_SESSIONS, (tenant - 1) as u16);
        lost(Loss::RequestStateFailed);
        return None;
    }
    // SAFETY: as above.
    let session = unsafe { &mut *TLS_SESSIONS.get_ptr_mut(key)? };
    session.sure = sure as u8;
    session.tenant = (tenant - 1) as u16;
    session.tgid = slot.tgid;
    Some(session)
}
