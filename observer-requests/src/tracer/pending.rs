//! Calls of threads that work for others without being seen to take over.
//!
//! The kernel half sees a hand-over when one thread wakes another. Where it
//! doesn't (the worker was busy, or looked for work by itself), a worker's
//! calls seem to be made for nobody, until it answers a request that another
//! thread received: then all that it did since its last answer, and since the
//! request came, was for this one. So what it did waits for a second at most; spans of other ends that
//! hang under such calls wait with them, for their trace is to be that of the
//! request.

use std::collections::VecDeque;

use super::open::Ids;
use super::slab::{Key, Slab};
use crate::Finished;

/// A request that is over and waits.
#[derive(Debug)]
pub struct Over {
    /// With the trace that it has, if nothing comes.
    pub finished: Finished,
    /// The same.
    pub ids: Ids,
    /// The kernel half's number of it.
    pub request: u64,
}

/// What a thread did since its last answer, and what hangs under that.
#[derive(Debug, Default)]
pub struct Group {
    /// Exchanges that are open, or were.
    pub open: Vec<Key>,
    /// Those that are over.
    pub over: Vec<Over>,
}

/// All that waits.
#[derive(Debug, Default)]
pub struct Pending {
    groups: Slab<Group>,
    /// When each was made, oldest first, with some that are gone; by [`Patience`].
    made: [VecDeque<(u64, Key)>; 2],
    spans: usize,
}

/// How long a group waits.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// For what a thread does next.
    Thread,
    /// For a task's answer, which comes when the whole request is done.
    Task,
}

/// The same in nanoseconds.
const WAIT: [u64; 2] = [1_000_000_000, 5_000_000_000];
/// Exchanges of all groups together, open or over.
const MAX_SPANS: usize = 4096;

impl Pending {
    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.spans < MAX_SPANS && self.made.iter().map(VecDeque::len).sum::<usize>() < MAX_SPANS
    }

    /// Whether a group still waits.
    pub fn waits(&self, group: Key) -> bool {
        self.groups.get(group).is_some()
    }

    /// A new group.
    fn begin(&mut self, at: u64, patience: Patience) -> Key {
        let key = self.groups.insert(Group::default());
        let [thread, task] = &mut self.made;
        let made = match patience {
            Patience::Thread => thread,
            Patience::Task => task,
        };
        made.push_back((at, key));
        key
    }

    /// Adds an exchange to a group, or, if that waits no more, to a new one, which takes its
    /// place; the group, if there was room in it.
    pub fn join(&mut self, group: &mut Key, exchange: Key, at: u64, patience: Patience) -> Key {
        if !self.waits(*group) {
            *group = self.begin(at, patience);
        }
        match self.add(*group, exchange) {
            true => *group,
            false => Key::NONE,
        }
    }

    /// An exchange begins that belongs to a group; false if it waits no more,
    /// or there is no room.
    pub fn add(&mut self, group: Key, exchange: Key) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(group) = self.groups.get_mut(group) else {
            return false;
        };
        group.open.push(exchange);
        self.spans += 1;
        true
    }

    /// An exchange of a group is over.
    pub fn over(&mut self, group: Key, over: Over) {
        if let Some(group) = self.groups.get_mut(group) {
            group.over.push(over);
        }
    }

    /// Takes a group out.
    pub fn take(&mut self, group: Key) -> Option<Group> {
        let group = self.groups.remove(group)?;
        self.spans -= group.open.len();
        Some(group)
    }

    /// Puts the exchanges of one that was taken out into another one.
    pub fn merge(&mut self, group: Group, into: Key) {
        if let Some(into) = self.groups.get_mut(into) {
            self.spans += group.open.len();
            into.open.extend(group.open);
            into.over.extend(group.over);
        }
    }

    /// One that waited long enough.
    pub fn expired(&mut self, now: u64) -> Option<Key> {
        for (made, wait) in self.made.iter_mut().zip(WAIT) {
            while let Some((at, key)) = made.front().copied() {
                let gone = self.groups.get(key).is_none();
                if !gone && now.saturating_sub(at) < wait {
                    break;
                }
                made.pop_front();
                if !gone {
                    return Some(key);
                }
            }
        }
        None
    }
}
