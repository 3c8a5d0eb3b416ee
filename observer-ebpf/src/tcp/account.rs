//! Counting what a connection did, each thing once.
//!
//! The truth is in the socket's own counters; the connection's state remembers
//! how much of it is counted. So an event that is missed is made up for by a
//! later one.

use aya_ebpf::btf_maps::{PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::ring::SharedRing;
use observer_common::tally::Kind;
use observer_common::tcp::{
    ABORTED, Connection, EVENTS, Event, NOT_SENT, RECEIVED, RING_BYTES, Retransmit, Role, SENT,
    bytes_between, label, phase, state,
};
use observer_common::workload::WorkloadId;

use super::socket::{family, take_addresses};
use crate::atomic::compare_and_swap;
use crate::kernel::{now, read, setting};
use crate::loss::lost;
use crate::room::send;
use crate::tally;

/// `SOCK_DONE` of include/net/sock.h: the peer's FIN is in.
const SOCK_DONE: u64 = 1 << 1;

/// `tcp_sock.srtt_us` is in eighths of a microsecond.
const SRTT_SHIFT: u32 = 3;

#[btf_map]
static TCP_RING: RingBuf<Connection, RING_BYTES> = RingBuf::new();

/// Raises what is counted to `now` and returns by how much. The iterator runs
/// beside the socket's own events: whoever raises it counts it.
#[inline(always)]
fn claim(counted: *mut u64, now: u64) -> u64 {
    for _ in 0..3 {
        // SAFETY: callers pass a pointer into a map value.
        let old = unsafe { counted.read_volatile() };
        if now <= old {
            return 0;
        }
        if compare_and_swap(counted, old, now) == old {
            return now - old;
        }
    }
    0
}

/// Takes down where the payload begins. What is acknowledged by now tells;
/// the kernel counts a client's SYN as a byte, a server's not.
#[inline(always)]
pub fn begin_bytes(connection: &mut Connection, tcp: *const u8) {
    let acked = read!(tcp, tcp_bytes_acked, u64) as u32;
    connection.first_seq = read!(tcp, tcp_snd_una, u32).wrapping_sub(acked);
    if connection.role == Role::Client as u8 {
        connection.first_seq = connection.first_seq.wrapping_add(1);
    }
}

/// Payload bytes that left, each once, and that came in, in order. The kernel's
/// own `bytes_sent` is no help: what a local queue refused is in it twice.
#[inline(always)]
pub fn bytes(connection: &Connection, tcp: *const u8) -> (u64, u64) {
    let mut next = read!(tcp, tcp_snd_nxt, u32);
    let is = read!(tcp, sock_state, u8);
    let closing = matches!(
        is,
        state::FIN_WAIT1 | state::FIN_WAIT2 | state::CLOSING | state::TIME_WAIT | state::LAST_ACK
    );
    if closing && next == read!(tcp, tcp_write_seq, u32) {
        // Our FIN, the last byte of all, is sent.
        next = next.wrapping_sub(1);
    }
    let acked = read!(tcp, tcp_bytes_acked, u64);
    let sent = bytes_between(connection.first_seq, next, acked);
    let mut received = read!(tcp, tcp_bytes_received, u64);
    // The peer's FIN is counted as a byte, too.
    if received != 0 && read!(tcp, sock_flags, u64) & SOCK_DONE != 0 {
        received -= 1;
    }
    (sent, received)
}

/// Counts bytes that aren't counted yet.
#[inline(always)]
pub fn count_bytes(connection: &mut Connection, tcp: *const u8, family: u8) {
    if connection.phase < phase::OPEN {
        return;
    }
    let (sent, received) = bytes(connection, tcp);
    let sent = claim(&raw mut connection.sent, sent);
    let received = claim(&raw mut connection.received, received);
    if connection.traced == 0 {
        return;
    }
    let workload = connection.workload;
    if sent != 0 {
        tally::count(Kind::TcpBytes, workload, label(SENT, family, 0), sent);
    }
    if received != 0 {
        let label = label(RECEIVED, family, 0);
        tally::count(Kind::TcpBytes, workload, label, received);
    }
}

/// Counts segments sent again that aren't counted yet, as of this type, and
/// returns how many. Only called with the socket locked.
#[inline(always)]
pub fn count_segments(connection: &mut Connection, tcp: *const u8, how: u8, family: u8) -> u32 {
    let total = read!(tcp, tcp_total_retrans, u32);
    let segments = total.wrapping_sub(connection.segments);
    connection.segments = total;
    if segments != 0 && connection.traced != 0 {
        tally::count(
            Kind::TcpRetransmitSegments,
            connection.workload,
            label(how, family, 0),
            u64::from(segments),
        );
    }
    segments
}

/// Takes a sample of the smoothed RTT.
#[inline(always)]
pub fn sample_rtt(connection: &mut Connection, tcp: *const u8, family: u8) {
    let srtt_us = read!(tcp, tcp_srtt_us, u32) >> SRTT_SHIFT;
    connection.srtt_us = srtt_us;
    if srtt_us != 0 && connection.traced != 0 {
        tally::record(
            Kind::TcpRtt,
            connection.workload,
            label(0, family, 0),
            u64::from(srtt_us) * 1000,
        );
    }
}

/// The connection is there: counts it, once.
#[inline(always)]
pub fn established(connection: &mut Connection, tcp: *const u8, at: u64) {
    if connection.phase >= phase::OPEN {
        return;
    }
    connection.phase = phase::OPEN;
    connection.established = at;
    let server = connection.role == Role::Server as u8;
    begin_bytes(connection, tcp);
    if server {
        // A child begins with the SYN-ACKs that its request sent again; they
        // are counted as such.
        connection.segments = read!(tcp, tcp_total_retrans, u32);
    }
    if connection.traced == 0 {
        return;
    }
    let label = label(connection.role, family(tcp), 0);
    tally::count(Kind::TcpOpened, connection.workload, label, 1);
    let took = if server {
        // The child is made at the handshake's end. Its first RTT sample is
        // the time from the SYN-ACK to the ACK, if no SYN-ACK was sent twice.
        u64::from(read!(tcp, tcp_srtt_us, u32) >> SRTT_SHIFT) * 1000
    } else {
        at.saturating_sub(connection.started)
    };
    if took != 0 && connection.awaited == 0 {
        tally::record(Kind::TcpHandshake, connection.workload, label, took);
    }
}

/// The connection has ended: counts it, once. `was` is its state before.
#[inline(always)]
pub fn ended(connection: &mut Connection, tcp: *const u8, was: u8) {
    if connection.phase != phase::OPENING && connection.phase != phase::OPEN {
        return;
    }
    let at = now();
    take_addresses(connection, tcp);
    let family = connection.family;
    count_bytes(connection, tcp, family);
    let was_open = connection.phase == phase::OPEN;
    if was_open || connection.role == Role::Client as u8 {
        count_segments(connection, tcp, Retransmit::Unknown as u8, family);
    }
    let mut error = read!(tcp, sock_err, u32) as u16;
    if !was_open && error == 0 {
        error = if read!(tcp, tcp_segs_out, u32) == 0 {
            NOT_SENT
        } else {
            ABORTED
        };
    }
    connection.error = error;
    connection.last_state = was;
    connection.ended = at;
    connection.phase = phase::ENDED;
    if was_open {
        sample_rtt(connection, tcp, family);
    }
    if connection.traced == 0 {
        return;
    }
    let label = label(connection.role, family, error);
    if was_open {
        tally::count(Kind::TcpClosed, connection.workload, label, 1);
        if connection.established != 0 {
            let lived = at.saturating_sub(connection.established);
            let label = observer_common::tcp::label(connection.role, family, 0);
            tally::record(Kind::TcpConnection, connection.workload, label, lived);
        }
    } else {
        tally::count(Kind::TcpFailed, connection.workload, label, 1);
    }
}

/// Workloads whose spans are limited each by themselves; two whose numbers are so
/// far apart share a limit.
const LIMITED: u32 = 4096;

/// When a workload's spans would have come if they had kept to the rate (the
/// generic cell rate algorithm, ITU-T I.371, A.1).
#[btf_map]
static SPANS_DUE: PerCpuArray<u64, { LIMITED as usize }> = PerCpuArray::new();

/// May this workload have one more span? Thousands of connections a second
/// would fill the ring only for the daemon to drop them.
#[inline(always)]
fn admits(workload: WorkloadId) -> bool {
    let interval = setting!(span_interval);
    if interval == 0 {
        return true;
    }
    let Some(due) = SPANS_DUE.get_ptr_mut(workload.0 & (LIMITED - 1)) else {
        return true;
    };
    let now = now();
    // SAFETY: this CPU's map value; an interrupt in between may cost a span of
    // the limit.
    let due = unsafe { &mut *due };
    let next = if *due > now { *due } else { now };
    if next - now > setting!(span_advance) {
        return false;
    }
    *due = next + interval;
    true
}

/// Sends the record of the end, once.
#[inline(always)]
pub fn report(connection: &mut Connection) {
    if connection.phase != phase::ENDED {
        return;
    }
    connection.phase = phase::REPORTED;
    if connection.traced == 0 || setting!(connection_records) == 0 {
        return;
    }
    if !admits(connection.workload) {
        lost(Loss::SpanRateLimited);
        return;
    }
    let ring = (&raw const TCP_RING).cast_mut().cast();
    let bytes = size_of::<Connection>() as u64;
    let whose = connection.workload;
    // SAFETY: the map, and a whole record.
    let sent = unsafe {
        let record = (&raw const *connection).cast();
        send(SharedRing::Tcp, ring, whose, record, bytes, |_| 0)
    };
    if !sent {
        lost(Loss::TcpRingFull);
    }
}

/// Remembers a retransmit or reset, for the span.
#[inline(always)]
pub fn remember(connection: &mut Connection, kind: u8, segments: u32) {
    let index = connection.event_count as usize;
    connection.event_count += 1;
    if index < EVENTS {
        // SAFETY: within the array.
        let event = unsafe { &mut *(&raw mut connection.events).cast::<Event>().add(index) };
        event.time = now();
        event.kind = u32::from(kind);
        event.segments = segments;
    }
}
