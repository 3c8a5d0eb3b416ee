//! Requests: what goes over connections of known protocols, seen in the thread
//! that sends or receives it.
//!
//! The socket's own tracepoints say which socket and how many bytes; the bytes
//! are where the thread's system call says. A connection is recognised by a
//! message's first bytes; until then, and if it isn't, nothing leaves.

mod capture;
mod clock;
mod connection;
mod record;
mod serve;
mod share;
mod socket;
mod tls;

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::requests::{
    Connection, Protocol, SNIFFED, Sniffed, direction, flag, protocol_state, role, sniff,
};
use observer_common::slot::{NO_SYSCALL, Slot};
use observer_common::tcp::state as tcp_state;

use self::capture::Source;
use self::connection::{Kind, kind_of};
use self::record::Told;
use self::share::Next;
use self::socket::{Found, Socket, Trusted};
use crate::identity::here;
use crate::kernel::{current, now, setting};
use crate::loss::lost;
use crate::slot::{slot, thread};

pub use self::clock::{goes_off, is_back};
pub use self::serve::{followed, hand_over};

/// `MSG_PEEK` of include/linux/socket.h: the bytes will be read again.
const MSG_PEEK: u32 = 2;

/// Messages of a connection that are looked at before it is left alone.
const TRIES: u8 = 12;

/// TLS's record types handshake and application data (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
const TLS_DATA: u8 = 23;

/// 1 = all programs are attached. Before, a request might be seen without its
/// answer, which would be taken for that of the next.
#[btf_map]
static REQUESTS_ON: Array<u32, 1> = Array::new();

/// Whether requests are followed yet.
#[inline(always)]
pub fn is_on() -> bool {
    REQUESTS_ON.get(0).copied().unwrap_or(0) != 0
}

