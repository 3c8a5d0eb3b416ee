//! The one queue of all signals: encoded requests, bounded in bytes.
//!
//! Plain data behind a lock held for microseconds; who waits and who sends is
//! `sender`'s business. When room is needed the oldest request goes first,
//! whichever signal it belongs to. A request under way counts as occupied
//! room but can't be pushed out; while it waits for its next attempt it is
//! back in the queue and can.

use std::collections::VecDeque;

use bytes::Bytes;

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
    /// Age: smaller is older. Given by [`Queue::push`].
    sequence: u64,
}

impl Request {
    /// A request that hasn't been queued yet.
    pub fn new(signal: Signal, body: Bytes, items: u64) -> Self {
        Self {
            signal,
            body,
            items,
            sequence: 0,
        }
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
            under_way: Default::default(),
        }
    }

    /// Adds a request, pushing out the oldest ones as long as it doesn't fit.
    /// Returns what was lost thereby, which may be the request itself.
    pub fn push(&mut self, mut request: Request) -> Vec<Loss> {
        let mut losses = Vec::new();
        let size = request.body.len();
        if size > self.limit {
            losses.push(loss(&request, DropCause::TooLarge));
            return losses;
        }
        while self.bytes + size > self.limit {
            match self.pop_oldest() {
                Some(old) => losses.push(loss(&old, DropCause::QueueFull)),
                // Everything that is left is under way and can't be recalled.
                None => {
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

    fn pop_oldest(&mut self) -> Option<Request> {
        let lane = self
            .lanes
            .iter_mut()
            .filter(|lane| !lane.is_empty())
            .min_by_key(|lane| lane.front().map(|r| r.sequence))?;
        let request = lane.pop_front()?;
        self.bytes -= request.body.len();
        Some(request)
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
        Request::new(signal, Bytes::from(vec![0; size]), items)
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
}
