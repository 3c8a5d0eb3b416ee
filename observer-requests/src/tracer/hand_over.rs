//! Threads that answer what others received: calls that waited for that.

use observer_common::requests::Piece;

use super::Tracer;
use super::connections::Slot;
use super::open::Ids;
use super::output::Output;
use super::pending::Patience;
use super::slab::Key;
use crate::Parent;

impl Tracer {
    /// Lets a call for nobody wait for what its thread may answer; the group
    /// that it waits in, if it does.
    pub(super) fn hold(&mut self, key: Key, piece: &Piece) -> Key {
        // A thread that has nothing to do with requests of others has none to
        // wait for.
        if !self.threads.serves(piece.tgid) || !self.pending.has_room() {
            return Key::NONE;
        }
        let thread = self.threads.get(piece.tid, piece.tgid, piece.began);
        if thread.receives || thread.serves(&self.exchanges) {
            return Key::NONE;
        }
        self.pending
            .join(&mut thread.pending, key, piece.began, Patience::Thread)
    }

    /// Lets a call that seems to be for the request that its thread received wait until the
    /// thread answers that; the group that it waits in.
    pub(super) fn hold_served(&mut self, key: Key, request: Key, piece: &Piece) -> Key {
        if !self.pending.has_room() {
            return Key::NONE;
        }
        let thread = self.threads.get(piece.tid, piece.tgid, piece.began);
        if thread.served.0 != request {
            let (_, before) = std::mem::replace(&mut thread.served, (request, Key::NONE));
            if before != Key::NONE {
                self.release.push(before);
            }
        }
        self.pending
            .join(&mut thread.served.1, key, piece.began, Patience::Task)
    }

    /// A thread answers a request: it serves that one, and served it before if
    /// nothing else is known.
    pub(super) fn answering(&mut self, slot: Slot, piece: &Piece, out: &mut Output) {
        let Some(connection) = self.connections.get(slot) else {
            return;
        };
        let one_by_one = connection.protocol().in_order();
        let Some((_, key)) = connection.open.front().copied() else {
            return;
        };
        let certain = one_by_one || connection.open.len() == 1;
        let Some(request) = self.exchanges.get(key) else {
            return;
        };
        let (tid, tgid) = (request.tid, request.tgid);
        let made_for = MadeFor {
            ids: request.span,
            begun: request.begun,
            pending: request.pending,
            how: Parent::HandedOver,
        };
        let own = (tid, tgid) == (piece.tid, piece.tgid);
        self.threads.takes_part(piece.tid, piece.tgid);
        let thread = self.threads.get(piece.tid, piece.tgid, piece.ended);
        let group = std::mem::replace(&mut thread.pending, Key::NONE);
        let (served, waits) = std::mem::replace(&mut thread.served, (Key::NONE, Key::NONE));
        if thread.sole != key {
            thread.sole = Key::NONE;
        }
        // It serves others beside that one.
        let switches = !own && thread.received > 0;
        if !own {
            if certain {
                thread.take_over(key, &self.exchanges);
            }
            if let Some(receiver) = self.threads.known(tid, tgid) {
                receiver.sole = Key::NONE;
            }
        }
        if switches && tgid == piece.tgid {
            self.threads.switched(tgid, piece.ended);
        }
        let same = certain && tgid == piece.tgid;
        let by_thread = MadeFor {
            how: Parent::Thread,
            ..made_for
        };
        if own {
            self.threads.answers_own(tgid);
        }
        if group != Key::NONE {
            self.resolve(group, (same && !own).then_some(&made_for), out);
        }
        if waits != Key::NONE {
            let joins = same && own && served == key && self.threads.one_by_one(tgid);
            self.resolve(waits, joins.then_some(&by_thread), out);
        }
        self.task_answers((slot, key), piece, same.then_some(&by_thread), out);
    }

    /// A group of calls has waited: those that began after a request (which may
    /// wait itself) were made for it; without one, for none.
    pub(super) fn resolve(&mut self, group: Key, made_for: Option<&MadeFor>, out: &mut Output) {
        let Some(mut waited) = self.pending.take(group) else {
            return;
        };
        let mut joined = Vec::new();
        if let Some(request) = made_for {
            let open = waited.open.iter().filter_map(|key| {
                let exchange = self.exchanges.get(*key)?;
                Some((&exchange.span, exchange.begun))
            });
            let over = waited.over.iter();
            let over = over.map(|over| (&over.ids, over.finished.begun));
            let calls = open.chain(over);
            let calls = calls.filter(|(ids, at)| waits(ids) && *at >= request.begun);
            joined.extend(calls.map(|(ids, _)| ids.trace));
            joined.sort_unstable();
        }
        // Whether it joined.
        let join = |ids: &mut Ids| {
            let found = joined.binary_search(&ids.trace).is_ok();
            let Some(request) = made_for.filter(|_| found) else {
                if ids.how == Parent::Root {
                    ids.how = Parent::Unknown;
                }
                return false;
            };
            if waits(ids) {
                *ids = request.ids.child(ids.span, request.how);
            } else {
                ids.trace = request.ids.trace;
                ids.decision = request.ids.decision;
                ids.undecided = request.ids.undecided;
            }
            true
        };
        let into = made_for.map_or(Key::NONE, |request| request.pending);
        waited.open.retain(|key| {
            let Some(exchange) = self.exchanges.get_mut(*key) else {
                return false;
            };
            if exchange.pending != group {
                return false;
            }
            let (before, at) = (exchange.span.undecided, exchange.begun);
            let joined = join(&mut exchange.span);
            exchange.pending = if joined { into } else { Key::NONE };
            let after = exchange.span.undecided;
            self.moves(before, after, at);
            joined
        });
        let goes_on = self.pending.waits(into);
        let mut over = Vec::new();
        for mut one in waited.over.drain(..) {
            let before = one.ids.undecided;
            let joined = join(&mut one.ids);
            self.moves(before, one.ids.undecided, one.finished.ended);
            one.finished.trace_id = one.ids.trace;
            one.finished.parent_span_id = one.ids.parent;
            one.finished.parent = one.ids.how;
            if joined && goes_on {
                over.push(one);
            } else {
                out.finished.push(one.finished);
                self.decide(&one.ids, one.request, out);
            }
        }
        waited.over = over;
        self.pending.merge(waited, into);
    }
}

/// Whether this is a call that waits for whom it was made, and not what came of one.
fn waits(ids: &Ids) -> bool {
    matches!(ids.how, Parent::Root | Parent::Ambiguous)
}

/// The request that a group of calls was made for.
pub(super) struct MadeFor {
    pub ids: Ids,
    pub begun: u64,
    /// The group that it waits in.
    pub pending: Key,
    /// How that is known.
    pub how: Parent,
}
