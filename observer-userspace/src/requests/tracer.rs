//! From records to requests that are over: which trace each belongs to, whose
//! child it is, where its time went and whether it is kept.
//!
//! ```text
//! records ─► order ─► connections ─► parser ─► begin ─► open ─► finish ─► Output
//!           (time)    (both ends)             (whose child)    (clock, sampling)
//! ```
//!
//! A request has a span at each of its connection's ends that is on this host.
//! How they hang together:
//!
//! - A server's request whose client is on this host is the child of the
//!   client's, by the connection's two ends. Otherwise it is the child of what
//!   its head tells (`traceparent`, b3), or begins a trace.
//! - A client's call is the child of what its own head tells, if the program
//!   wrote one; otherwise of the request that its thread serves, as the kernel
//!   half and the threads' doings tell. Where several requests could be it, it
//!   has no parent and says so ([`Parent::Ambiguous`](super::Parent)).
//!
//! Which traces are kept is decided at the first span of a trace on this host
//! ([`Sampler`]), and inherited. A trace that isn't kept is kept after all if
//! one of its requests fails or is one of the slowest hundredth of its kind,
//! unless its caller said not to keep it or nothing is to be kept: then those
//! of its spans that still wait here, and all that come, are kept.

mod begin;
mod connections;
mod ends;
mod finish;
mod held;
mod open;
mod order;
mod output;
mod parsers;
mod sampling;
mod slab;
mod tail;
#[cfg(test)]
mod tests;
mod threads;
mod traces;
mod turns;
mod wire;

use observer_common::requests::{Closed, Opened, Piece, Protocol, direction, role, transport};
use rustc_hash::FxHashMap;

use super::routes::Routes;
use super::{Chunk, Event, Events, Role, Transport, dns};
use connections::{Connections, Slot};
use held::Held;
use open::Open;
use order::{Kind, Order};
pub use output::Output;
pub use parsers::{Make, parser_for};
use sampling::Sampling;
pub use sampling::{Sampler, SamplerError};
use slab::{Key, Slab};
use tail::Slowest;
use threads::Threads;
use traces::Undecided;
pub use turns::Link;
use turns::Turns;

/// What a tracer is told at its beginning.
pub struct Options {
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Traces that may be kept per second and workload, and how many at once.
    /// (As many again may be kept for errors and slowness.)
    pub span_limit: Option<(f64, f64)>,
    /// Connections that are known at once; beyond, those that weren't used for
    /// longest are forgotten.
    pub max_connections: usize,
    /// Nanoseconds for which a record waits for those that come late.
    pub hold: u64,
    /// Makes a connection's parser.
    pub parsers: Make,
    /// Finds the routes of HTTP requests.
    pub routes: Routes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampler: Sampler::default(),
            span_limit: None,
            max_connections: 65_536,
            hold: 2_000_000,
            parsers: parser_for,
            routes: Routes::new(),
        }
    }
}

/// What was lost on the way, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that were no records, or of something unknown.
    pub malformed: u64,
    /// Records that came faster than they were handled.
    pub overrun: u64,
    /// Records of connections that didn't come (gaps in their numbers).
    pub missed: u64,
    /// Connections that were forgotten since there were too many.
    pub evicted: u64,
    /// Chunks or messages that a parser couldn't understand.
    pub failed: u64,
    /// Requests whose end wasn't seen: left behind by their parser, or open on
    /// a connection that was forgotten, or too many.
    pub abandoned: u64,
    /// Server requests whose clock didn't fit their duration.
    pub clocks: u64,
    /// Spans that weren't kept since too many traces began.
    pub limited: u64,
    /// Spans that would have waited for the end of their trace, but for others.
    pub unbuffered: u64,
}

/// Requests that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Whose.
    pub workload: u16,
    /// On which side.
    pub role: Role,
    /// Which protocol.
    pub protocol: Protocol,
    /// Whether by TLS.
    pub tls: bool,
    /// How many.
    pub count: u64,
}

/// Makes requests of records.
pub struct Tracer {
    hold: u64,
    parsers: Make,
    routes: Routes,
    order: Order,
    connections: Connections,
    exchanges: Slab<Open>,
    threads: Threads,
    turns: Turns,
    held: Held,
    sampling: Sampling,
    slowest: Slowest,
    undecided: Undecided,
    random: fastrand::Rng,
    losses: Losses,
    /// When questions without an answer were looked for.
    expired: u64,
    /// Used again for each piece.
    events: Events,
    /// Exchanges that won't end, to be dropped.
    stale: Vec<Key>,
    /// Groups that wait for nothing any more.
    release: Vec<Key>,
}

