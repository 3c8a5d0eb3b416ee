//! The skeleton of protocols whose answers come in the order of the questions:
//! which side speaks, which questions are open, what is done where bytes weren't
//! seen. A protocol brings what a message is, and what it says.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use observer_common::requests::Protocol;

use super::call::{Call, Db, Failure};
use super::frames::{Frame, Frames, Head};
use super::input::Input;
use super::protocol::{Chunk, Ended, Event, Events, Exchange, MAX_OPEN, Parser};
use super::turn::{Side, begins};

/// A question whose answer isn't over.
#[derive(Debug)]
pub struct Open<Q> {
    /// `None` if its end is told to nobody.
    pub exchange: Option<Exchange>,
    /// When its answer began, in kernel time.
    pub answered: Option<u64>,
    /// The system's own code of what went wrong.
    pub error: Option<String>,
    /// Whether the end of its answer wasn't seen, nor what it says.
    pub unseen: bool,
    /// What the protocol knows of it.
    pub question: Q,
}

impl<Q> Deref for Open<Q> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.question
    }
}

impl<Q> DerefMut for Open<Q> {
    fn deref_mut(&mut self) -> &mut Q {
        &mut self.question
    }
}

/// Both sides of one connection.
#[derive(Debug)]
pub struct Flow<Q> {
    /// Messages of the side that asks.
    pub asks: Frames,
    /// Messages of the side that answers.
    pub answers: Frames,
    /// Who spoke last.
    pub last: Side,
    /// When the last chunk of an answer was there, in kernel time.
    pub answered_at: u64,
    /// Questions that are open, the oldest first.
    pub queue: VecDeque<Open<Q>>,
    /// Questions behind the queue whose ends are told to nobody: there are too
    /// many. Only of protocols that [`OrderedProtocol::OUTLIVES_FULL_QUEUE`].
    pub untold: u64,
    next: Exchange,
}

impl<Q> Default for Flow<Q> {
    fn default() -> Self {
        Self {
            asks: Frames::default(),
            answers: Frames::default(),
            last: Side::default(),
            answered_at: 0,
            queue: VecDeque::new(),
            untold: 0,
            next: 0,
        }
    }
}

impl<Q> Flow<Q> {
    /// A question begins.
    pub fn begin(&mut self, at: u64, out: &mut Events) -> Exchange {
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        out.events.push(Event::Begun { exchange, at });
        exchange
    }

    /// A question begins, if there is room; otherwise it is counted.
    pub fn begin_or_count(&mut self, at: u64, out: &mut Events) -> Option<Exchange> {
        if self.queue.len() >= MAX_OPEN || self.untold > 0 {
            self.untold = self.untold.saturating_add(1);
            out.abandoned += 1;
            return None;
        }
        Some(self.begin(at, out))
    }

    /// A question waits for its answer.
    pub fn push(&mut self, exchange: Option<Exchange>, question: Q) {
        self.queue.push_back(Open {
            exchange,
            answered: None,
            error: None,
            unseen: false,
            question,
        });
    }
}

/// What a protocol brings to the skeleton.
pub trait OrderedProtocol: Default + Send {
    /// Which it is.
    const PROTOCOL: Protocol;

    /// Whether answers beyond [`MAX_OPEN`] open questions are counted one by
    /// one, by [`Flow::begin_or_count`]. Otherwise sight of the questions is
    /// lost then.
    const OUTLIVES_FULL_QUEUE: bool = false;

    /// What is known of a question.
    type Question: Send;

    /// What the first bytes of a message of the asking side say.
    fn question_head(&self, flow: &Flow<Self::Question>, data: &[u8]) -> Head;

    /// A message of the asking side, which began at `at` (kernel time).
    fn question(
        &mut self,
        flow: &mut Flow<Self::Question>,
        frame: Frame<'_>,
        at: u64,
        out: &mut Events,
    );

    /// What the first bytes of a message of the answering side say.
    fn answer_head(&self, flow: &Flow<Self::Question>, data: &[u8]) -> Head;

    /// A message of the answering side; false if it can't be one here.
    fn answer(
        &mut self,
        flow: &mut Flow<Self::Question>,
        frame: Frame<'_>,
        out: &mut Events,
    ) -> bool;

    /// A database's call: what was asked, how it went, and where.
    fn call(&self, open: Open<Self::Question>) -> Db;

    /// The asking side takes its turn after an answer.
    fn turned(&mut self, _flow: &mut Flow<Self::Question>, _out: &mut Events) {}

    /// Questions are in sight again, from their beginning on.
    fn found(&mut self) {}

    /// The rest of the questions is out of sight.
    fn lost(&mut self, _flow: &mut Flow<Self::Question>, _out: &mut Events) {}

    /// A chunk of an answer is over.
    fn paused(&mut self, _flow: &mut Flow<Self::Question>, _out: &mut Events) {}

    /// The last bytes of a chunk of answers, where sight of the messages is lost:
    /// if they say how the answer ended that all wait for, it is over. Says whether
    /// the next chunk begins a message.
    fn last_bytes(
        &mut self,
        _flow: &mut Flow<Self::Question>,
        _last: &[u8],
        _out: &mut Events,
    ) -> bool {
        false
    }

    /// The end of the answers wasn't seen, but the next question: all is over.
    fn settle(&mut self, flow: &mut Flow<Self::Question>, out: &mut Events) {
        while let Some(mut open) = flow.queue.pop_front() {
            // What an answer begins with says how it went.
            open.unseen = open.answered.is_none();
            self.end(open, flow.answered_at, None, out);
        }
        flow.untold = 0;
    }

