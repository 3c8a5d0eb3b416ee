//! TCP: labels of its tallies, the state of a connection, the record of its end.

use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::WorkloadId;

/// The socket's address family as counted: what is on the wire, so IPv4 also
/// for an IPv6 socket with a mapped address.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Not known: there was no socket.
    Unknown = 0,
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// Which side of the connection a socket is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Not known: the connection is older than the daemon.
    Unknown = 0,
    /// It called connect.
    Client = 1,
    /// It was accepted.
    Server = 2,
    /// No connection: it listens.
    Listener = 3,
}

/// Why a segment was sent again.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retransmit {
    /// Counted by the kernel, but not shown by its tracepoint.
    Unknown = 0,
    /// The SYN of a client.
    Syn = 1,
    /// The SYN-ACK of a server.
    SynAck = 2,
    /// Acknowledgements told of a loss (fast retransmit, RACK).
    Fast = 3,
    /// The retransmission timer ran out, or the recovery from that goes on.
    Timeout = 4,
    /// A tail loss probe.
    TailLossProbe = 5,
}

impl Retransmit {
    /// All types.
    pub const ALL: &'static [Self] = &[
        Self::Unknown,
        Self::Syn,
        Self::SynAck,
        Self::Fast,
        Self::Timeout,
        Self::TailLossProbe,
    ];

    /// The value of the attribute `network.tcp.retransmit.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Syn => "syn",
            Self::SynAck => "synack",
            Self::Fast => "fast",
            Self::Timeout => "timeout",
            Self::TailLossProbe => "tail_loss_probe",
        }
    }
}

/// [`label`]'s `what` and [`Event::kind`]: data or a reset left the host.
pub const SENT: u8 = 16;
/// Data or a reset came in.
pub const RECEIVED: u8 = 17;

/// Not an errno: the application gave the connection up before it was there.
pub const ABORTED: u16 = 0xffff;
/// Not an errno: not even one packet was sent, for want of a free port.
pub const NOT_SENT: u16 = 0xfffe;

/// The label of a tally: what (a [`Role`], a [`Retransmit`], [`SENT`] or
/// [`RECEIVED`]), address family, and errno where something failed.
#[inline(always)]
pub const fn label(what: u8, family: u8, error: u16) -> u64 {
    what as u64 | (family as u64) << 8 | (error as u64) << 16
}

/// Takes a [`label`] apart again, into what, family and error.
pub const fn split_label(label: u64) -> (u8, u8, u16) {
    (label as u8, (label >> 8) as u8, (label >> 16) as u16)
}

/// `TCP_*` of include/net/tcp_states.h.
pub mod state {
    /// `TCP_ESTABLISHED`.
    pub const ESTABLISHED: u8 = 1;
    /// `TCP_SYN_SENT`.
    pub const SYN_SENT: u8 = 2;
    /// `TCP_SYN_RECV`.
    pub const SYN_RECV: u8 = 3;
    /// `TCP_FIN_WAIT1`.
    pub const FIN_WAIT1: u8 = 4;
    /// `TCP_FIN_WAIT2`.
    pub const FIN_WAIT2: u8 = 5;
    /// `TCP_TIME_WAIT`.
    pub const TIME_WAIT: u8 = 6;
    /// `TCP_CLOSE`.
    pub const CLOSE: u8 = 7;
    /// `TCP_CLOSE_WAIT`.
    pub const CLOSE_WAIT: u8 = 8;
    /// `TCP_LAST_ACK`.
    pub const LAST_ACK: u8 = 9;
    /// `TCP_LISTEN`.
    pub const LISTEN: u8 = 10;
    /// `TCP_CLOSING`.
    pub const CLOSING: u8 = 11;

    /// The value of the attribute `network.connection.state`, in the spelling
    /// of the semantic conventions.
    pub const fn name(state: u8) -> &'static str {
        match state {
            ESTABLISHED => "established",
            SYN_SENT => "syn_sent",
            SYN_RECV => "syn_received",
            FIN_WAIT1 => "fin_wait_1",
            FIN_WAIT2 => "fin_wait_2",
            TIME_WAIT => "time_wait",
            CLOSE => "closed",
            CLOSE_WAIT => "close_wait",
            LAST_ACK => "last_ack",
            LISTEN => "listen",
            CLOSING => "closing",
            _ => "unknown",
        }
    }
}

/// How far a connection is.
pub mod phase {
    /// Nothing known yet.
    pub const NONE: u8 = 0;
    /// The handshake is under way.
    pub const OPENING: u8 = 1;
    /// It is there, and counted as opened or accepted.
    pub const OPEN: u8 = 2;
    /// It has ended and is counted; its record is held back for the reset that
    /// is about to be sent.
    pub const ENDED: u8 = 3;
    /// Its record is sent.
    pub const REPORTED: u8 = 4;
}

/// How sure it is who owns a socket.
pub mod owner {
    /// The thread that called connect or listen.
    pub const SURE: u8 = 0;
    /// The listener's owner, or whoever held the socket when it was looked for.
    pub const GUESSED: u8 = 1;
    /// As [`GUESSED`], and not yet looked for.
    pub const NEW: u8 = 2;
}

