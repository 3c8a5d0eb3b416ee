//! The one queue of all signals: encoded requests, bounded in bytes.
//!
//! Plain data behind a lock held for microseconds; who waits and who sends is
//! `sender`'s business. When room is needed it is made by the resource of which
//! most waits, of all signals together: by the oldest request that is mostly its.
//! So who makes much loses much, and others keep what they have. A request
//! under way counts as occupied room but can't be pushed out; while it waits for
//! its next attempt it is back in the queue and can.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::shares::{Shares, Whose};
use super::signal::{BySignal, DropCause, Signal};

/// One encoded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Signal that the request carries.
    pub signal: Signal,
    /// The HTTP body, compressed and framed: exactly what goes on the wire.
    pub body: Bytes,
    /// Data points, spans or samples in it.
    pub items: u64,
    /// How many bytes of the body are whose.
    shares: Shares,
    /// Age: smaller is older. Given by [`Queue::push`].
    sequence: u64,
}

impl Request {
    /// A request that hasn't been queued yet.
    pub fn new(signal: Signal, body: Bytes, items: u64, shares: Shares) -> Self {
        Self {
            signal,
            shares: shares.scaled(body.len()),
            body,
            items,
            sequence: 0,
        }
    }

    /// At least half of it is this resource's.
    fn is_mostly(&self, whose: Whose) -> bool {
        // Shares are rounded down.
        self.shares.of(whose) * 2 + 2 >= self.body.len() as u64
    }
}

/// Items that had to go, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose they were.
    pub signal: Signal,
    /// The reason.
    pub cause: DropCause,
    /// Points, spans or samples in the request.
    pub items: u64,
}

/// See the module's description.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    bytes: usize,
    next_sequence: u64,
    lanes: BySignal<VecDeque<Request>>,
    /// Bytes of each resource that wait.
    held: HashMap<Whose, u64>,
    /// Items and requests that were taken and neither finished nor given back.
    under_way: BySignal<(u64, u64)>,
}

