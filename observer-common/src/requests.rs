//! Requests: what the kernel half tells of a connection's bytes, and how it
//! recognises which connections are worth telling of.
//!
//! Three kinds of records go through one ring: a connection that was recognised
//! ([`Opened`]), a piece of it ([`Piece`], followed by the bytes that were
//! captured), its end ([`Closed`]). Each begins with its [`Tag`].

use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::WorkloadId;

mod asyncio;
mod clock;
mod go;
mod protocol;
mod proxy;
mod share;
mod sniff;
mod state;

pub use asyncio::{ASYNCIO_LOOPS, AsyncioLoop, LOOPS, dictionary};
pub use clock::{COMPONENTS, Component, SENDS, SYSCALLS, Shape, ThreadClock, Wait};
pub use go::{GO_OBJECTS, GO_WRITING, GoObject, GoWrite};
pub use protocol::{Beginning, Protocol, REDIS_SELECT, REDIS_START, SNIFFED, Sniffed};
pub use proxy::{PROXY_HEADER, begins_proxied, proxy_header};
pub use share::{beginning, chosen, mixed, request, unfollowed};
pub use sniff::sniff;
pub use state::{
    Connection, SESSIONS, Serving, Session, SessionKey, TlsCall, TlsSocket, protocol_state,
};

/// First word of a record.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// An [`Opened`].
    Opened = 1,
    /// A [`Piece`].
    Piece = 2,
    /// A [`Closed`].
    Closed = 3,
    /// An [`Executed`].
    Executed = 4,
}

/// Which way bytes went, as the socket's owner sees it.
pub mod direction {
    /// The thread read them.
    pub const RECEIVED: u8 = 0;
    /// The thread wrote them.
    pub const SENT: u8 = 1;
}

/// [`Opened::role`]: who asks on a connection.
pub mod role {
    /// The other end asks; the socket's owner serves.
    pub const SERVER: u8 = 1;
    /// The socket's owner asks.
    pub const CLIENT: u8 = 2;
}

/// [`Opened::transport`].
pub mod transport {
    /// TCP.
    pub const TCP: u8 = 1;
    /// UDP.
    pub const UDP: u8 = 2;
    /// A Unix domain stream socket.
    pub const UNIX: u8 = 3;
}

/// [`Piece::flags`] and [`Opened::flags`].
pub mod flag {
    /// The bytes are plain text from inside a TLS library.
    pub const TLS: u8 = 1;
    /// The first piece after the direction turned: a message begins here.
    pub const TURN: u8 = 2;
    /// The connection is older than the daemon, or was recognised in mid-stream.
    pub const MIDSTREAM: u8 = 4;
    /// More bytes of this piece belong to a message's head than were captured.
    pub const CUT: u8 = 8;
    /// Several requests were sent without waiting for the answers.
    pub const PIPELINED: u8 = 16;
    /// Exchanges before this piece, which begins another, weren't followed:
    /// what went before has nothing to do with it.
    pub const SKIPPED: u8 = 32;
    /// And what was prepared there for later ones wasn't seen.
    pub const BLIND: u8 = 64;
    /// Of [`super::Connection`] only: the exchange under way isn't followed.
    pub const UNFOLLOWED: u8 = 128;
}

/// [`Piece::context`]: how the kernel half knows which request the thread
/// serves ([`Piece::request`]).
pub mod context {
    /// It doesn't.
    pub const NONE: u8 = 0;
    /// The thread itself received the request, and waited for nothing else since.
    pub const RECEIVED: u8 = 1;
    /// The thread received the answer to a call that it had made for it.
    pub const CONTINUED: u8 = 2;
    /// A thread of the same process that served it woke this one, which had
    /// nothing to do.
    pub const HANDED_OVER: u8 = 3;
    /// The connection was made while the thread served it.
    pub const CONNECTED: u8 = 4;
    /// The thread has just answered it (or received more of it) on its own connection.
    pub const OWN: u8 = 5;
    /// The thread waited for events, and one came: the request, or more of it. Since
    /// then it has received nothing else, and none of its timers can have fired.
    pub const ALONE: u8 = 6;
    /// The same where several came, of which this is one: what the thread does until it
    /// takes the next of them is for this one. Behind the last it may be for each.
    pub const AMONG: u8 = 7;
}

