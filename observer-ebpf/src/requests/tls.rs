//! TLS: the plain text that a thread hands to its library, or gets of it.
//!
//! A library's session (an `SSL` of OpenSSL, BoringSSL…) is tied to a socket by
//! what its thread does: usually a call of the library uses the socket itself.
//! Some programs (node, Python's asyncio) do that on their own; then records
//! that the thread received are those of the session that it calls next.
//!
//! Programs on user functions may lose their CPU to another thread in the
//! middle, which those on tracepoints don't.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::{btf_map, btf_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{BtfTracePointContext, ProbeContext, RetProbeContext};
use observer_common::loss::Loss;
use observer_common::requests::{
    Closed, Connection, Executed, Session, SessionKey, Tag, TlsCall, TlsSocket, direction, flag,
    protocol_state,
};
use observer_common::slot::{Slot, ThreadState};

use super::capture::{self, Source};
use super::connection::{self, Kind};
use super::record::{self, Scratch, Told};
use super::share::{self, Next};
use super::socket::Socket;
use super::{clock, is_on, recognise, serve, turned};
use crate::identity::here;
use crate::kernel::{self, current, now, read};
use crate::loss::lost;
use crate::slot::thread;

/// Sessions and sockets remembered; then those used longest ago are forgotten,
/// and are known again when they are used.
const SESSIONS: usize = 16384;

/// A handshake's record (RFC 8446, 5.1), of version 3.1 to 3.4: nothing that a
/// followed protocol could send instead.
const HANDSHAKE: u8 = 22;

/// Sessions that are tied to a socket.
#[btf_map]
static TLS_SESSIONS: LruHashMap<SessionKey, Session, SESSIONS> = LruHashMap::new();

/// By number: connections that carry TLS.
#[btf_map]
static TLS_SOCKETS: LruHashMap<u64, TlsSocket, SESSIONS> = LruHashMap::new();

/// After so many doubts a session belongs to the other socket.
const MAX_DOUBTS: u8 = 2;

/// Whether the bytes of a recognised connection are the beginning of TLS.
#[inline(always)]
pub fn is_handshake(scratch: &Scratch, captured: u32) -> bool {
    let first = &scratch.data;
    captured >= 5 && first[0] == HANDSHAKE && first[1] == 3 && matches!(first[2], 1..=4)
}

/// The socket carries TLS from now on.
#[inline(always)]
pub fn begins(
    scratch: &mut Scratch,
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
        });
        connection.announced = 0;
        connection.number = 0;
        connection.id = 0;
    }
    if connection.id == 0 {
        connection.id = record::number();
    }
    let socket = &mut scratch.socket;
    connection::describe(&mut socket.opened, sk, kind);
    socket.session = Session {
        connection: *connection,
        sure: 0,
        doubts: 0,
        padding: [0; 6],
    };
    let plain = &mut socket.session.connection;
    plain.flags = (plain.flags | flag::TLS) & !flag::TURN;
    plain.direction = 0;
    plain.tries = 0;
    plain.head = 0;
    if TLS_SOCKETS.insert(connection.id, &*socket, 0).is_err() {
        lost(Loss::RequestStateFailed);
    }
    connection.protocol = protocol_state::TLS_RECORDS;
    // Its end will be.
    connection.announced = 1;
    used(call, connection, sk, kind, way);
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
    // It may have been forgotten before.
    let _ = TLS_SOCKETS.remove(connection);
}

/// The registers with which the current thread came here from its program.
#[inline(always)]
fn registers() -> *const u8 {
    // SAFETY: the current task is trusted.
    unsafe { kernel::registers(current()) }
}

/// The current thread, if it is traced.
#[inline(always)]
fn caller() -> Option<(&'static mut Slot, &'static mut ThreadState)> {
    if !is_on() {
        return None;
    }
    let slot = here()?;
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(current(), false) };
    if state.is_null() {
        return None;
    }
    // SAFETY: not null, so a storage value.
    Some((slot, unsafe { &mut *state }))
}

/// How a function of the library says how much it read or wrote.
enum Length {
    /// By its result.
    Result,
    /// In a `size_t` to which its fourth argument points.
    Fourth,
    /// To which its fifth does.
    Fifth,
}

/// A function of the library is called.
#[inline(always)]
fn called(way: u32, length: Length) {
    let Some((_, state)) = caller() else { return };
    let registers = registers();
    let call = &mut state.tls;
    call.buffer = read!(registers, call_second, u64);
    call.length = match length {
        Length::Result => 0,
        Length::Fourth => read!(registers, call_fourth, u64),
        Length::Fifth => read!(registers, call_fifth, u64),
    };
    call.began = now();
    call.connection = 0;
    call.way = way;
    call.session = read!(registers, call_first, u64);
}

/// `int SSL_read(SSL *, void *, int)`
#[uprobe]
pub fn tls_read(_ctx: ProbeContext) -> u32 {
    called(direction::RECEIVED.into(), Length::Result);
    0
}

/// `int SSL_write(SSL *, const void *, int)`
#[uprobe]
pub fn tls_write(_ctx: ProbeContext) -> u32 {
    called(direction::SENT.into(), Length::Result);
    0
}

/// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`
#[uprobe]
pub fn tls_read_ex(_ctx: ProbeContext) -> u32 {
    called(direction::RECEIVED.into(), Length::Fourth);
    0
}

/// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`
#[uprobe]
pub fn tls_write_ex(_ctx: ProbeContext) -> u32 {
    called(direction::SENT.into(), Length::Fourth);
    0
}

/// OpenSSL's inner function since 3.2: `int ssl_write_internal(SSL *, const void *,
/// size_t, uint64_t flags, size_t *)`
#[uprobe]
pub fn tls_write_flags(_ctx: ProbeContext) -> u32 {
    called(direction::SENT.into(), Length::Fifth);
    0
}

/// `int SSL_do_handshake(SSL *)`
#[uprobe]
pub fn tls_handshake(_ctx: ProbeContext) -> u32 {
    called(TlsCall::HANDSHAKE, Length::Result);
    0
}

/// `void SSL_free(SSL *)`: another may get its place.
#[uprobe]
pub fn tls_free(_ctx: ProbeContext) -> u32 {
    if let Some((slot, _)) = caller() {
        let key = SessionKey {
            session: read!(registers(), call_first, u64),
            tgid: slot.tgid.into(),
        };
        // It may have been forgotten before.
        let _ = TLS_SESSIONS.remove(key);
    }
    0
}

/// One of them returns.
#[uretprobe]
pub fn tls_returned(_ctx: RetProbeContext) -> u32 {
    let Some((slot, state)) = caller() else {
        return 0;
    };
    // A file that is attached twice by mistake ends each call twice.
    if state.tls.session == 0 {
        return 0;
    }
    let result = read!(registers(), call_result, u64) as i32;
    let length = length(&state.tls, result);
    let key = SessionKey {
        session: state.tls.session,
        tgid: slot.tgid.into(),
    };
    state.tls.session = 0;
    let Some(session) = session(&key, &mut state.tls) else {
        return 0;
    };
    if length == 0 || state.tls.way == TlsCall::HANDSHAKE {
        return 0;
    }
    if let Some(context) = record::claim() {
        transferred(context, &mut session.connection, slot, state, length);
        record::release(context);
    }
    0
}

/// How many bytes of plain text the call transferred.
#[inline(always)]
fn length(call: &TlsCall, result: i32) -> u32 {
    if result <= 0 {
        return 0;
    }
    if call.length == 0 {
        return result as u32;
    }
    let mut length = 0u64;
    // SAFETY: the destination is a local word.
    unsafe { bpf_probe_read_user((&raw mut length).cast(), 8, call.length as *const _) };
    if length > i32::MAX as u64 {
        0
    } else {
        length as u32
    }
}

/// The session of a call that ends, tied to its socket if that is known.
#[inline(always)]
fn session(key: &SessionKey, call: &mut TlsCall) -> Option<&'static mut Session> {
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
    // SAFETY: a map value.
    if TLS_SESSIONS
        .insert(key, unsafe { &(*socket).session }, 0)
        .is_err()
    {
        lost(Loss::RequestStateFailed);
        return None;
    }
    // SAFETY: as above.
    let session = unsafe { &mut *TLS_SESSIONS.get_ptr_mut(key)? };
    session.sure = sure as u8;
    Some(session)
}

/// Plain text was transferred: as for a socket without TLS.
#[inline(always)]
fn transferred(
    context: u32,
    connection: &mut Connection,
    slot: &mut Slot,
    state: &mut ThreadState,
    length: u32,
) {
    if connection.protocol >= protocol_state::TLS_RECORDS {
        return;
    }
    let way = state.tls.way as u8 & 1;
    let source = Source::buffer(state.tls.buffer);
    let turn = turned(connection, way);
    if connection.protocol == protocol_state::UNDECIDED
        && !(turn && recognise(context, connection, &source, false, way, length))
    {
        return;
    }
    if connection.protocol >= protocol_state::TLS_RECORDS {
        return;
    }
    let Some(scratch) = record::scratch(context) else {
        return;
    };
    // SAFETY: this CPU's map value, which this thread claimed.
    let scratch = unsafe { &mut *scratch };
    let next = Next {
        way,
        turn,
        length,
        datagram: false,
    };
    let seed = |connection: &Connection| share::turn_seed(connection.id, connection);
    if !share::follows(connection, slot, &source, &next, seed) {
        return;
    }
    if connection.announced == 0 {
        let Some(socket) = TLS_SOCKETS.get_ptr_mut(connection.id) else {
            return;
        };
        // SAFETY: a map value.
        scratch.opened = unsafe { (*socket).opened };
    }
    let now = now();
    if clock::is_kept(connection, slot, state) {
        clock::bring_up(slot, state, current(), now);
    }
    let captured = capture::message(context, connection, &source, way, length);
    if captured == 0 {
        lost(Loss::RequestUnread);
    }
    let (request, how) = serve::note(connection, slot, state, way, turn);
    let told = Told {
        length,
        captured,
        way,
        began: state.tls.began,
        now,
        retransmits: state.tls.retransmits,
        request,
        context: how,
    };
    record::piece(scratch, connection, slot, state, &told);
}

/// A program begins: it may bring a library that isn't known yet.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn requests_exec(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let record = Executed {
        tag: Tag::Executed as u32,
        tgid: read!(task, task_tgid, u32),
    };
    record::executed(&record, now());
    0
}
