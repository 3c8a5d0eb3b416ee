//! The beginning of an exchange: which trace it belongs to, and whose child it
//! is.

use observer_common::requests::Piece;
use observer_common::workload::WorkloadId;

use super::Tracer;
use super::connections::Slot;
use super::open::{Ids, Open};
use super::sampling::Decision;
use super::slab::Key;
use super::whose::MadeFor;
use crate::{Exchange, Parent, RemoteContext, Role};

/// Exchanges that may be open on all connections together.
const MAX_OPEN: usize = 1 << 18;

impl Tracer {
    /// An exchange begins with a piece.
    pub(super) fn begin(
        &mut self,
        slot: Slot,
        piece: &Piece,
        number: Exchange,
        at: u64,
        caller: Option<&RemoteContext>,
    ) {
        let Some(connection) = self.connections.get(slot) else {
            return;
        };
        if self.exchanges.len() >= MAX_OPEN {
            self.losses.abandoned += 1;
            return;
        }
        let (role, workload) = (connection.role, connection.workload);
        let other = connection.other;
        let span = self.span_id();
        let key = self.exchanges.insert(Open {
            connection: slot,
            workload,
            tgid: piece.tgid,
            tid: piece.tid,
            role,
            span: Ids {
                trace: [0; 16],
                span,
                parent: [0; 8],
                how: Parent::Root,
                decision: Decision::Drop,
                undecided: Key::NONE,
                root: true,
            },
            begun: at,
            clock: piece.clock,
            retransmits: piece.retransmits,
            calls_retransmits: 0,
            waited_for: Vec::new(),
            made_for: Key::NONE,
            paired: false,
            followed: false,
            asked_by: Key::NONE,
            request: 0,
            next_of_number: Key::NONE,
            pending: Key::NONE,
        });
        match role {
            Role::Server => {
                self.begin_server(key, piece, other, caller);
                self.comes_among(key, slot, piece);
            }
            Role::Client => self.begin_client(key, piece, other, caller),
        }
        if let Some(connection) = self.connections.get_mut(slot) {
            // Numbers grow; should they not, the newest is the one that counts.
            while connection
                .open
                .back()
                .is_some_and(|(last, _)| *last >= number)
            {
                if let Some((_, stale)) = connection.open.pop_back() {
                    self.stale.push(stale);
                }
            }
            connection.open.push_back((number, key));
        }
        self.drop_stale();
    }

