//! TCP: connections, retransmits, resets, by the socket's owner.
//!
//! Nothing here runs per packet. The state of a socket lives with the socket;
//! its owner is set in the owner's own context (connect, listen) and handed on
//! by the listener to what it accepts, so that softirq work is charged to the
//! owner and not to whoever was interrupted.

mod account;
mod connect;
mod iterate;
mod socket;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::offsets::MISSING;
use observer_common::tally::Kind;
use observer_common::tcp::{
    Connection, Family, RECEIVED, Retransmit, Role, SENT, label, owner, phase, state,
};
use observer_common::workload::OTHER;

pub use self::connect::connect_returned;

use self::account::{count_segments, ended, established, remember, report};
use self::socket::{adopt, adopt_once, connection, family};
use crate::kernel::{now, offset, read, setting};
use crate::preemption::undisturbed;
use crate::socket::tcp_socket;
use crate::tally;

/// `TCP_CA_Recovery` and `TCP_CA_Loss` of include/uapi/linux/tcp.h.
const CA_RECOVERY: u8 = 3;
const CA_LOSS: u8 = 4;
/// `icsk_ca_state` is a bit field of five bits.
const CA_MASK: u8 = 0x1f;
/// `ICSK_TIME_LOSS_PROBE` of include/net/inet_connection_sock.h.
const TIME_LOSS_PROBE: u8 = 5;

/// Forgets the last connection of this socket (or of the listener from which
/// the state was cloned), but not the owner.
#[inline(always)]
fn begin(connection: &mut Connection, role: Role) {
    connection.session = 0;
    connection.started = now();
    connection.established = 0;
    connection.ended = 0;
    connection.sent = 0;
    connection.received = 0;
    connection.segments = 0;
    connection.delivered = 0;
    connection.srtt_us = 0;
    connection.event_count = 0;
    connection.role = role as u8;
    connection.phase = phase::OPENING;
    connection.older = 0;
    connection.awaited = 0;
    connection.error = 0;
}

/// A program that is interrupted on its CPU is not run a second time there, so
/// single events may go unseen: makes up for what must have happened before.
#[inline(always)]
fn make_up(connection: &mut Connection, tcp: *const u8, was: u8) {
    if matches!(was, state::CLOSE | state::LISTEN) {
        return;
    }
    if connection.role == Role::Listener as u8 {
        // Still its listener's copy.
        begin(connection, Role::Server);
        connection.owner = owner::NEW;
    } else if connection.role == Role::Unknown as u8 && connection.older == 0 {
        begin(connection, Role::Client);
        connection.owner = owner::NEW;
        connection.traced = (setting!(filters) == 0) as u8;
        // How long it took isn't known.
        connection.awaited = 1;
    }
    if connection.phase == phase::OPENING && matches!(was, state::ESTABLISHED | state::CLOSE_WAIT) {
        established(connection, tcp, now());
    }
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
/// (include/trace/events/sock.h). All kernels.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_state(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let (was, is) = (ctx.arg::<u32>(1) as u8, ctx.arg::<u32>(2) as u8);
        // SAFETY: a tracepoint's argument is trusted.
        let tcp = unsafe { tcp_socket(ctx.arg(0)) };
        if tcp.is_null() {
            return 0;
        }
        // States that sockets come from; any other should have a state already.
        let create = matches!(is, state::SYN_SENT | state::SYN_RECV | state::LISTEN)
            || (is == state::ESTABLISHED && was == state::SYN_SENT);
        // SAFETY: not null.
        let Some(connection) = (unsafe { connection(tcp, create) }) else {
            return 0;
        };
        make_up(connection, tcp, was);
        match (was, is) {
            // In connect, or in listen.
            (_, state::SYN_SENT) => {
                report(connection);
                begin(connection, Role::Client);
                connection.owner = owner::SURE;
                adopt(connection);
                connect::begins(connection, tcp);
            }
            (_, state::LISTEN) => {
                report(connection);
                begin(connection, Role::Listener);
                connection.phase = phase::NONE;
                connection.owner = owner::SURE;
                adopt(connection);
            }
            // A listener's new child.
            (state::LISTEN, state::SYN_RECV) => {
                if connection.role != Role::Listener as u8 {
                    // It has no owner that could be inherited.
                    connection.workload = OTHER;
                    connection.tgid = 0;
                    connection.traced = (setting!(filters) == 0) as u8;
                }
                begin(connection, Role::Server);
                connection.owner = owner::NEW;
            }
            (_, state::ESTABLISHED) => established(connection, tcp, now()),
            (_, state::CLOSE) => {
                if connection.role == Role::Listener as u8 {
                    connection.role = Role::Unknown as u8;
                    return 0;
                }
                ended(connection, tcp, was);
                // Given up by its owner: a reset follows, and belongs to the story.
                let aborted =
                    connection.error == 0 && matches!(was, state::ESTABLISHED | state::CLOSE_WAIT);
                if !aborted {
                    report(connection);
                }
            }
            // In close or shutdown, and so in the context of whoever has it.
            (state::ESTABLISHED | state::SYN_RECV, state::FIN_WAIT1)
            | (state::CLOSE_WAIT, state::LAST_ACK) => adopt_once(connection),
            _ => {}
        }
        0
    })
}