#[btf_tracepoint(function = "sock_send_length")]
pub fn requests_sent(ctx: BtfTracePointContext) -> i32 {
    let sent: i32 = ctx.arg(1);
    if sent > 0 && setting!(by_descriptor) == 0 {
        // SAFETY: a tracepoint's argument is trusted.
        let sk = unsafe { Trusted::new(ctx.arg(0)) };
        happened(sk, sent as u32, direction::SENT);
    }
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
pub fn requests_received(ctx: BtfTracePointContext) -> i32 {
    let received: i32 = ctx.arg(1);
    let peeked = ctx.arg::<u32>(2) & MSG_PEEK != 0;
    if received > 0 && !peeked && setting!(by_descriptor) == 0 {
        // SAFETY: a tracepoint's argument is trusted.
        let sk = unsafe { Trusted::new(ctx.arg(0)) };
        happened(sk, received as u32, direction::RECEIVED);
    }
    0
}

/// The current thread sent or received something. Sockets that are left alone
/// are looked for before all else, since most may be such.
#[inline(always)]
fn happened(sk: impl Socket, length: u32, way: u8) {
    if !is_on() {
        return;
    }
    let Some(kind) = kind_of(sk) else { return };
    let known = sk.state(false);
    let ignored = known
        .as_ref()
        .is_some_and(|connection| connection.protocol == protocol_state::IGNORED);
    if ignored {
        return;
    }
    let mut known = known;
    if let Some(connection) = &mut known
        && share::passes_by(connection, way)
    {
        return;
    }
    let Some(slot) = here() else { return };
    let connection = match known {
        Some(connection) => connection,
        None => match sk.state(true) {
            Some(connection) => connection,
            None => return,
        },
    };
    transferred(sk, kind, connection, slot, length, way);
}

/// The current thread's system call ends, which may have been on a socket: for
/// kernels without the tracepoints above.
#[inline(always)]
pub fn returned(slot: &Slot, result: i64) {
    if setting!(by_descriptor) == 0 || result <= 0 || result > i64::from(u32::MAX) {
        return;
    }
    let Some(call) = capture::Call::of(slot) else {
        return;
    };
    let Some(sk) = Found::behind(call.descriptor) else {
        return;
    };
    happened(sk, call.bytes(result as u32), call.way);
}

#[inline(always)]
fn transferred(
    sk: impl Socket,
    kind: Kind,
    connection: &mut Connection,
    slot: &mut Slot,
    length: u32,
    way: u8,
) {
    if slot.tgid == setting!(own_tgid) {
        return;
    }
    let task = current();
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(task, false) };
    if state.is_null() {
        return;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    clock::settle(slot, &mut state.serving);
    if connection.protocol == protocol_state::TLS_RECORDS {
        tls::used(&mut state.tls, connection, sk, kind, way);
        return;
    }
    let source = Source::of(slot, state, task);
    let turn = turned(connection, way);
    let context = u32::from(way);
    if connection.protocol == protocol_state::UNDECIDED {
        // A TLS library's calls tell that there may be a record of TLS.
        let due = turn || state.tls.session != 0;
        let datagram = matches!(kind, Kind::Udp);
        if !due || !recognise(context, connection, &source, datagram, way, length) {
            return;
        }
    }
    let Some(scratch) = record::scratch(context) else {
        return;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &mut *scratch };
    if connection.protocol == protocol_state::TLS_RECORDS {
        connection.protocol = protocol_state::UNDECIDED;
        tls::begins(scratch, &mut state.tls, connection, sk, kind, way);
        return;
    }
    if connection.protocol == protocol_state::IGNORED {
        return;
    }
    let next = Next {
        way,
        turn,
        length,
        datagram: matches!(kind, Kind::Udp),
    };
    let seed = |connection: &Connection| share::seed(sk, kind, connection, way, length);
    if !share::follows(connection, slot, &source, &next, seed) {
        return;
    }
    if connection.announced == 0 {
        connection::describe(&mut scratch.opened, sk, kind);
    }
    let now = now();
    if clock::is_kept(connection, slot, state) {
        clock::bring_up(slot, state, task, now);
    }
    let captured = capture::message(context, connection, &source, way, length);
    if captured == 0 && source.is_known() {
        lost(Loss::RequestUnread);
    }
    if tls::is_handshake(scratch, captured) {
        // Both ends have agreed to go on so (PostgreSQL's SSLRequest).
        tls::begins(scratch, &mut state.tls, connection, sk, kind, way);
        return;
    }
    let (request, context) = serve::note(connection, slot, state, way, turn);
    let began = if slot.syscall == NO_SYSCALL {
        now
    } else {
        slot.syscall_start
    };
    let told = Told {
        length,
        captured,
        way,
        began,
        now,
        retransmits: retransmits(connection, sk, kind, way),
        request,
        context,
    };
    record::piece(scratch, connection, slot, state, &told);
}

/// Segments sent again so far. When a client asks, all that it sent before has
/// arrived: the number is that of the last answer.
#[inline(always)]
fn retransmits(connection: &mut Connection, sk: impl Socket, kind: Kind, way: u8) -> u32 {
    if matches!(kind, Kind::Tcp) && (connection.role == role::SERVER || way == direction::RECEIVED)
    {
        connection.retransmits = sk.retransmits();
    }
    connection.retransmits
}

/// Notes which way the bytes went; true if that is another than before.
#[inline(always)]
fn turned(connection: &mut Connection, way: u8) -> bool {
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

/// Looks at a message's first bytes; true if they tell what the connection is.
#[inline(always)]
fn recognise(
    context: u32,
    connection: &mut Connection,
    source: &Source,
    datagram: bool,
    way: u8,
    length: u32,
) -> bool {
    let seen = look(context, source, datagram, length);
    let Some(seen) = seen else {
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
fn look(context: u32, source: &Source, datagram: bool, length: u32) -> Option<Look> {
    let captured = capture::copy(context, source, length, SNIFFED as u32);
    let seen = requests_sniff(context, captured, length, datagram as u32);
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

/// [`requests_sniff`]: added to the number of the protocol.
const REQUEST_SEEN: u32 = 0x100;
/// [`requests_sniff`]: a record of TLS.
const TLS_SEEN: u32 = 0x200;

/// What the first bytes of the scratch look like; 0 = nothing that is known.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_sniff(context: u32, captured: u32, length: u32, datagram: u32) -> u32 {
    let Some(scratch) = record::scratch(context) else {
        return 0;
    };
    // SAFETY: as in `transferred`.
    let scratch = unsafe { &*scratch };
    let mut first = [0u8; SNIFFED];
    for (i, byte) in first.iter_mut().enumerate() {
        if (i as u32) < captured {
            *byte = scratch.data[i];
        }
    }
    let datagram = datagram != 0;
    if !datagram && matches!(first[0], TLS_HANDSHAKE | TLS_DATA) && first[1] == 3 && first[2] <= 4 {
        return TLS_SEEN;
    }
    match sniff(&first, length, datagram) {
        Some(seen) if seen.request => seen.protocol as u32 | REQUEST_SEEN,
        Some(seen) => seen.protocol as u32,
        None => 0,
    }
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

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn requests_state(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    let sk = unsafe { Trusted::new(ctx.arg(0)) };
    let (was, is) = (ctx.arg::<u32>(1) as u8, ctx.arg::<u32>(2) as u8);
    match (was, is) {
        // In connect, and so in the context of whoever connects.
        (_, tcp_state::SYN_SENT) => serve::connects(sk),
        (tcp_state::ESTABLISHED, tcp_state::FIN_WAIT1)
        | (tcp_state::CLOSE_WAIT, tcp_state::LAST_ACK) => {
            // One that is shut down may still be answered.
            let shut_down = slot().is_some_and(|slot| slot.syscall == setting!(shutdown));
            if !shut_down {
                connection::ends(sk);
            }
        }
        (_, tcp_state::CLOSE) => connection::ends(sk),
        _ => {}
    }
    0
}