/// Events that a connection remembers; later ones are only counted.
pub const EVENTS: usize = 8;

/// A retransmit or reset.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Event {
    /// Kernel time.
    pub time: u64,
    /// A [`Retransmit`], or [`SENT`] or [`RECEIVED`] for a reset.
    pub kind: u32,
    /// Segments sent again.
    pub segments: u32,
}

/// What is known of a socket. Lives in the socket's storage; the kernel clones
/// a listener's for the connections that it accepts. It is also the record of
/// the connection's end.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Connection {
    /// The owner's workload.
    pub workload: WorkloadId,
    /// The owner's process; 0 when not known.
    pub tgid: u32,
    /// Iteration that set the owner; see [`owner`].
    pub session: u64,
    /// Kernel time when the handshake began, or when the daemon first saw it.
    pub started: u64,
    /// Kernel time when it was established; 0 if it never was, or not seen.
    pub established: u64,
    /// Kernel time of its end.
    pub ended: u64,
    /// Payload bytes sent, each once, as far as they are counted.
    pub sent: u64,
    /// Payload bytes received in order, as far as they are counted.
    pub received: u64,
    /// Retransmitted segments as far as they are counted.
    pub segments: u32,
    /// `tcp_sock.delivered` when the RTT was last sampled.
    pub delivered: u32,
    /// Sequence number of the first payload byte sent.
    pub first_seq: u32,
    /// Smoothed RTT at the end, in microseconds.
    pub srtt_us: u32,
    /// Retransmits and resets so far, also those not in `events`.
    pub event_count: u32,
    /// A [`Role`].
    pub role: u8,
    /// See [`phase`].
    pub phase: u8,
    /// 1 = the owner passes the filters.
    pub traced: u8,
    /// See [`owner`].
    pub owner: u8,
    /// 1 = older than the daemon.
    pub older: u8,
    /// A [`Family`].
    pub family: u8,
    /// errno (or [`ABORTED`], [`NOT_SENT`]) with which it ended; 0 = in order.
    pub error: u16,
    /// Local port in network order.
    pub local_port: u16,
    /// The peer's port in network order.
    pub peer_port: u16,
    /// Local address in network order; IPv4 in the first four bytes.
    pub local: [u64; 2],
    /// The peer's address, likewise.
    pub peer: [u64; 2],
    /// State before the end (`TCP_*`).
    pub last_state: u8,
    /// 1 = its handshake is timed by the connect call that waits for it.
    pub awaited: u8,
    /// Nothing.
    pub padding: [u8; 6],
    /// The first [`EVENTS`] retransmits and resets.
    pub events: [Event; EVENTS],
}

/// Payload bytes sent: `next` is the sequence number behind the last of them,
/// `first` that of the first. Sequence numbers have 32 bits; `acked`, a 64-bit
/// count that is less than half their range away, says how often they wrapped.
#[inline(always)]
pub const fn bytes_between(first: u32, next: u32, acked: u64) -> u64 {
    let low = next.wrapping_sub(first);
    let ahead = low.wrapping_sub(acked as u32) as i32;
    let bytes = acked.wrapping_add(ahead as i64 as u64);
    if (bytes as i64) < 0 { 0 } else { bytes }
}

/// What the iterator over all sockets says: so many in this state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Counted {
    /// The owner's workload.
    pub workload: WorkloadId,
    /// `TCP_*`.
    pub state: u8,
    /// A [`Family`].
    pub family: u8,
    /// Nothing.
    pub padding: u16,
    /// How many, in the low 31 bits; see [`UNOWNED`].
    pub count: u32,
}

/// Where a listener listens.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Place {
    /// The network namespace, by the address of the kernel's structure.
    pub net: u64,
    /// The port, in the host's order.
    pub port: u64,
}

/// Whose a listener is.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Holder {
    /// Workload that owns the socket.
    pub workload: WorkloadId,
    /// The process.
    pub tgid: u32,
    /// 1 = it passes the filters.
    pub traced: u32,
}

/// Listeners that are remembered while stock is taken.
pub const LISTENERS: usize = 4096;

/// Set in [`Counted::count`] when the owner should be looked for.
pub const UNOWNED: u32 = 1 << 31;

/// Bytes of the ring of ended connections.
pub const RING_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks bytes beyond the range of sequence numbers, and around a wrap.
    #[test]
    fn bytes_of_sequence_numbers() {
        assert_eq!(bytes_between(1000, 1000, 0), 0);
        // One acknowledged SYN, nothing sent.
        assert_eq!(bytes_between(1000, 1000, 1), 0);
        assert_eq!(bytes_between(u32::MAX - 9, 90, 40), 100);
        let long = 7 << 32 | 12_345;
        let first = 4_000_000_000u32;
        let next = first.wrapping_add(long as u32);
        for behind in [0, 1, 65_536, 1 << 30] {
            assert_eq!(bytes_between(first, next, long - behind), long);
        }
        // Acknowledgements were counted after `next` was read.
        assert_eq!(bytes_between(first, next, long + 5000), long);
        // A reset socket: no bytes rather than 2^64 of them.
        assert_eq!(bytes_between(1000, 999, 0), 0);
    }
}
