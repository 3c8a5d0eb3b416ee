//! For whom a thread makes a call.

use observer_common::requests::{Piece, Protocol, context};

use super::Tracer;
use super::slab::Key;
use crate::Parent;

/// For whom a thread makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeFor {
    /// For this request.
    One(Key, Parent),
    /// For this one, if the thread turns to the next of several events then.
    Among,
    /// For the one that its thread serves, if it is still so when the thread answers it.
    Served(Key),
    /// For the one that its task answers; if it answers none, how that is said.
    Task(Parent),
    /// For one of several.
    Several,
    /// For none.
    Nobody,
}

impl Tracer {
    /// For whom the thread of a piece works.
    pub(super) fn made_for(&mut self, piece: &Piece) -> MadeFor {
        // Names are looked up by threads that only do that.
        if piece.protocol != Protocol::Dns as u8 {
            self.threads.takes_part(piece.tid, piece.tgid);
        }
        self.calls(piece);
        if piece.request == 0 {
            return MadeFor::Nobody;
        }
        let Some((key, several)) = self.numbers.first(piece.request) else {
            // It is over: what comes after the answer isn't part of it.
            return MadeFor::Nobody;
        };
        let Some(request) = self.exchanges.get(key) else {
            return MadeFor::Nobody;
        };
        let (tid, tgid) = (request.tid, request.tgid);
        let received_here = (tid, tgid) == (piece.tid, piece.tgid);
        let followed = request.followed;
        let at = piece.began;
        // Pipelined behind it, if its connection goes one by one.
        let behind = match self.connections.get(request.connection) {
            Some(connection) if connection.protocol().in_order() => connection.open.len() - 1,
            _ if several => return MadeFor::Several,
            _ => 0,
        };
        let only = self.threads.serves_at_most(tgid, 1 + behind as u32, at);
        let one_by_one = self.threads.one_by_one(tgid);
        let sure = self.threads.surely_one_by_one(tgid);
        // What the loop does is done for what came.
        let known = match piece.context {
            context::ALONE => true,
            context::AMONG => followed,
            _ => false,
        };
        let alone = known && behind == 0 && self.threads.is_loop(tgid);
        let among = behind == 0 && self.is_among(key, piece);
        let exchanges = &self.exchanges;
        let thread = self.threads.get(piece.tid, piece.tgid, at);
        let others = thread.others(key, received_here, exchanges);
        let others = others.saturating_sub(if received_here { behind } else { 0 });
        // By elimination; or the thread serves no other one, and never did so.
        let how = match (received_here, only || alone || (one_by_one && others == 0)) {
            // That its threads take turns may not have been seen yet.
            (true, true) if !only && !alone && (piece.task != 0 || !sure) => {
                return MadeFor::Served(key);
            }
            (true, true) => Parent::Thread,
            (true, false) => {
                thread.sole = Key::NONE;
                return if among {
                    MadeFor::Among
                } else {
                    MadeFor::Several
                };
            }
            // Who wakes a worker needn't be the one that it works for next: if it
            // answers itself, that tells.
            (false, _) if !only => return MadeFor::Nobody,
            (false, _) => Parent::HandedOver,
        };
        if thread.sole != key {
            thread.sole = Key::NONE;
        }
        if !received_here {
            thread.take_over(key, exchanges);
            if let Some(receiver) = self.threads.known(tid, tgid) {
                receiver.sole = Key::NONE;
            }
        }
        MadeFor::One(key, how)
    }
}