    fn begin_server(
        &mut self,
        key: Key,
        piece: &Piece,
        other: Option<Slot>,
        caller: Option<&RemoteContext>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        exchange.request = piece.request;
        let at = exchange.begun;
        // Those that it is pipelined behind.
        let before = match self.connections.get(exchange.connection) {
            Some(connection) if connection.protocol().in_order() => connection.open.len(),
            _ => 0,
        };
        self.numbers.begin(piece.request, key, &mut self.exchanges);
        self.threads.begun(piece.tid, piece.tgid, at);
        let thread = self.threads.get(piece.tid, piece.tgid, at);
        let others = thread.others(Key::NONE, false, &self.exchanges);
        let alone = others == 0;
        thread.sole = if alone { key } else { Key::NONE };
        thread.received += 1;
        thread.receives = true;
        // What it did before was for nobody: it receives requests itself.
        let pending = std::mem::replace(&mut thread.pending, Key::NONE);
        let (_, served) = std::mem::replace(&mut thread.served, (Key::NONE, Key::NONE));
        let over = [pending, served].into_iter().filter(|it| *it != Key::NONE);
        self.release.extend(over);

        if others > before {
            self.threads.switched(piece.tgid, at);
        }
        let asked_by = self.asked_by(other, at);
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.asked_by = asked_by;
        }
        self.server_ids(key, caller);
    }

    /// The client's view of what the server received: the first one that is
    /// open at the connection's other end and wasn't received before.
    fn asked_by(&mut self, other: Option<Slot>, at: u64) -> Key {
        let Some(other) = other.and_then(|other| self.connections.get(other)) else {
            return Key::NONE;
        };
        if other.role != Role::Client {
            return Key::NONE;
        }
        for (_, key) in &other.open {
            let Some(asked) = self.exchanges.get_mut(*key) else {
                continue;
            };
            if !asked.paired {
                let in_time = asked.begun <= at;
                asked.paired = in_time;
                return if in_time { *key } else { Key::NONE };
            }
        }
        Key::NONE
    }

    /// Finds a server's request's place in a trace, by the other end and by
    /// what its head tells.
    fn server_ids(&mut self, key: Key, caller: Option<&RemoteContext>) {
        let Some(exchange) = self.exchanges.get(key) else {
            return;
        };
        let (span, workload, at) = (exchange.span.span, exchange.workload, exchange.begun);
        let asked = self.exchanges.get(exchange.asked_by);
        let joined = asked.filter(|asked| {
            // A client that was told of the same trace, or told of none.
            caller.is_none_or(|caller| caller.trace_id == asked.span.trace)
        });
        let mut pending = Key::NONE;
        let ids = match (joined, caller) {
            (Some(asked), _) => {
                pending = asked.pending;
                asked.span.child(span, Parent::OtherEnd)
            }
            (None, Some(caller)) => self.remote(caller, span, workload, at),
            (None, None) => self.root(span, workload, at),
        };
        if pending != Key::NONE && !self.pending.add(pending, key) {
            pending = Key::NONE;
        }
        self.identify(key, ids);
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.pending = pending;
        }
    }

    /// From now on an exchange is this span.
    fn identify(&mut self, key: Key, ids: Ids) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let before = exchange.span.undecided;
        exchange.span = ids;
        let at = exchange.begun;
        self.moves(before, ids.undecided, at);
    }

    /// An exchange belongs to another trace.
    pub(super) fn moves(&mut self, from: Key, to: Key, at: u64) {
        if from != to {
            self.undecided.join(to);
            self.undecided.leave(from, at);
        }
    }

    /// The beginning of a trace.
    fn root(&mut self, span: [u8; 8], workload: WorkloadId, at: u64) -> Ids {
        let trace = self.trace_id();
        let decision = self.sampling.root(&trace, workload, at);
        Ids {
            trace,
            span,
            parent: [0; 8],
            how: Parent::Root,
            decision,
            undecided: if decision.waits() {
                self.undecided.begin()
            } else {
                Key::NONE
            },
            root: true,
        }
    }

    /// The first span on this host of a trace that a caller told of.
    fn remote(&mut self, caller: &RemoteContext, span: [u8; 8], who: WorkloadId, at: u64) -> Ids {
        let decision = self.sampling.remote(caller, who, at);
        let undecided = if decision.waits() {
            self.undecided.remote(caller.trace_id)
        } else {
            Key::NONE
        };
        Ids::remote(caller, span, decision, undecided)
    }

    fn begin_client(
        &mut self,
        key: Key,
        piece: &Piece,
        other: Option<Slot>,
        caller: Option<&RemoteContext>,
    ) {
        let Some(exchange) = self.exchanges.get(key) else {
            return;
        };
        let (span, workload, at) = (exchange.span.span, exchange.workload, exchange.begun);
        let slot = exchange.connection;
        let made_for = self.made_for(piece);
        let made_for = self.or_by_task(made_for, piece);
        let mut by = Key::NONE;
        let (mut ids, mut pending) = match caller {
            // The program makes spans of its own, and ours is below them.
            Some(caller) => (self.remote(caller, span, workload, at), Key::NONE),
            None => self.made_for_ids(key, slot, made_for, piece),
        };
        if let MadeFor::One(request, _) = made_for {
            by = request;
            if let Some(request) = self.exchanges.get(request)
                && pending == Key::NONE
                && caller.is_none()
                && self.pending.add(request.pending, key)
            {
                pending = request.pending;
            }
        }
        let received = self.received_already(other, at);
        if let Some(server) = self.exchanges.get_mut(received) {
            server.asked_by = key;
            let span = server.span;
            if ids.how == Parent::Root && ids.root {
                ids.trace = span.trace;
                ids.decision = span.decision;
                let own = std::mem::replace(&mut ids.undecided, span.undecided);
                self.undecided.unused(own);
            }
            self.identify(received, ids.child(span.span, Parent::OtherEnd));
        }
        self.identify(key, ids);
        if let Some(exchange) = self.exchanges.get_mut(key) {
            exchange.paired = received != Key::NONE;
            exchange.made_for = by;
            exchange.pending = pending;
        }
    }

    /// Who a call is that names no caller itself, and the group that it waits in for who
    /// that may be.
    fn made_for_ids(
        &mut self,
        key: Key,
        slot: Slot,
        made_for: MadeFor,
        piece: &Piece,
    ) -> (Ids, Key) {
        let Some(exchange) = self.exchanges.get(key) else {
            return (self.root([0; 8], piece.workload, piece.began), Key::NONE);
        };
        let (span, workload, at) = (exchange.span.span, exchange.workload, exchange.begun);
        if let MadeFor::One(request, how) = made_for
            && let Some(request) = self.exchanges.get(request)
        {
            return (request.span.child(span, how), Key::NONE);
        }
        let pending = match made_for {
            MadeFor::One(..) | MadeFor::Several => Key::NONE,
            MadeFor::Among => self.hold_among(key, slot, piece),
            MadeFor::Task(_) => self.hold_task(key, piece),
            MadeFor::Served(request) => self.hold_served(key, request, piece),
            MadeFor::Nobody => self.hold(key, piece),
        };
        let waits = pending != Key::NONE;
        let how = match made_for {
            MadeFor::Several | MadeFor::Among | MadeFor::Served(_) => Parent::Ambiguous,
            // Of one that waits it may still become known.
            MadeFor::Task(Parent::Root) if !waits => Parent::Unknown,
            MadeFor::Task(without) => without,
            MadeFor::Nobody if !waits && self.threads.serves(piece.tgid) => Parent::Unknown,
            MadeFor::One(..) | MadeFor::Nobody => Parent::Root,
        };
        let ids = Ids {
            how,
            ..self.root(span, workload, at)
        };
        (ids, pending)
    }

    /// The server's view of what a client sent, where the server was faster
    /// than the client's call came back: one that seems to come from nowhere.
    fn received_already(&self, other: Option<Slot>, at: u64) -> Key {
        let Some(other) = other.and_then(|other| self.connections.get(other)) else {
            return Key::NONE;
        };
        if other.role != Role::Server {
            return Key::NONE;
        }
        let mut open = other.open.iter().map(|(_, key)| *key);
        let found = open.find(|key| {
            self.exchanges.get(*key).is_some_and(|received| {
                received.asked_by == Key::NONE
                    && received.span.how == Parent::Root
                    && received.begun >= at
            })
        });
        found.unwrap_or(Key::NONE)
    }

    /// A head tells of its caller after its first piece.
    pub(super) fn add_caller(&mut self, slot: Slot, number: Exchange, caller: &RemoteContext) {
        let found = self.connections.get(slot).and_then(|it| it.find(number));
        let Some((key, exchange)) = found.and_then(|key| Some((key, self.exchanges.get_mut(key)?)))
        else {
            return;
        };
        match exchange.role {
            Role::Server => self.server_ids(key, Some(caller)),
            Role::Client => {
                exchange.pending = Key::NONE;
                let (workload, at) = (exchange.workload, exchange.begun);
                let span = exchange.span.span;
                let ids = self.remote(caller, span, workload, at);
                self.identify(key, ids);
            }
        }
    }
}