/// Default bytes that are captured of a message's first piece.
pub const CAPTURE: u32 = 512;
/// Default size of the ring.
pub const REQUEST_RING_BYTES: u32 = 2 << 20;
/// Bytes that are captured of a piece at most; of an answer's head, over all pieces.
pub const CAPTURE_MAX: u32 = 4096;
/// Bytes that are captured of a request's head at most, over all its pieces.
pub const HEAD_MAX: u32 = 32 << 10;
/// Bytes that are captured of the end of an answer that is longer, where the end
/// says how it went ([`Protocol::told_at_end`]).
pub const CAPTURE_TAIL: u32 = 256;

/// A connection was recognised; precedes its first [`Piece`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Opened {
    /// [`Tag::Opened`].
    pub tag: u32,
    /// Process that uses it.
    pub tgid: u32,
    /// Number of the connection: unique while the kernel half is loaded, never 0.
    pub connection: u64,
    /// Kernel time.
    pub at: u64,
    /// Workload that uses it.
    pub workload: WorkloadId,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Addresses as in the socket, network byte order; an IPv4 address is in
    /// the first 4 bytes. For [`transport::UNIX`] the kernel's addresses of
    /// both sockets.
    pub local: [u64; 2],
    /// See `local`.
    pub peer: [u64; 2],
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub peer_port: u16,
    /// 4, 6, or 0 for [`transport::UNIX`].
    pub family: u8,
    /// One of [`transport`].
    pub transport: u8,
    /// A [`Protocol`].
    pub protocol: u8,
    /// One of [`role`].
    pub role: u8,
    /// [`flag`]s.
    pub flags: u8,
    /// Nothing.
    pub padding: [u8; 7],
}

/// What one system call (or one call of a TLS library) sent or received.
/// `captured` bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Piece {
    /// [`Tag::Piece`].
    pub tag: u32,
    /// Process.
    pub tgid: u32,
    /// See [`Opened::connection`].
    pub connection: u64,
    /// Kernel time: when the call began.
    pub began: u64,
    /// Kernel time: when the bytes were there (received) or gone (sent).
    pub ended: u64,
    /// Number of the request that the thread serves now; 0 = none that is
    /// known. Each [`flag::TURN`] that a server receives begins a new number.
    pub request: u64,
    /// Thread.
    pub tid: u32,
    /// Workload of the thread that sent or received.
    pub workload: WorkloadId,
    /// Bytes in all.
    pub length: u32,
    /// How many records of this connection were made before: a gap says that
    /// some were lost.
    pub number: u32,
    /// Segments that the connection's TCP sent again so far.
    pub retransmits: u32,
    /// Bytes that follow.
    pub captured: u16,
    /// How many of them, the last ones, are the last ones of all: between the
    /// others and these are bytes that weren't captured. 0 = none.
    pub tail: u16,
    /// One of [`direction`].
    pub direction: u8,
    /// [`flag`]s.
    pub flags: u8,
    /// One of [`context`].
    pub context: u8,
    /// The connection's [`Protocol`], for a daemon that missed its [`Opened`].
    pub protocol: u8,
    /// See [`Opened::role`].
    pub role: u8,
    /// Received: which of the thread's waits for events brought it; 0 = none that is
    /// known. Sent: the same of what the thread received last.
    pub wait: u8,
    /// Received: which wait brought the request before, if the thread took another
    /// event after that which isn't told of; 0 = none.
    pub passed: u8,
    /// Nothing.
    pub padding: u8,
    /// What the thread's time went into so far.
    pub clock: ThreadClock,
    /// Sent: address of the task in which the thread did so, where its program has
    /// such ([`AsyncioLoop`]); 0 = none that is known.
    pub task: u64,
}

/// A connection ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Closed {
    /// [`Tag::Closed`].
    pub tag: u32,
    /// The socket's error (errno) at its end, 0 for a clean one.
    pub error: u32,
    /// See [`Opened::connection`].
    pub connection: u64,
    /// Kernel time.
    pub at: u64,
    /// The state in which it was before (`TCP_…`); 0 = not known.
    pub was: u32,
    /// Nothing.
    pub padding: u32,
}

/// A process began a program: it may bring a TLS library that isn't known yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Executed {
    /// [`Tag::Executed`].
    pub tag: u32,
    /// The process.
    pub tgid: u32,
}
