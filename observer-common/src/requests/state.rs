//! What the kernel half keeps of connections and of threads.

use super::ThreadClock;
use crate::plain::{FromBytes, Immutable, IntoBytes};

/// [`Connection::protocol`] beside the numbers of [`super::Protocol`].
pub mod protocol_state {
    /// Not recognised yet.
    pub const UNDECIDED: u8 = 0;
    /// Carries the records of a TLS library: its plain text is seen there.
    pub const TLS_RECORDS: u8 = 0xfe;
    /// Something else; left alone.
    pub const IGNORED: u8 = 0xff;
}

/// Of a socket, or of a TLS library's connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Connection {
    /// Its number; 0 = it has none yet.
    pub id: u64,
    /// Server: the number of its latest request. Client: the request for which
    /// its latest call was made, or for which it was connected.
    pub request: u64,
    /// Records made so far.
    pub number: u32,
    /// A [`super::Protocol`] or a [`protocol_state`].
    pub protocol: u8,
    /// One of [`super::role`].
    pub role: u8,
    /// 1 + one of [`super::direction`]: which way the last bytes went.
    pub direction: u8,
    /// Messages that weren't recognised.
    pub tries: u8,
    /// 1 = the daemon was told of it.
    pub announced: u8,
    /// A [`super::context`] = `request` is from its making, and how it is known; ends
    /// with its first message. 0 = it isn't.
    pub connected: u8,
    /// 1 = the daemon was told of its end.
    pub closed: u8,
    /// [`super::flag`]s of the connection.
    pub flags: u8,
    /// Bytes of the head under way that were captured; 0 = none is.
    pub head: u32,
    /// Turns taken so far.
    pub turns: u32,
    /// Segments that TCP sent again, as of the last piece that asked.
    pub retransmits: u32,
}

impl Connection {
    /// Nothing is known of it yet.
    pub const NEW: Self = Self {
        id: 0,
        request: 0,
        number: 0,
        protocol: protocol_state::UNDECIDED,
        role: 0,
        direction: 0,
        tries: 0,
        announced: 0,
        connected: 0,
        closed: 0,
        flags: 0,
        head: 0,
        turns: 0,
        retransmits: 0,
    };
}

/// A session of a TLS library.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Session {
    /// Its plain text; the number is the socket's.
    pub connection: Connection,
    /// 1 = a call of the session used the socket itself; 0 = the thread had
    /// just received from it.
    pub sure: u8,
    /// Times in a row that the thread had just received from another one.
    pub doubts: u8,
    /// Whose share of the table it takes, see [`crate::workload::tenant`].
    pub tenant: u16,
    /// The process that began it.
    pub tgid: u32,
}

/// TLS sessions that are remembered, and as many sockets.
pub const SESSIONS: u32 = 16384;

/// A session's key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct SessionKey {
    /// Address of the library's `SSL`.
    pub session: u64,
    /// Process.
    pub tgid: u64,
}

/// A socket that carries the records of TLS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct TlsSocket {
    /// What a session that uses it begins with.
    pub session: Session,
    /// Who is connected.
    pub opened: super::Opened,
}

/// A thread's call of a TLS library.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct TlsCall {
    /// Address of the `SSL`; 0 = there is no call under way.
    pub session: u64,
    /// Where the plain text is, or will be.
    pub buffer: u64,
    /// Where the call will say how much it was; 0 = its result says so.
    pub length: u64,
    /// Kernel time of its beginning.
    pub began: u64,
    /// Number of the connection that it used; 0 = none yet.
    pub connection: u64,
    /// Number of the connection from which the thread received records itself,
    /// to hand them to the library; 0 = none since its last call.
    pub received: u64,
    /// Segments sent again on the connection used last.
    pub retransmits: u32,
    /// One of [`super::direction`], or [`TlsCall::HANDSHAKE`].
    pub way: u32,
}

impl TlsCall {
    /// See [`TlsCall::way`].
    pub const HANDSHAKE: u32 = 2;
}

/// Of a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Serving {
    /// Where its time went.
    pub clock: ThreadClock,
    /// Kernel time up to which `clock` is right; 0 = it isn't kept.
    pub mark: u64,
    /// Nanoseconds in a wait of which isn't known whether it was for a socket.
    pub unsettled: u64,
    /// Beginning of the syscall with that wait.
    pub unsettled_call: u64,
    /// The connection of the call that it waits for; 0 = none.
    pub calling: u64,
    /// The request that was handed to it, until it goes to wait; 0 = none.
    pub offer: u64,
    /// Beginning of the syscall to which `messages` belongs.
    pub messages_call: u64,
    /// Beginning of the syscall in which it received something last.
    pub received_call: u64,
    /// Kernel time when its last wait for events ended; 0 = none did.
    pub back: u64,
    /// Kernel time before which none of the timers is due that it knew when it went
    /// to wait for events.
    pub timers: u64,
    /// Messages of a sendmmsg or recvmmsg that were seen.
    pub messages: u16,
    /// Which wait for events it was, never 0.
    pub wait: u8,
    /// The same of the wait that brought what it received last; 0 = none that is known.
    pub brought_by: u8,
    /// Since it isn't on a CPU: what it waits for, a [`super::Component`];
    /// [`Serving::ON_CPU`] while it is; [`Serving::STREAM`] if that isn't known.
    pub component: u8,
    /// One of [`super::context`]: how it came by its request.
    pub context: u8,
    /// 1 = it has begun to answer.
    pub answered: u8,
    /// [`super::context::ALONE`] or [`super::context::AMONG`] of the next that it
    /// receives, if that is an event for which it waited; 0 = it isn't.
    pub coming: u8,
    /// See [`super::Piece::passed`].
    pub passed: u8,
    /// The same of what it receives next.
    pub passes: u8,
    /// Which wait brings that, if one does.
    pub brings: u8,
    /// Nothing.
    pub padding: [u8; 5],
}

impl Serving {
    /// See [`Serving::component`].
    pub const ON_CPU: u8 = 0xff;
    /// See [`Serving::component`].
    pub const STREAM: u8 = 0xfe;
}
