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
//!   half and the threads' doings tell, or that the same task answers. Where several requests could be it, it
//!   has no parent and says so ([`Parent::Ambiguous`](super::Parent)).
//!
//! Which traces are kept is decided at the first span of a trace on this host
//! ([`Sampler`]), and inherited. A trace that isn't kept is kept after all if
//! one of its requests fails or is one of the slowest hundredth of its kind,
//! unless its caller said not to keep it or nothing is to be kept: then those
//! of its spans that still wait here, and all that come, are kept.

mod among;
mod begin;
mod connections;
mod ends;
mod figures;
mod finish;
mod hand_over;
mod numbers;
mod open;
mod options;
mod order;
mod output;
mod parsers;
mod pending;
mod records;
mod sampling;
mod slab;
mod tail;
mod tasks;
#[cfg(test)]
mod tests;
mod threads;
mod traces;
mod whose;
mod wire;

use observer_common::requests::{Closed, Opened, Piece, Protocol, direction, role, transport};
use observer_common::workload::WorkloadId;
use observer_signals::RequestLink;
use rustc_hash::FxHashMap;

use super::routes::Routes;
use super::{Events, Role};
use connections::{Connections, Slot};
pub use figures::{Active, Losses};
use numbers::Numbers;
use open::Open;
pub use options::Options;
use order::{Kind, Order};
pub use output::Output;
pub use parsers::{Make, parser_for};
use pending::Pending;
use sampling::Sampling;
pub use sampling::{Sampler, SamplerError};
use slab::{Key, Slab};
use tail::Slowest;
use tasks::Tasks;
use threads::Threads;
use traces::Undecided;

/// Makes requests of records.
pub struct Tracer {
    hold: u64,
    parsers: Make,
    routes: Routes,
    order: Order,
    connections: Connections,
    exchanges: Slab<Open>,
    threads: Threads,
    tasks: Tasks,
    numbers: Numbers,
    pending: Pending,
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
            tasks: Tasks::default(),
            numbers: Numbers::default(),
            pending: Pending::default(),
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
            Some(wire::Record::Piece(Piece {
                began,
                ended,
                connection,
                number,
                direction: way,
                role: whose,
                ..
            })) => {
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
                self.order.push(at, connection, 0, Kind::Closed, bytes)
            }
            Some(wire::Record::Other) => true,
            None => {
                self.losses.malformed += 1;
                true
            }
        };
        self.losses.overrun += u64::from(!taken);
    }

    /// Of so many traces that begin from now on and are to be kept one is, beside
    /// errors and slow requests.
    pub fn keep_one_in(&mut self, traces: u32) {
        self.sampling.keep_one_in(traces);
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
        while let Some(group) = self.pending.expired(u64::MAX) {
            self.resolve(group, None, out);
        }
    }

    /// What is known of a request by the kernel half's number.
    pub fn link(&self, request: u64) -> Option<RequestLink> {
        let open = self.numbers.first(request);
        let Some(exchange) = open.and_then(|(key, _)| self.exchanges.get(key)) else {
            return self.numbers.over(request);
        };
        let ids = &exchange.span;
        Some(RequestLink {
            trace_id: ids.trace,
            span_id: ids.span,
            route: None,
            sampled: ids.decision == sampling::Decision::Keep
                || self.undecided.is_kept(ids.undecided),
            duration: None,
        })
    }

    /// Requests that are open, by workload, side and protocol.
    pub fn active(&self) -> Vec<Active> {
        let mut counts = FxHashMap::<(WorkloadId, Role, u8, bool), Active>::default();
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

    /// Forgets what is kept of a workload beside its open requests.
    pub fn retire(&mut self, gone: WorkloadId) {
        self.routes.retire(gone);
        self.sampling.retire(gone);
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
        if opened.role == role::SERVER {
            self.tasks.serves(opened.tgid);
        }
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
            self.undecided
                .leave(exchange.span.undecided, exchange.begun);
            if exchange.role == Role::Server {
                self.threads.ended(exchange.tid, exchange.tgid);
                self.numbers.end(key, &exchange, &mut self.exchanges);
            }
        }
    }

    /// A new span's id.
    fn span_id(&mut self) -> [u8; 8] {
        self.random.u64(1..).to_ne_bytes()
    }

    /// A new trace's id.
    fn trace_id(&mut self) -> [u8; 16] {
        let id = u128::from(self.random.u64(..)) << 64 | u128::from(self.random.u64(1..));
        id.to_be_bytes()
    }
}
