//! Records in the order in which things happened.
//!
//! They come out of the ring in the order in which they were put there, by
//! several CPUs, each at the end of its call. What counts is another order: a
//! client's request was sent before its server received it, though the
//! server's record may be made first, while the client is still in its call.
//! So records wait a moment, and are sorted by a time of their own: nearly
//! sorted already, so each finds its place a few steps from the end.

use std::ops::Range;

/// Where a record waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What it is sorted by, kernel time.
    pub at: u64,
    /// Its connection.
    pub connection: u64,
    /// Number in its connection.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// Its turn came already, before others: see [`Order::take_earlier`].
    pub taken: bool,
    start: u32,
    length: u32,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A piece that was received.
    Received,
    /// A piece that was sent.
    Sent,
    /// The end of a connection.
    Closed,
}

/// Records that wait.
#[derive(Debug, Default)]
pub struct Order {
    /// Their bytes, in order of arrival, with those of some that are gone.
    arena: Vec<u8>,
    /// From `handled` on by time, unless `unsorted`.
    waiting: Vec<Waiting>,
    /// So many of them are gone.
    handled: usize,
    /// Whether the turn of some that aren't gone came already.
    taken: bool,
    unsorted: bool,
    /// The latest time of those that came since this was asked for.
    newest: Option<u64>,
}

/// Bytes that may wait; at 250 a record a second's worth of 130,000 of them.
const MAX_BYTES: usize = 32 << 20;
/// Bytes from which on it is worth while to look for those of gone records.
const WORTH_WHILE: usize = 64 << 10;
/// Steps from the end that are searched for a record's place.
const STEPS: usize = 64;
/// Records that are searched for one that is missing.
const LOOKED_THROUGH: usize = 2048;

impl Order {
    /// Lets a record wait; false if there is no room.
    pub fn push(
        &mut self,
        at: u64,
        connection: u64,
        number: u32,
        kind: Kind,
        bytes: &[u8],
    ) -> bool {
        let start = self.arena.len();
        if start + bytes.len() > MAX_BYTES {
            return false;
        }
        self.arena.extend_from_slice(bytes);
        self.newest = self.newest.max(Some(at));
        let new = Waiting {
            at,
            connection,
            number,
            kind,
            taken: false,
            start: start as u32,
            length: bytes.len() as u32,
        };
        let waiting = self.waiting.iter().skip(self.handled);
        let mut later = waiting.rev().take_while(|waiting| waiting.at > at);
        let steps = later.by_ref().take(STEPS).count();
        self.unsorted |= later.next().is_some();
        self.waiting.insert(self.waiting.len() - steps, new);
        true
    }

    /// Those that aren't gone.
    fn left(&mut self) -> &mut [Waiting] {
        self.waiting.get_mut(self.handled..).unwrap_or_default()
    }

    /// Until when all records came that will come in time, at `now`: if some
    /// came just now the ring may hold more, that aren't much older than these.
    pub fn complete(&mut self, now: u64) -> u64 {
        self.newest.take().map_or(now, |newest| newest.min(now))
    }

    /// Whether half of the room is taken.
    pub fn crowded(&self) -> bool {
        self.arena.len() > MAX_BYTES / 2
    }

    /// Which ones are due that happened at `until` or before: those at these
    /// indices.
    pub fn due(&mut self, until: u64) -> Range<usize> {
        if std::mem::take(&mut self.unsorted) {
            // Stable: of the same moment, those of the ring's order.
            self.left().sort_by_key(|waiting| waiting.at);
        }
        let due = self.left().partition_point(|waiting| waiting.at <= until);
        self.handled..self.handled + due
    }

