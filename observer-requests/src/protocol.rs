//! What a protocol's parser takes and gives.

use observer_common::requests::Protocol;

use super::Call;

/// One chunk of a connection's bytes: what one call sent or received.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Its first bytes, as many as were captured.
    pub data: &'a [u8],
    /// Bytes in all: `data.len()` and `tail.len()` or more.
    pub length: u64,
    /// Its last bytes, where they were captured and those before them weren't.
    pub tail: &'a [u8],
    /// Kernel time (ns) when the call began.
    pub began: u64,
    /// Kernel time (ns) when the bytes were there or gone.
    pub ended: u64,
}

/// Number of a request in its connection, from 0; parsers count.
pub type Exchange = u32;

/// Who asked for it, as told in a request's head (`traceparent` or b3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    /// Not all zero.
    pub trace_id: [u8; 16],
    /// Not all zero.
    pub span_id: [u8; 8],
    /// Whether the caller records its span; `None` where it leaves that open.
    pub sampled: Option<bool>,
}

/// How one request came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Number of the exchange on its connection.
    pub exchange: Exchange,
    /// When its answer began, in kernel time; `None` without an answer.
    pub answered: Option<u64>,
    /// When it was over, in kernel time: the `ended` of the chunk with the last
    /// byte of its answer.
    pub at: u64,
    /// What was asked and answered.
    pub call: Call,
}

/// What a parser found in a chunk. For each exchange: `Begun`, then at most one
/// `Context`, then one `Ended` (or nothing more, if the connection was lost
/// sight of). Exchanges may overlap.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request's first byte was in this chunk.
    Begun {
        /// Which.
        exchange: Exchange,
        /// Kernel time: [`Chunk::began`] of its first chunk as the client, and
        /// [`Chunk::ended`] as the server; see [`Parser::requested`].
        at: u64,
    },
    /// Its head told of a caller's trace.
    Context {
        /// Which.
        exchange: Exchange,
        /// The caller.
        context: RemoteContext,
    },
    /// It is over.
    Ended(Ended),
}

/// What parsers say beside events.
#[derive(Debug, Default)]
pub struct Events {
    /// In order; taken by the caller after each chunk.
    pub events: Vec<Event>,
    /// Chunks or messages that couldn't be understood.
    pub failed: u64,
    /// Exchanges that were left behind without an end: too many at once, or
    /// out of sight.
    pub abandoned: u64,
    /// The connection speaks something else from here on (an upgrade, TLS, a
    /// replication stream): no more chunks, please.
    pub finished: bool,
    /// With `finished`: and nobody follows what it speaks then.
    pub left: bool,
    /// What the connection speaks from here on, events of this chunk included, if that is
    /// another protocol which this parser reads, too.
    pub becomes: Option<Protocol>,
    /// Whether something may end by nothing but time: [`Parser::expire`], please.
    pub waits: bool,
}

/// A protocol on one connection, seen from either of its ends.
///
/// Input is hostile: whatever comes, a parser neither panics nor keeps more
/// than a few kilobytes per connection (a head under way, at most
/// [`MAX_OPEN`] exchanges). After something that it can't understand it counts
/// `failed` and finds its way back at the next message that begins a turn.
pub trait Parser: Send {
    /// Bytes from the side that asks. `at` is when they count as begun: a
    /// client's request begins when its call does, a server's when the bytes
    /// are there.
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events);

    /// Bytes from the side that answers.
    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events);

    /// Chunks of this connection were lost before the next one.
    fn missed(&mut self, out: &mut Events);

    /// Exchanges before the next chunk weren't followed, and what was begun
    /// before is over; the chunk begins another. `blind`: what was prepared
    /// there for later ones wasn't seen either.
    fn skipped(&mut self, _blind: bool, out: &mut Events) {
        self.missed(out);
    }

    /// Time has passed, up to `now` (kernel time): what can't be answered any more ends,
    /// and what has been answered as far as anybody can tell. How long it takes to be
    /// sure is the protocol's affair.
    fn expire(&mut self, _now: u64, _out: &mut Events) {}

    /// The connection ended at `at`: what is open ends, by an answer that ends
    /// with its connection or with a [`super::Failure`].
    fn closed(&mut self, at: u64, out: &mut Events);
}

/// Exchanges that one connection may have open.
pub const MAX_OPEN: usize = 1024;