impl Queue {
    /// An empty queue that never holds more than `limit` bytes of bodies.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            next_sequence: 0,
            lanes: Default::default(),
            held: HashMap::new(),
            under_way: Default::default(),
        }
    }

    /// Adds a request, pushing out others as long as it doesn't fit, of whoever has
    /// most. Returns what was lost thereby, which may be the request itself.
    pub fn push(&mut self, mut request: Request) -> Vec<Loss> {
        let mut losses = Vec::new();
        let size = request.body.len();
        if size > self.limit {
            losses.push(loss(&request, DropCause::TooLarge));
            return losses;
        }
        self.hold(&request.shares);
        while self.bytes + size > self.limit {
            match self.make_room(&request) {
                Some(old) => losses.push(loss(&old, DropCause::QueueFull)),
                // What is left is under way and can't be recalled, or is of those who
                // have less than this one.
                None => {
                    self.let_go(&request.shares);
                    losses.push(loss(&request, DropCause::QueueFull));
                    return losses;
                }
            }
        }
        request.sequence = self.next_sequence;
        self.next_sequence += 1;
        self.bytes += size;
        self.lanes[request.signal].push_back(request);
        losses
    }

    /// Takes the oldest request of a signal to send it. [`Queue::finish`] or
    /// [`Queue::give_back`] must follow.
    pub fn take(&mut self, signal: Signal) -> Option<Request> {
        let request = self.lanes[signal].pop_front()?;
        self.let_go(&request.shares);
        let (items, requests) = &mut self.under_way[signal];
        *items += request.items;
        *requests += 1;
        Some(request)
    }

    /// The request taken is done with: sent or lost.
    pub fn finish(&mut self, request: &Request) {
        self.landed(request);
        self.bytes -= request.body.len();
    }

    /// The request taken is to be tried again later: it's the oldest again.
    pub fn give_back(&mut self, request: Request) {
        self.landed(&request);
        self.hold(&request.shares);
        self.lanes[request.signal].push_front(request);
    }

    fn landed(&mut self, request: &Request) {
        let (items, requests) = &mut self.under_way[request.signal];
        *items -= request.items;
        *requests -= 1;
    }

    /// Removes all that waits of one signal; returns the number of items.
    pub fn clear(&mut self, signal: Signal) -> u64 {
        let lane = std::mem::take(&mut self.lanes[signal]);
        self.bytes -= lane.iter().map(|r| r.body.len()).sum::<usize>();
        lane.iter().for_each(|request| self.let_go(&request.shares));
        lane.iter().map(|r| r.items).sum()
    }

    /// Nothing of this signal waits.
    pub fn is_empty(&self, signal: Signal) -> bool {
        self.lanes[signal].is_empty()
    }

    /// Bytes waiting or under way; never more than the limit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bound given to [`Queue::new`].
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Items of a signal, waiting or under way.
    pub fn items(&self, signal: Signal) -> u64 {
        let waiting: u64 = self.lanes[signal].iter().map(|r| r.items).sum();
        waiting + self.under_way[signal].0
    }

    /// Requests of all signals, waiting or under way.
    pub fn requests(&self) -> u64 {
        let waiting: usize = self.lanes.iter().map(VecDeque::len).sum();
        waiting as u64 + self.under_way.iter().map(|u| u.1).sum::<u64>()
    }

    /// Takes out the request that makes room for a new one; none if that is the one that
    /// shouldn't be there, or nothing waits.
    fn make_room(&mut self, new: &Request) -> Option<Request> {
        // Of two with as much always the same one.
        let most = self
            .held
            .iter()
            .max_by_key(|(whose, bytes)| (**bytes, **whose));
        let most = most.map(|(whose, _)| *whose);
        let found = most.and_then(|most| self.oldest(|request| request.is_mostly(most)));
        let (signal, at) = match (found, most) {
            (Some(found), _) => found,
            (None, Some(most)) if new.is_mostly(most) => return None,
            // Requests that many have together.
            (None, most) => self
                .oldest(|request| most.is_some_and(|most| request.shares.of(most) > 0))
                .or_else(|| self.oldest(|_| true))?,
        };
        let request = self.lanes[signal].remove(at)?;
        self.bytes -= request.body.len();
        self.let_go(&request.shares);
        Some(request)
    }

    /// Where the oldest request is that `wanted`.
    fn oldest(&self, wanted: impl Fn(&Request) -> bool) -> Option<(Signal, usize)> {
        let firsts = self.lanes.iter().filter_map(|lane| {
            let mut requests = lane.iter().enumerate();
            requests.find(|(_, request)| wanted(request))
        });
        let (at, request) = firsts.min_by_key(|(_, request)| request.sequence)?;
        Some((request.signal, at))
    }

    fn hold(&mut self, shares: &Shares) {
        for (whose, bytes) in shares.iter() {
            *self.held.entry(whose).or_default() += bytes;
        }
    }

    fn let_go(&mut self, shares: &Shares) {
        for (whose, bytes) in shares.iter() {
            let held = self.held.get(&whose).copied().unwrap_or(0);
            match held.saturating_sub(bytes) {
                0 => self.held.remove(&whose),
                left => self.held.insert(whose, left),
            };
        }
    }
}

