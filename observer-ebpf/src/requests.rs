//! Requests: what goes over connections of known protocols, seen in the thread
//! that sends or receives it.
//!
//! The socket's own tracepoints say which socket and how many bytes; the bytes
//! are where the thread's system call says. A connection is recognised by a
//! message's first bytes; until then, and if it isn't, nothing leaves.

mod asyncio;
mod caller;
mod capture;
mod clock;
mod connection;
mod go;
mod head;
mod look;
mod more;
mod recognise;
mod record;
mod ring;
mod room;
mod serve;
mod share;
mod sniff;
mod socket;
mod tail;
mod tasks;
mod tls;

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::requests::{Connection, direction, protocol_state, role};
use observer_common::slot::{NO_SYSCALL, Slot};
use observer_common::tcp::state as tcp_state;
use observer_common::workload::TRACED;

use self::capture::Source;
use self::connection::turned;
use self::recognise::recognise;
use self::record::Transfer;
use self::share::Next;
use self::socket::{Found, Kind, Socket, Trusted, kind_of};
use crate::identity::anyone_here;
use crate::kernel::{now, setting};
use crate::loss::lost;
use crate::preemption::undisturbed;
use crate::slot::slot;
use crate::thread::current_thread;

pub use self::clock::{goes_off, is_back};
pub use self::serve::{hand_over, waited};

/// `MSG_PEEK` of include/linux/socket.h: the bytes will be read again.
const MSG_PEEK: u32 = 2;

/// 1 = all programs are attached. Before, a request might be seen without its
/// answer, which would be taken for that of the next.
#[btf_map]
static REQUESTS_ON: Array<u32, 1> = Array::new();

/// Whether requests are followed yet.
#[inline(always)]
pub fn is_on() -> bool {
    REQUESTS_ON.get(0).copied().unwrap_or(0) != 0
}

/// `sock_send_length(struct sock *sk, int ret, int flags)`
/// (include/trace/events/sock.h). Since 6.3.
#[btf_tracepoint(function = "sock_send_length")]
pub fn requests_sent(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let sent: i32 = ctx.arg(1);
        if sent > 0 && setting!(by_descriptor) == 0 {
            // SAFETY: a tracepoint's argument is trusted.
            let sk = unsafe { Trusted::new(ctx.arg(0)) };
            happened(sk, sent as u32, direction::SENT, anyone_here);
        }
        0
    })
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`
/// (include/trace/events/sock.h). Since 6.3.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn requests_received(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let received: i32 = ctx.arg(1);
        let peeked = ctx.arg::<u32>(2) & MSG_PEEK != 0;
        if received > 0 && !peeked && setting!(by_descriptor) == 0 {
            // SAFETY: a tracepoint's argument is trusted.
            let sk = unsafe { Trusted::new(ctx.arg(0)) };
            happened(sk, received as u32, direction::RECEIVED, anyone_here);
        }
        0
    })
}

/// The current thread, whose slot `find` finds, sent or received something.
/// Sockets that are left alone are looked for before all else, since most may
/// be such.
#[inline(always)]
fn happened(
    sk: impl Socket,
    length: u32,
    way: u8,
    find: impl Fn() -> Option<&'static mut Slot> + Copy,
) {
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
        && share::passes_by(connection, way, find)
    {
        return;
    }
    let Some(slot) = find().filter(|slot| slot.flags & TRACED != 0) else {
        return;
    };
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
/// kernels without the tracepoints above. The slot is that thread's.
#[inline(always)]
pub fn returned(result: i64) {
    if setting!(by_descriptor) != 0 && result > 0 && result <= i64::from(u32::MAX) {
        requests_returned(result as u32);
    }
}

/// See [`returned`].
///
/// Global to the verifier, which therefore checks it once, and so that its stack
/// doesn't add to that of what else is done at a call's end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_returned(result: u32) -> u32 {
    if setting!(by_descriptor) == 0 {
        return 0;
    }
    let Some(call) = slot().and_then(|slot| capture::Call::of(slot)) else {
        return 0;
    };
    let Some(sk) = Found::behind(call.descriptor) else {
        return 0;
    };
    happened(sk, call.bytes(result), call.way, slot);
    0
}

/// The daemon's own connections are left alone, but for those over which it looks
/// whether requests are seen.
#[inline(always)]
fn is_left_alone(slot: &Slot, kind: Kind) -> bool {
    slot.tgid == setting!(own_tgid) && !matches!(kind, Kind::Unix)
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
    if is_left_alone(slot, kind) {
        return;
    }
    let Some((task, state)) = current_thread() else {
        return;
    };
    clock::settle(slot, &mut state.serving);
    if connection.protocol == protocol_state::TLS_RECORDS {
        tls::used(&mut state.tls, connection, sk, kind, way);
        return;
    }
    let source = Source::of(slot, state, task);
    let turn = turned(connection, way);
    let context = u32::from(way);
    let datagram = matches!(kind, Kind::Udp);
    if connection.protocol == protocol_state::UNDECIDED {
        // A TLS library's calls tell that there may be a record of TLS.
        let due = turn || state.tls.session != 0;
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
        tls::begins(scratch, slot, &mut state.tls, connection, sk, kind, way);
        return;
    }
    if connection.protocol == protocol_state::IGNORED {
        return;
    }
    let next = Next::new(way, turn, length, datagram);
    let seed = |connection: &Connection| share::seed(sk, kind, connection, way, length);
    if !share::follows(connection, slot, &source, &next, seed) {
        return;
    }
    if connection.announced == 0 {
        connection::describe(&mut scratch.opened, sk, kind);
    }
    let now = now();
    clock::keep(connection, slot, state, task, now);
    let captured = capture::message(context, connection, &source, way, length);
    if captured == 0 && source.is_known() {
        lost(Loss::RequestUnread);
    }
    if tls::is_handshake(scratch, captured) {
        // Both ends have agreed to go on so (PostgreSQL's SSLRequest).
        tls::begins(scratch, slot, &mut state.tls, connection, sk, kind, way);
        return;
    }
    let tail = tail::capture(context, connection, &source, way, length, captured);
    let rest = more::rest(connection, way, length, captured);
    let transfer = Transfer {
        length: length - rest,
        captured: captured + tail,
        tail,
        way,
        began: began(slot, now),
        now,
        retransmits: retransmits(connection, sk, kind, way),
        served: serve::note(connection, slot, state, way, turn, now),
    };
    record::piece(scratch, connection, slot, state, &transfer);
    if rest != 0 {
        more::tell(context, connection, &source, length);
    }
}

/// When the slot's thread's call began; now, if it makes none.
#[inline(always)]
fn began(slot: &Slot, now: u64) -> u64 {
    if slot.syscall == NO_SYSCALL {
        now
    } else {
        slot.syscall_start
    }
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

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
/// (include/trace/events/sock.h). All kernels.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn requests_state(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
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
                    ends(sk, was);
                }
            }
            (_, tcp_state::CLOSE) => ends(sk, was),
            _ => {}
        }
        0
    })
}

/// A connection ends.
#[inline(always)]
fn ends(sk: Trusted, was: u8) {
    let Some(connection) = connection::ends(sk, was) else {
        return;
    };
    if connection.protocol == protocol_state::TLS_RECORDS {
        tls::forget(connection.id);
    }
}
