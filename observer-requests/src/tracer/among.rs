//! Calls of loops that go through several events, one after the other.
//!
//! A loop that went to wait had nothing left to do, so all that it does then comes of
//! what it waited for. Several events are taken in turn, and what becomes of them
//! later (a loop's next phase, its queue) comes behind the last of them. So a call that
//! follows a request, and is followed by the next event, was made for that request.
//! Behind the last event it was, if all requests before made one call at once, and so
//! have nothing left to do, and this is one call as well.

use observer_common::requests::{Piece, context};

use super::Tracer;
use super::connections::Slot;
use super::hand_over::MadeFor;
use super::output::Output;
use super::pending::Patience;
use super::slab::Key;
use super::threads::Among;
use crate::Parent;

impl Tracer {
    /// A request was received, by a loop perhaps and as one of several events.
    pub(super) fn comes_among(&mut self, request: Key, connection: Slot, piece: &Piece) {
        let among = matches!(piece.context, context::AMONG | context::ALONE) && piece.wait != 0;
        if !among || !self.threads.is_loop(piece.tgid) {
            return;
        }
        self.threads.any_among = true;
        let thread = self.threads.get(piece.tid, piece.tgid, piece.ended);
        thread.among = Some(Among {
            request,
            connection,
            wait: piece.wait,
            pending: Key::NONE,
            called: None,
            calls: 0,
        });
    }

    /// A thread makes a call.
    pub(super) fn calls(&mut self, piece: &Piece) {
        if !self.threads.any_among {
            return;
        }
        let thread = self.threads.known(piece.tid, piece.tgid);
        if let Some(among) = thread.and_then(|thread| thread.among.as_mut()) {
            among.calls += 1;
        }
    }

    /// Whether a call is made for this request, if the thread turns to the next event
    /// then.
    pub(super) fn is_among(&mut self, request: Key, piece: &Piece) -> bool {
        let thread = self.threads.known(piece.tid, piece.tgid);
        let among = thread.and_then(|thread| thread.among);
        piece.context == context::AMONG
            && among.is_some_and(|among| among.request == request && among.wait == piece.wait)
    }

    /// Lets such a call wait for that; the group that it waits in.
    pub(super) fn hold_among(&mut self, key: Key, slot: Slot, piece: &Piece) -> Key {
        let thread = self.threads.known(piece.tid, piece.tgid);
        let Some(among) = thread.and_then(|thread| thread.among.as_mut()) else {
            return Key::NONE;
        };
        among.called = Some(slot);
        if !self.pending.has_room() {
            return Key::NONE;
        }
        self.pending
            .join(&mut among.pending, key, piece.began, Patience::Thread)
    }

    /// A thread received something on a connection: if that is the next of the events
    /// among which a request came, what it did in between was for that one.
    pub(super) fn takes_next(&mut self, slot: Slot, piece: &Piece, out: &mut Output) {
        if !self.threads.any_among {
            return;
        }
        let thread = self.threads.known(piece.tid, piece.tgid);
        let Some(among) = thread.and_then(|thread| thread.among.take()) else {
            return;
        };
        // An answer to its own call would be no event for which it waited.
        let told = piece.wait == among.wait
            && slot != among.connection
            && among.called.is_none_or(|called| called != slot);
        let next = told || piece.passed == among.wait;
        // Behind the last one may come what others left, if they left something.
        let regular = self.threads.called(piece.tgid, among.calls);
        let next = next || (regular && piece.wait != among.wait);
        let request = self.exchanges.get_mut(among.request).filter(|_| next);
        let made_for = request.map(|request| {
            request.followed = true;
            MadeFor {
                ids: request.span,
                begun: request.begun,
                pending: request.pending,
                how: Parent::Thread,
            }
        });
        if among.pending != Key::NONE {
            self.resolve(among.pending, made_for.as_ref(), out);
        }
    }
}
