//! One record after the other, when its turn has come.

use std::sync::Arc;

use observer_common::requests::{Piece, direction, flag};

use super::Tracer;
use super::connections::Slot;
use super::order::{Kind, Order};
use super::output::Output;
use super::wire;
use crate::{Chunk, Event, Role, Transport};

/// A connection that wasn't used for so long (ns) is forgotten: the end of
/// some isn't told.
const IDLE: u64 = 600_000_000_000;
/// One of datagrams without an open question, likewise.
const IDLE_DATAGRAMS: u64 = 20_000_000_000;
/// What time alone ends is looked for so often (ns).
const PAUSE: u64 = 1_000_000_000;

impl Tracer {
    pub(super) fn handle(&mut self, now: u64, until: u64, out: &mut Output) {
        self.undecided.settle(out);
        out.kept.clear();
        // Put back below; what is handled doesn't make records.
        let mut order = std::mem::take(&mut self.order);
        let due = order.due(until);
        for index in due.clone() {
            self.dispatch(&mut order, index, out);
        }
        order.done(due);
        self.order = order;

        while let Some(group) = self.pending.expired(now) {
            self.resolve(group, None, out);
        }
        while let Some((oldest, last)) = self.connections.oldest()
            && now.saturating_sub(last) > IDLE
        {
            self.forget(oldest);
        }
        self.threads.sweep(now);
        self.tasks.sweep(now);
        self.expire(until.min(now), out);
        self.undecided.expire(now);
    }

    /// Ends what nothing but time tells to be over, and forgets sockets of datagrams
    /// whose end isn't told.
    fn expire(&mut self, now: u64, out: &mut Output) {
        if now.saturating_sub(self.expired) < PAUSE {
            return;
        }
        self.expired = now;
        for number in self.connections.unsure() {
            let Some(slot) = self.connections.slot(number) else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            connection.watched = false;
            let protocol = connection.protocol();
            let datagrams = connection.endpoints.transport == Transport::Udp;
            let idle = now.saturating_sub(connection.last);
            if !connection.open.is_empty() {
                if let Some(parser) = &mut connection.parser {
                    parser.expire(now, &mut self.events);
                    self.happened(slot, None, out);
                }
            } else if datagrams && idle > IDLE_DATAGRAMS {
                self.forget(slot);
                continue;
            }
            if protocol.answers_get_lost() {
                self.connections.watch(slot);
            }
        }
    }

    /// One record's turn.
    fn dispatch(&mut self, order: &mut Order, index: usize, out: &mut Output) {
        let Some(waiting) = order.get(index).filter(|waiting| !waiting.taken) else {
            return;
        };
        if waiting.kind == Kind::Closed {
            let by_peer = wire::closed_by_peer(order.bytes(&waiting));
            self.closed(waiting.connection, waiting.at, by_peer, out);
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
            while let Some(other) = order.take_earlier(index, &waiting) {
                self.piece(slot, other.at, order.bytes(&other), out);
            }
            let missing = skips(self).map_or(0, |missing| {
                missing.saturating_sub(order.present(index, &waiting, missing))
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

    /// Exchanges of a connection weren't followed; what was begun before is over.
    fn skipped(&mut self, slot: Slot, blind: bool, out: &mut Output) {
        let connection = self.connections.get_mut(slot);
        if let Some(parser) = connection.and_then(|connection| connection.parser.as_mut()) {
            parser.skipped(blind, &mut self.events);
            self.happened(slot, None, out);
        }
    }

    fn piece(&mut self, slot: Option<Slot>, at: u64, bytes: &[u8], out: &mut Output) {
        let Some((piece, data, tail)) = wire::piece(bytes) else {
            return;
        };
        let Some(slot) = slot.or_else(|| self.guessed(&piece)) else {
            return;
        };
        self.connections.touch(slot, at);
        if piece.flags & flag::SKIPPED != 0 {
            self.skipped(slot, piece.flags & flag::BLIND != 0, out);
            self.threads.unfollowed(piece.tgid, piece.ended);
        }
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
        if !sent {
            self.takes_next(slot, &piece, out);
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let before = match (role, sent) {
            (Role::Client, true) | (Role::Server, false) => connection.asks(data),
            _ => 0,
        };
        let Some(parser) = connection.parser.as_mut() else {
            return;
        };
        let chunk = Chunk {
            data: data.get(before..).unwrap_or_default(),
            length: u64::from(piece.length).saturating_sub(before as u64),
            tail,
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

    fn closed(&mut self, number: u64, at: u64, by_peer: bool, out: &mut Output) {
        let Some(slot) = self.connections.slot(number) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        // Its client went before the answer came.
        let by_peer = by_peer || connection.left;
        let gave_up = by_peer && connection.role == Role::Server;
        let other = connection.other.filter(|_| !by_peer);
        if let Some(parser) = connection.parser.as_mut() {
            parser.closed(at, &mut self.events);
            if gave_up {
                for event in &mut self.events.events {
                    if let Event::Ended(ended) = event {
                        ended.call.given_up();
                    }
                }
            }
            self.happened(slot, None, out);
        }
        if let Some(other) = other.and_then(|other| self.connections.get_mut(other)) {
            other.left = true;
        }
        self.forget(slot);
    }

    /// Goes through what a parser said.
    fn happened(&mut self, slot: Slot, piece: Option<&Piece>, out: &mut Output) {
        let mut events = std::mem::take(&mut self.events.events);
        if let Some(protocol) = self.events.becomes.take()
            && let Some(connection) = self.connections.get_mut(slot)
        {
            Arc::make_mut(&mut connection.endpoints).protocol = protocol;
        }
        // Begins when it is known whether its caller is told right behind.
        let mut begun = None;
        for event in events.drain(..) {
            if let Some((piece, number, at)) = begun.take() {
                let caller = match &event {
                    Event::Context { exchange, context } if *exchange == number => Some(context),
                    _ => None,
                };
                self.begin(slot, piece, number, at, caller);
                if caller.is_some() {
                    continue;
                }
            }
            match event {
                Event::Begun { exchange, at } => {
                    begun = piece.map(|piece| (piece, exchange, at));
                }
                Event::Context { exchange, context } => self.add_caller(slot, exchange, &context),
                Event::Ended(ended) => {
                    self.losses.partial += u64::from(ended.call.is_partial());
                    self.finish(slot, piece, ended, out);
                }
            }
        }
        if let Some((piece, number, at)) = begun {
            self.begin(slot, piece, number, at, None);
        }
        self.events.events = events;
        self.losses.failed += std::mem::take(&mut self.events.failed);
        let abandoned = std::mem::take(&mut self.events.abandoned);
        let finished = std::mem::take(&mut self.events.finished);
        if std::mem::take(&mut self.events.waits) {
            self.connections.watch(slot);
        }
        self.losses.left += u64::from(std::mem::take(&mut self.events.left));
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