/// The last sign of a socket.
///
/// `tcp_destroy_sock(struct sock *sk)`
/// (include/trace/events/tcp.h). All kernels.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // SAFETY: a tracepoint's argument is trusted.
        let tcp = unsafe { tcp_socket(ctx.arg(0)) };
        if tcp.is_null() {
            return 0;
        }
        // SAFETY: not null.
        if let Some(connection) = unsafe { connection(tcp, false) }
            && connection.role != Role::Listener as u8
        {
            ended(connection, tcp, state::CLOSE);
            report(connection);
        }
        0
    })
}

/// Why is this socket sending again?
#[inline(always)]
fn cause(tcp: *const u8) -> Retransmit {
    if read!(tcp, sock_state, u8) == state::SYN_SENT {
        return Retransmit::Syn;
    }
    match read!(tcp, icsk_ca_state, u8) & CA_MASK {
        CA_RECOVERY => Retransmit::Fast,
        CA_LOSS => Retransmit::Timeout,
        _ if offset!(icsk_pending) != MISSING
            && read!(tcp, icsk_pending, u8) == TIME_LOSS_PROBE =>
        {
            Retransmit::TailLossProbe
        }
        _ => Retransmit::Unknown,
    }
}

/// Fires once per attempt, which may send several segments: how many is in the
/// socket's own count.
///
/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb)`
/// (include/trace/events/tcp.h). All kernels; `int err` follows where it is newer (6.18 has it).
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmit(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // SAFETY: a tracepoint's argument is trusted.
        let tcp = unsafe { tcp_socket(ctx.arg(0)) };
        if tcp.is_null() {
            return 0;
        }
        // SAFETY: not null.
        let Some(connection) = (unsafe { connection(tcp, false) }) else {
            return 0;
        };
        let (how, family) = (cause(tcp) as u8, family(tcp));
        let segments = count_segments(connection, tcp, how, family);
        if segments == 0 {
            // An attempt that failed before anything was sent.
            return 0;
        }
        if connection.traced != 0 {
            let label = label(how, family, 0);
            tally::count(Kind::TcpRetransmitEvents, connection.workload, label, 1);
        }
        remember(connection, how, segments);
        0
    })
}

/// One segment each; sent by the listener, or by a Fast Open child.
///
/// `tcp_retransmit_synack(const struct sock *sk, const struct request_sock *req)`
/// (include/trace/events/tcp.h). All kernels.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn tcp_synack(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // SAFETY: a tracepoint's argument is trusted.
        let tcp = unsafe { tcp_socket(ctx.arg(0)) };
        if tcp.is_null() {
            return 0;
        }
        // SAFETY: not null.
        let Some(connection) = (unsafe { connection(tcp, false) }) else {
            return 0;
        };
        if connection.traced != 0 {
            let request: *const u8 = ctx.arg(1);
            // A request has the family of its wire, not of the listener.
            let family = if read!(request, sock_family, u16) == 2 {
                Family::V4
            } else {
                Family::V6
            };
            let label = label(Retransmit::SynAck as u8, family as u8, 0);
            let workload = connection.workload;
            tally::count(Kind::TcpRetransmitSegments, workload, label, 1);
            tally::count(Kind::TcpRetransmitEvents, workload, label, 1);
        }
        0
    })
}

/// `tcp_receive_reset(struct sock *sk)`
/// (include/trace/events/tcp.h). All kernels.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_reset_in(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        // SAFETY: a tracepoint's argument is trusted.
        unsafe { reset(ctx.arg(0), RECEIVED) };
        0
    })
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb)`
/// (include/trace/events/tcp.h). All kernels; `const enum sk_rst_reason reason` follows since 6.10.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_reset_out(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let sk: *const u8 = ctx.arg(0);
        // SAFETY: a tracepoint's argument is trusted.
        if (sk.is_null() || !unsafe { reset(sk, SENT) }) && setting!(filters) == 0 {
            // An answer to a packet that belongs to no socket.
            let label = label(SENT, Family::Unknown as u8, 0);
            tally::count(Kind::TcpResets, OTHER, label, 1);
        }
        0
    })
}

/// Counts a reset for the socket's owner; false when it has none.
///
/// # Safety
///
/// `sk` must be a socket that the verifier trusts, and not null.
#[inline(always)]
unsafe fn reset(sk: *const u8, direction: u8) -> bool {
    // SAFETY: the caller's promise.
    let tcp = unsafe { tcp_socket(sk) };
    if tcp.is_null() {
        return false;
    }
    // SAFETY: not null.
    let Some(connection) = (unsafe { connection(tcp, false) }) else {
        return false;
    };
    if connection.traced != 0 {
        let label = label(direction, family(tcp), 0);
        tally::count(Kind::TcpResets, connection.workload, label, 1);
    }
    if connection.role != Role::Listener as u8 {
        remember(connection, direction, 0);
        report(connection);
    }
    true
}