    /// The record at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<Waiting> {
        self.waiting.get(index).copied()
    }

    /// Its bytes. (None are no record: whoever reads them counts that.)
    pub fn bytes(&self, waiting: &Waiting) -> &[u8] {
        let bytes = self.arena.get(waiting.start as usize..);
        let bytes = bytes.and_then(|bytes| bytes.get(..waiting.length as usize));
        bytes.unwrap_or_default()
    }

    /// Pieces behind `this` at `index` that were made before it, of the same
    /// connection.
    fn earlier_ones(
        &self,
        index: usize,
        this: &Waiting,
    ) -> impl Iterator<Item = (usize, &Waiting)> {
        let (connection, number) = (this.connection, this.number);
        let behind = self.waiting.iter().enumerate().skip(index + 1);
        behind.take(LOOKED_THROUGH).filter(move |(_, other)| {
            other.connection == connection
                && other.kind != Kind::Closed
                && !other.taken
                && (other.number.wrapping_sub(number) as i32) < 0
        })
    }

    /// Takes out the first one of the kind of `this` at `index` that was made
    /// before it, though it is sorted behind it: its turn has come.
    pub fn take_earlier(&mut self, index: usize, this: &Waiting) -> Option<Waiting> {
        let (place, _) = self
            .earlier_ones(index, this)
            .filter(|(_, other)| other.kind == this.kind)
            .min_by_key(|(_, other)| other.number.wrapping_sub(this.number) as i32)?;
        let earlier = self.waiting.get_mut(place)?;
        earlier.taken = true;
        self.taken = true;
        Some(*earlier)
    }

    /// How many of the `missing` numbers before `this` at `index` are there,
    /// sorted behind it.
    pub fn present(&self, index: usize, this: &Waiting, missing: u32) -> u32 {
        let among = |other: &Waiting| this.number.wrapping_sub(other.number) <= missing;
        self.earlier_ones(index, this)
            .filter(|(_, other)| among(other))
            .count() as u32
    }

    /// Lets go of those that were due, and of all that were taken.
    pub fn done(&mut self, due: Range<usize>) {
        self.handled = due.end;
        if self.taken {
            self.waiting.drain(..self.handled);
            self.waiting.retain(|waiting| !waiting.taken);
            (self.handled, self.taken) = (0, false);
        }
        // Moved to the front only now and then: most of it is gone by then.
        if self.handled > self.waiting.len() / 2 {
            self.waiting.drain(..self.handled);
            self.handled = 0;
        }
        if self.handled == self.waiting.len() {
            self.waiting.clear();
            self.arena.clear();
            self.handled = 0;
            return;
        }
        if self.arena.len() < WORTH_WHILE {
            return;
        }
        let first = self.left().iter().map(|waiting| waiting.start).min();
        if let Some(first) = first
            && first as usize > self.arena.len() / 2
        {
            self.arena.drain(..first as usize);
            for waiting in self.left() {
                waiting.start -= first;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the order against a sort, with records that are far and near from
    /// their place, and that what is done doesn't come again.
    #[test]
    fn sorts() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut order = Order::default();
        let mut pushed = Vec::new();
        let mut popped = Vec::new();
        for round in 0..50u64 {
            for i in 0..200u64 {
                let far = if random.u8(..) == 0 { 5_000 } else { 20 };
                let at = 10_000 + round * 1_000 + i * 5 + random.u64(..far);
                let bytes = at.to_ne_bytes();
                assert!(order.push(at, i, i as u32, Kind::Sent, &bytes));
                pushed.push(at);
            }
            let due = order.due(10_000 + round * 1_000);
            for index in due.clone() {
                let waiting = order.get(index).expect("a record");
                assert_eq!(order.bytes(&waiting), waiting.at.to_ne_bytes());
                popped.push(waiting.at);
            }
            order.done(due);
        }
        let due = order.due(u64::MAX);
        let all = due.clone().filter_map(|index| order.get(index));
        popped.extend(all.map(|waiting| waiting.at));
        order.done(due);
        assert!(order.arena.is_empty() && order.waiting.is_empty());
        pushed.sort_unstable();
        popped.sort_unstable();
        assert_eq!(popped, pushed);
    }

    /// Checks that room is bounded.
    #[test]
    fn is_bounded() {
        let mut order = Order::default();
        let bytes = [0; 4096];
        let mut taken = 0;
        while order.push(taken, 1, 0, Kind::Received, &bytes) {
            taken += 1;
        }
        assert_eq!(taken as usize, MAX_BYTES / bytes.len());
        assert!(order.crowded());
        let due = order.due(u64::MAX);
        order.done(due);
        assert!(!order.crowded());
    }
}