fn loss(request: &Request, cause: DropCause) -> Loss {
    Loss {
        signal: request.signal,
        cause,
        items: request.items,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(signal: Signal, size: usize, items: u64) -> Request {
        Request::new(signal, Bytes::from(vec![0; size]), items, Shares::default())
    }

    /// A request that is these resources', in equal parts.
    fn of(signal: Signal, size: usize, whose: &[Whose]) -> Request {
        let mut shares = Shares::default();
        whose.iter().for_each(|whose| shares.add(*whose, 10));
        Request::new(signal, Bytes::from(vec![0; size]), 1, shares)
    }

    /// Three resources.
    fn resources() -> [Whose; 3] {
        ["a", "b", "c"].map(|name| {
            let name = observer_signals::Attribute::new("service.name", name.to_owned());
            Whose::of(&observer_signals::Resource {
                attributes: vec![name],
            })
        })
    }

    /// Checks that the oldest request goes first, across signals, and that the
    /// bound holds and every item is either in the queue or in a loss.
    #[test]
    fn oldest_goes_first_across_signals() {
        let mut queue = Queue::new(100);
        assert!(queue.push(request(Signal::Traces, 40, 1)).is_empty());
        assert!(queue.push(request(Signal::Metrics, 40, 2)).is_empty());
        let lost = queue.push(request(Signal::Profiles, 60, 4));
        assert_eq!(lost.len(), 1);
        assert_eq!(
            (lost[0].signal, lost[0].cause, lost[0].items),
            (Signal::Traces, DropCause::QueueFull, 1)
        );
        assert_eq!(queue.bytes(), 100);
        assert_eq!(queue.items(Signal::Metrics), 2);
        assert_eq!(queue.items(Signal::Profiles), 4);
    }

    /// Checks that a request under way is not recalled, occupies room, and is
    /// the oldest again when given back.
    #[test]
    fn under_way_counts_and_returns_as_oldest() {
        let mut queue = Queue::new(100);
        queue.push(request(Signal::Metrics, 90, 7));
        let taken = queue.take(Signal::Metrics).expect("it was pushed");
        let lost = queue.push(request(Signal::Metrics, 20, 1));
        assert_eq!(lost[0].items, 1, "the new one has no room");
        assert_eq!(queue.bytes(), 90);
        assert_eq!(queue.items(Signal::Metrics), 7);
        queue.give_back(taken);
        let lost = queue.push(request(Signal::Traces, 20, 1));
        assert_eq!((lost[0].signal, lost[0].items), (Signal::Metrics, 7));
        let taken = queue.take(Signal::Traces).expect("it was pushed");
        queue.finish(&taken);
        assert_eq!((queue.bytes(), queue.requests()), (0, 0));
    }

    /// Checks that a request larger than the queue doesn't empty the queue.
    #[test]
    fn giant_is_dropped_alone() {
        let mut queue = Queue::new(10);
        queue.push(request(Signal::Traces, 10, 1));
        let lost = queue.push(request(Signal::Traces, 11, 5));
        assert_eq!((lost[0].cause, lost[0].items), (DropCause::TooLarge, 5));
        assert_eq!(queue.items(Signal::Traces), 1);
    }

    /// Checks that who has most makes room, of all signals, the oldest first, and that
    /// others keep what they have; that equals then lose in turn; and that all that goes
    /// is told.
    #[test]
    fn who_has_most_makes_room() {
        let [flood, little, other] = resources();
        let mut queue = Queue::new(1000);
        assert!(queue.push(of(Signal::Metrics, 50, &[little])).is_empty());
        let mut lost = 0;
        for _ in 0..100 {
            lost += queue.push(of(Signal::Traces, 100, &[flood])).len();
            lost += queue.push(of(Signal::Profiles, 100, &[flood])).len();
        }
        assert_eq!(lost, 200 - 9);
        assert_eq!(queue.items(Signal::Metrics), 1);
        for _ in 0..8 {
            for loss in queue.push(of(Signal::Metrics, 50, &[other])) {
                assert_ne!(loss.signal, Signal::Metrics, "it has less");
                lost += 1;
            }
        }
        assert_eq!(queue.items(Signal::Metrics), 9);
        // A request of many goes if who has most has nothing else.
        let [mut a, mut b] = [0, 0];
        for _ in 0..100 {
            a += queue.push(of(Signal::Traces, 100, &[flood])).len();
            b += queue.push(of(Signal::Metrics, 100, &[other, little])).len();
        }
        assert!(a > 90 && b > 90, "{a} {b}");
        let waiting = queue.requests() as usize;
        assert_eq!(209 + 200, waiting + lost + a + b);
        let mut taken = 0;
        for signal in Signal::ALL {
            while let Some(request) = queue.take(signal) {
                queue.finish(&request);
                taken += 1;
            }
        }
        assert_eq!((taken, queue.bytes()), (waiting, 0));
        assert!(queue.held.is_empty(), "{:?}", queue.held);
    }

    /// Checks that a request of who has most, while nothing else of it waits, takes nothing
    /// from those who have less.
    #[test]
    fn a_giant_takes_nothing() {
        let [flood, little, _] = resources();
        let mut queue = Queue::new(100);
        queue.push(of(Signal::Metrics, 40, &[little]));
        let lost = queue.push(of(Signal::Traces, 90, &[flood]));
        assert_eq!((lost.len(), lost[0].signal), (1, Signal::Traces));
        assert_eq!((queue.bytes(), queue.held.len()), (40, 1));
    }
}