    /// Forgets what belongs to messages under way; how many exchanges that
    /// aren't in the queue won't end.
    fn reset(&mut self) -> u64 {
        0
    }

    /// Exchanges before the next chunk weren't followed. `blind`: what they
    /// prepared for later ones wasn't seen either.
    fn skipped(&mut self, _blind: bool) {}

    /// The connection ends, before anything is ended for that.
    fn closing(&mut self, _flow: &mut Flow<Self::Question>, _out: &mut Events) {}

    /// Whether a question is over though no answer says so, when its connection
    /// ends at `at` (kernel time): then when.
    fn over_at_close(
        _open: &Open<Self::Question>,
        _flow: &Flow<Self::Question>,
        _at: u64,
    ) -> Option<u64> {
        None
    }

    /// The connection ended at `at` (kernel time), and with it what was queued.
    fn closed(&mut self, _flow: &mut Flow<Self::Question>, _at: u64, _out: &mut Events) {}

    /// A question is over at `at` (kernel time).
    fn end(&self, open: Open<Self::Question>, at: u64, failure: Option<Failure>, out: &mut Events) {
        let Some(exchange) = open.exchange else {
            return;
        };
        let answered = match failure {
            Some(_) => open.answered,
            None => Some(open.answered.unwrap_or(at)),
        };
        let unseen = open.unseen && failure.is_none();
        let call = Call::Db(Db {
            failure,
            unseen,
            ..self.call(open)
        });
        out.events.push(Event::Ended(Ended {
            exchange,
            answered,
            at,
            call,
        }));
    }
}

/// One connection of a protocol.
pub struct Ordered<P: OrderedProtocol> {
    protocol: P,
    flow: Flow<P::Question>,
}

impl<P: OrderedProtocol> Ordered<P> {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self {
            protocol: P::default(),
            flow: Flow::default(),
        }
    }
}

impl<P: OrderedProtocol> Default for Ordered<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: OrderedProtocol> Parser for Ordered<P> {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        let Self { protocol, flow } = self;
        let turn = flow.last == Side::Answers;
        if turn && flow.answers.lost() {
            protocol.settle(flow, out);
            flow.answers.find();
        }
        if turn {
            protocol.turned(flow, out);
        }
        let unknown = flow.last == Side::Unknown && begins(chunk, P::PROTOCOL);
        if flow.asks.lost() && flow.queue.is_empty() && (turn || unknown) {
            flow.asks.find();
            flow.untold = 0;
            protocol.found();
            if unknown {
                flow.answers.find();
            }
        }
        flow.last = Side::Asks;

        let mut frames = std::mem::take(&mut flow.asks);
        let mut input = Input::of(chunk);
        loop {
            let head = |data: &[u8]| protocol.question_head(flow, data);
            let Some(frame) = frames.next(&mut input, &mut out.failed, head) else {
                break;
            };
            protocol.question(flow, frame, at, out);
            if !P::OUTLIVES_FULL_QUEUE && flow.queue.len() >= MAX_OPEN {
                out.abandoned += 1;
                frames.lose();
            }
        }
        // A question may say that it makes no sense of what follows.
        if flow.asks.lost() {
            frames.lose();
        }
        flow.asks = frames;
        if flow.asks.lost() {
            protocol.lost(flow, out);
        }
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        let Self { protocol, flow } = self;
        flow.last = Side::Answers;
        flow.answered_at = chunk.ended;
        let mut frames = std::mem::take(&mut flow.answers);
        let mut input = Input::of(chunk);
        loop {
            let head = |data: &[u8]| protocol.answer_head(flow, data);
            let Some(frame) = frames.next(&mut input, &mut out.failed, head) else {
                break;
            };
            if !protocol.answer(flow, frame, out) {
                out.failed += 1;
                frames.lose();
            }
        }
        flow.answers = frames;
        protocol.paused(flow, out);
        if flow.answers.lost()
            && let Some(first) = flow.queue.front_mut()
        {
            first.answered.get_or_insert(chunk.ended);
            let whole = chunk.data.len() as u64 == chunk.length;
            let last = if whole { chunk.data } else { chunk.tail };
            if protocol.last_bytes(flow, last, out) {
                flow.answers.find();
            }
        }
    }

    fn missed(&mut self, out: &mut Events) {
        let Self { protocol, flow } = self;
        let open = flow.queue.iter().filter(|open| open.exchange.is_some());
        out.abandoned += open.count() as u64 + protocol.reset();
        flow.queue.clear();
        flow.untold = 0;
        flow.asks.lose();
        flow.answers.lose();
        flow.last = Side::Unknown;
    }

    fn skipped(&mut self, blind: bool, out: &mut Events) {
        if self.flow.answers.lost() {
            self.protocol.settle(&mut self.flow, out);
        }
        self.protocol.turned(&mut self.flow, out);
        self.missed(out);
        self.flow.asks.find();
        self.flow.answers.find();
        self.flow.last = Side::Answers;
        self.protocol.skipped(blind);
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        let Self { protocol, flow } = self;
        protocol.closing(flow, out);
        if flow.answers.lost() && flow.last == Side::Answers {
            protocol.settle(flow, out);
        }
        while let Some(open) = flow.queue.pop_front() {
            match P::over_at_close(&open, flow, at) {
                Some(over) => protocol.end(open, over, None, out),
                None => protocol.end(open, at, Some(Failure::Closed), out),
            }
        }
        protocol.closed(flow, at, out);
    }
}