/// A connection that wasn't used for so long (ns) is forgotten: the end of
/// some isn't told.
const IDLE: u64 = 600_000_000_000;
/// One of datagrams without an open question, likewise.
const IDLE_DATAGRAMS: u64 = 20_000_000_000;

impl Tracer {
    /// A tracer that knows nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            hold: options.hold,
            parsers: options.parsers,
            routes: options.routes,
            order: Order::default(),
            connections: Connections::new(options.max_connections),
            exchanges: Slab::default(),
            threads: Threads::default(),
            turns: Turns::default(),
            held: Held::default(),
            sampling: Sampling::new(options.sampler, options.span_limit),
            slowest: Slowest::default(),
            undecided: Undecided::default(),
            random: fastrand::Rng::new(),
            losses: Losses::default(),
            expired: 0,
            events: Events::default(),
            stale: Vec::new(),
            release: Vec::new(),
        }
    }

    /// Takes a record out of the ring. Nothing is believed of it.
    pub fn record(&mut self, bytes: &[u8]) {
        let taken = match wire::record(bytes) {
            Some(wire::Record::Opened(opened)) => {
                // Known at once: its pieces come later, its other end looks for it.
                self.opened(&opened);
                true
            }
            Some(wire::Record::Piece {
                began,
                ended,
                connection,
                number,
                direction: way,
                role: whose,
            }) => {
                let (kind, at) = match (way, whose) {
                    // What is asked was sent when its call began: it may have
                    // been received before the call was over.
                    (direction::SENT, role::CLIENT) => (Kind::Sent, began),
                    (direction::SENT, role::SERVER) => (Kind::Sent, ended),
                    (direction::RECEIVED, role::SERVER | role::CLIENT) => (Kind::Received, ended),
                    _ => {
                        self.losses.malformed += 1;
                        return;
                    }
                };
                self.order.push(at, connection, number, kind, bytes)
            }
            Some(wire::Record::Closed(Closed { connection, at, .. })) => {
                self.order.push(at, connection, 0, Kind::Closed, &[])
            }
            Some(wire::Record::Other) => true,
            None => {
                self.losses.malformed += 1;
                true
            }
        };
        self.losses.overrun += u64::from(!taken);
    }

    /// Handles what happened until a moment ago (the hold before `now`, kernel
    /// time, and before the latest record: the ring may hold more) in the order
    /// in which it did. `out` is emptied first. To be called after each batch of
    /// records, and now and then without any.
    pub fn advance(&mut self, now: u64, out: &mut Output) {
        let complete = self.order.complete(now);
        let until = if self.order.crowded() {
            u64::MAX
        } else {
            complete.saturating_sub(self.hold)
        };
        self.handle(now, until, out);
    }

    /// Handles all that there is, at the daemon's end. What is open stays open.
    pub fn flush(&mut self, now: u64, out: &mut Output) {
        self.handle(now, u64::MAX, out);
        while let Some(group) = self.held.expired(u64::MAX) {
            self.resolve(group, None, out);
        }
    }

    /// What is known of a request by the kernel half's number.
    pub fn link(&self, request: u64) -> Option<Link> {
        let open = self.turns.first(request);
        let Some(exchange) = open.and_then(|(key, _)| self.exchanges.get(key)) else {
            return self.turns.over(request).cloned();
        };
        let ids = &exchange.span;
        Some(Link {
            trace_id: ids.trace,
            span_id: ids.span,
            route: None,
            sampled: ids.decision == sampling::Decision::Keep || self.undecided.is_kept(&ids.trace),
            duration: None,
        })
    }

    /// Requests that are open, by workload, side and protocol.
    pub fn active(&self) -> Vec<Active> {
        let mut counts = FxHashMap::<(u16, Role, u8, bool), Active>::default();
        for exchange in self.exchanges.iter() {
            let Some(connection) = self.connections.get(exchange.connection) else {
                continue;
            };
            let (workload, role) = (exchange.workload, exchange.role);
            let protocol = connection.protocol();
            let tls = connection.endpoints.tls;
            let active = counts
                .entry((workload, role, protocol as u8, tls))
                .or_insert(Active {
                    workload,
                    role,
                    protocol,
                    tls,
                    count: 0,
                });
            active.count += 1;
        }
        counts.into_values().collect()
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        Losses {
            unbuffered: self.undecided.dropped,
            ..self.losses
        }
    }

    fn opened(&mut self, opened: &Opened) {
        let protocol = Protocol::from_number(opened.protocol);
        let known = matches!(opened.role, role::CLIENT | role::SERVER);
        let Some(protocol) = protocol.filter(|_| known && opened.connection != 0) else {
            self.losses.malformed += 1;
            return;
        };
        if let Some(before) = self.connections.slot(opened.connection) {
            self.forget(before);
        }
        self.make_room();
        let datagram = opened.transport == transport::UDP;
        let midstream = opened.flags & observer_common::requests::flag::MIDSTREAM != 0;
        let parser = (self.parsers)(protocol, datagram, midstream);
        self.connections.open(opened, protocol, parser);
    }

    /// A connection that there is a piece of, but nothing else.
    fn guessed(&mut self, piece: &Piece) -> Option<Slot> {
        let protocol = Protocol::from_number(piece.protocol);
        let Some(protocol) = protocol.filter(|_| piece.connection != 0) else {
            self.losses.malformed += 1;
            return None;
        };
        self.make_room();
        let parser = (self.parsers)(protocol, false, true);
        Some(self.connections.guess(piece, protocol, parser))
    }

    fn make_room(&mut self) {
        while self.connections.full()
            && let Some((oldest, _)) = self.connections.oldest()
        {
            self.losses.evicted += 1;
            self.forget(oldest);
        }
    }

    /// Lets go of a connection, and of what is open there.
    fn forget(&mut self, slot: Slot) {
        if let Some(connection) = self.connections.remove(slot) {
            self.stale
                .extend(connection.open.iter().map(|(_, key)| *key));
            self.drop_stale();
        }
    }

    /// Drops exchanges that won't end.
    fn drop_stale(&mut self) {
        while let Some(key) = self.stale.pop() {
            let Some(exchange) = self.exchanges.remove(key) else {
                continue;
            };
            self.losses.abandoned += 1;
            if exchange.role == Role::Server {
                self.threads.ended(exchange.tid, exchange.tgid);
                self.turns.end(key, &exchange, &mut self.exchanges);
            }
        }
    }

    fn handle(&mut self, now: u64, until: u64, out: &mut Output) {
        self.undecided.settle(out);
        out.kept.clear();
        // Put back below; what is handled doesn't make records.
        let mut order = std::mem::take(&mut self.order);
        let due = order.due(until);
        for index in 0..due {
            self.turn(&mut order, index, out);
        }
        order.done(due);
        self.order = order;

        while let Some(group) = self.held.expired(now) {
            self.resolve(group, None, out);
        }
        while let Some((oldest, last)) = self.connections.oldest()
            && now.saturating_sub(last) > IDLE
        {
            self.forget(oldest);
        }
        self.threads.sweep(now);
        self.expire(until.min(now), out);
        self.undecided.expire(now);
    }

    /// Ends questions that weren't answered, and forgets the sockets of others:
    /// the end of those isn't told.
    fn expire(&mut self, now: u64, out: &mut Output) {
        if now.saturating_sub(self.expired) < dns::TIMEOUT / 4 {
            return;
        }
        self.expired = now;
        let unsure = self.connections.unsure();
        for number in &unsure {
            let Some(slot) = self.connections.slot(*number) else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            let datagrams = connection.endpoints.transport == Transport::Udp;
            if !connection.open.is_empty() {
                if let Some(parser) = &mut connection.parser {
                    parser.expire(now.saturating_sub(dns::TIMEOUT), &mut self.events);
                    self.happened(slot, None, out);
                }
            } else if datagrams && now.saturating_sub(connection.last) > IDLE_DATAGRAMS {
                self.forget(slot);
            }
        }
        self.connections.watch(unsure);
    }

    /// One record's turn.
    fn turn(&mut self, order: &mut Order, index: usize, out: &mut Output) {
        let waiting = order.get(index);
        if waiting.taken {
            return;
        }
        if waiting.kind == Kind::Closed {
            self.closed(waiting.connection, waiting.at, out);
            return;
        }
        let slot = self.connections.slot(waiting.connection);
        let skips = |tracer: &Self| {
            let connection = slot.and_then(|slot| tracer.connections.get(slot));
            connection.and_then(|connection| connection.skips(waiting.number))
        };
        if skips(self).is_some() {
            // Perhaps what is missing is there, only sorted behind: of the same
            // direction it comes first, of the other one it may come later.
            while let Some(earlier) = order.earlier(index, waiting.kind) {
                let other = order.get(earlier);
                order.take(earlier);
                self.piece(slot, other.at, order.bytes(&other), out);
            }
            let missing = skips(self).map_or(0, |missing| {
                missing.saturating_sub(order.present(index, missing))
            });
            if missing > 0 {
                self.missed(slot, missing, out);
            }
        }
        self.piece(slot, waiting.at, order.bytes(&waiting), out);
    }

    /// Pieces of a connection were lost.
    fn missed(&mut self, slot: Option<Slot>, missing: u32, out: &mut Output) {
        self.losses.missed += u64::from(missing);
        let Some((slot, connection)) =
            slot.and_then(|slot| Some((slot, self.connections.get_mut(slot)?)))
        else {
            return;
        };
        if let Some(parser) = &mut connection.parser {
            parser.missed(&mut self.events);
        }
        // Its ends may count differently from here on.
        let other = connection.other;
        for slot in [Some(slot), other].into_iter().flatten() {
            let open = self
                .connections
                .get(slot)
                .map(|connection| &connection.open);
            for (_, key) in open.into_iter().flatten() {
                if let Some(exchange) = self.exchanges.get_mut(*key) {
                    exchange.paired = true;
                }
            }
        }
        self.happened(slot, None, out);
    }

    fn piece(&mut self, slot: Option<Slot>, at: u64, bytes: &[u8], out: &mut Output) {
        let Some((piece, data)) = wire::piece(bytes) else {
            return;
        };
        let Some(slot) = slot.or_else(|| self.guessed(&piece)) else {
            return;
        };
        self.connections.touch(slot, at);
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.passed(piece.number);
        connection.retransmits = piece.retransmits;
        if connection.parser.is_none() {
            return;
        }
        let sent = piece.direction == direction::SENT;
        let role = connection.role;
        if role == Role::Server && sent {
            self.answering(slot, &piece, out);
        }
        let parser = self.connections.get_mut(slot);
        let Some(parser) = parser.and_then(|connection| connection.parser.as_mut()) else {
            return;
        };
        let chunk = Chunk {
            data,
            length: u64::from(piece.length),
            began: piece.began,
            ended: piece.ended,
        };
        match (role, sent) {
            (Role::Client, true) => parser.requested(&chunk, piece.began, &mut self.events),
            (Role::Server, false) => parser.requested(&chunk, piece.ended, &mut self.events),
            _ => parser.answered(&chunk, &mut self.events),
        }
        self.happened(slot, Some(&piece), out);
    }

    fn closed(&mut self, number: u64, at: u64, out: &mut Output) {
        let Some(slot) = self.connections.slot(number) else {
            return;
        };
        let connection = self.connections.get_mut(slot);
        if let Some(parser) = connection.and_then(|connection| connection.parser.as_mut()) {
            parser.closed(at, &mut self.events);
            self.happened(slot, None, out);
        }
        self.forget(slot);
    }

    /// Goes through what a parser said.
    fn happened(&mut self, slot: Slot, piece: Option<&Piece>, out: &mut Output) {
        let mut events = std::mem::take(&mut self.events.events);
        let mut rest = events.drain(..).peekable();
        while let Some(event) = rest.next() {
            match event {
                Event::Begun { exchange, at } => {
                    let Some(piece) = piece else {
                        continue;
                    };
                    let caller = match rest.peek() {
                        Some(Event::Context {
                            exchange: told,
                            context,
                        }) if *told == exchange => Some(*context),
                        _ => None,
                    };
                    if caller.is_some() {
                        rest.next();
                    }
                    self.begin(slot, piece, exchange, at, caller.as_ref());
                }
                Event::Context { exchange, context } => self.told(slot, exchange, &context),
                Event::Ended(ended) => self.finish(slot, piece, *ended, out),
            }
        }
        drop(rest);
        self.events.events = events;
        self.losses.failed += std::mem::take(&mut self.events.failed);
        let abandoned = std::mem::take(&mut self.events.abandoned);
        let finished = std::mem::take(&mut self.events.finished);
        if (abandoned > 0 || finished)
            && let Some(connection) = self.connections.get_mut(slot)
        {
            if finished {
                connection.parser = None;
            }
            // Which ones isn't told: the oldest.
            let open = connection.open.len();
            let gone = if finished {
                open
            } else {
                open.min(abandoned as usize)
            };
            self.stale
                .extend(connection.open.drain(..gone).map(|(_, key)| key));
            self.losses.abandoned += abandoned.saturating_sub(gone as u64);
            self.drop_stale();
        }
        while let Some(group) = self.release.pop() {
            self.resolve(group, None, out);
        }
    }
}
