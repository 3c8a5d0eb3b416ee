//! DNS over UDP and TCP (RFC 1035).
//!
//! A question is over with the answer that has its number and asks the same.
//! Over UDP it may never come, or be asked again, which is the same exchange.

mod message;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::call::{Call, Dns as Lookup, Failure};
use super::frames::{Frames, Head};
use super::input::Input;
use super::protocol::{Chunk, Ended, Event, Events, Exchange, MAX_OPEN, Parser};
use super::turn::Side;
use message::{Message, type_name};

/// How long a question stays open without an answer, in nanoseconds: what
/// resolvers wait before they ask again.
pub const TIMEOUT: u64 = 5_000_000_000;

/// A question without answer.
#[derive(Debug)]
struct Open {
    exchange: Exchange,
    begun: u64,
    id: u16,
    name: String,
    kind: u16,
}

/// One socket, or one connection.
pub struct Dns {
    datagram: bool,
    asks: Frames,
    answers: Frames,
    last: Side,
    open: VecDeque<Open>,
    next: Exchange,
}

/// Messages over TCP follow their length (RFC 1035, 4.2.2).
fn head(data: &[u8]) -> Head {
    match data {
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            length @ message::HEADER_LENGTH.. => Head::Message {
                length: u64::from(length) + 2,
                wanted: 1024,
            },
            _ => Head::Wrong,
        },
        _ => Head::Short,
    }
}

impl Dns {
    /// A socket of which nothing was seen; `datagram` says that each chunk is a
    /// message.
    pub fn new(datagram: bool) -> Self {
        Self {
            datagram,
            asks: Frames::default(),
            answers: Frames::default(),
            last: Side::Unknown,
            open: VecDeque::new(),
            next: 0,
        }
    }

    fn ask(&mut self, bytes: &[u8], at: u64, out: &mut Events) {
        let Some(message) = Message::read(bytes).filter(|message| !message.response) else {
            out.failed += 1;
            return;
        };
        let Some((name, kind)) = message.question else {
            out.failed += 1;
            return;
        };
        let same = |open: &Open| open.id == message.id && open.kind == kind && open.name == name;
        if self.open.iter().any(same) {
            return;
        }
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
            out.abandoned += 1;
        }
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        out.events.push(Event::Begun { exchange, at });
        self.open.push_back(Open {
            exchange,
            begun: at,
            id: message.id,
            name,
            kind,
        });
    }

    fn answer(&mut self, bytes: &[u8], at: u64, out: &mut Events) {
        let Some(message) = Message::read(bytes).filter(|message| message.response) else {
            out.failed += 1;
            return;
        };
        // Some servers leave the question out when they refuse it.
        let answered = |open: &Open| {
            open.id == message.id
                && message.question.as_ref().is_none_or(|(name, kind)| {
                    open.kind == *kind && open.name.eq_ignore_ascii_case(name)
                })
        };
        let Some(index) = self.open.iter().position(answered) else {
            return;
        };
        let Some(open) = self.open.remove(index) else {
            return;
        };
        out.events.push(Event::Ended(Ended {
            exchange: open.exchange,
            answered: Some(at),
            at,
            call: Call::Dns(Lookup {
                name: open.name,
                question: type_name(open.kind),
                code: Some(message.code),
                answers: message::answers(bytes),
                failure: None,
            }),
        }));
    }
}

fn end(open: Open, at: u64, answered: Option<u64>, failure: Failure, out: &mut Events) {
    out.events.push(Event::Ended(Ended {
        exchange: open.exchange,
        answered,
        at,
        call: Call::Dns(Lookup {
            name: open.name,
            question: type_name(open.kind),
            code: None,
            answers: Vec::new(),
            failure: Some(failure),
        }),
    }));
}

impl Parser for Dns {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        if self.datagram {
            return self.ask(chunk.data, at, out);
        }
        if self.asks.lost() && self.last == Side::Answers {
            self.asks.find();
        }
        self.last = Side::Asks;
        let mut frames = std::mem::take(&mut self.asks);
        let mut input = Input::of(chunk);
        while let Some(frame) = frames.next(&mut input, &mut out.failed, head) {
            self.ask(frame.data.get(2..).unwrap_or(&[]), at, out);
        }
        self.asks = frames;
    }

    /// Ends questions that began [`TIMEOUT`] ago.
    fn expire(&mut self, at: u64, out: &mut Events) {
        let before = at.saturating_sub(TIMEOUT);
        while let Some(open) = self.open.pop_front_if(|open| open.begun < before) {
            end(open, at, None, Failure::Timeout, out);
        }
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        if self.datagram {
            return self.answer(chunk.data, chunk.ended, out);
        }
        if self.answers.lost() && self.last == Side::Asks {
            self.answers.find();
        }
        self.last = Side::Answers;
        let mut frames = std::mem::take(&mut self.answers);
        let mut input = Input::of(chunk);
        while let Some(frame) = frames.next(&mut input, &mut out.failed, head) {
            self.answer(frame.data.get(2..).unwrap_or(&[]), chunk.ended, out);
        }
        self.answers = frames;
    }

    fn missed(&mut self, out: &mut Events) {
        out.abandoned += self.open.len() as u64;
        self.open.clear();
        self.asks.lose();
        self.answers.lose();
        self.last = Side::Unknown;
    }

    fn skipped(&mut self, _blind: bool, out: &mut Events) {
        self.missed(out);
        self.asks.find();
        self.answers.find();
        self.last = Side::Answers;
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        let failure = if self.datagram {
            Failure::Timeout
        } else {
            Failure::Closed
        };
        for open in std::mem::take(&mut self.open) {
            end(open, at, None, failure, out);
        }
    }
}
