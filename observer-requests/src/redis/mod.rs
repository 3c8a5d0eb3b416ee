//! Redis: commands and replies, in order.

mod commands;
mod resp;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use observer_common::requests::Protocol;

use super::call::{Call, Db, Failure};
use super::frames::{Frame, Frames, Rest};
use super::protocol::{Chunk, Ended, Event, Events, Exchange, MAX_OPEN, Parser};
use super::turn::{Side, begins};
use commands::{Command, Kind};

/// A command whose reply isn't there.
#[derive(Debug)]
struct Ask {
    exchange: Exchange,
    command: Command,
    /// Arguments behind the name.
    arguments: u32,
    /// The database that it selects.
    select: Option<u32>,
    answered: Option<u64>,
}

/// A command that isn't whole.
#[derive(Debug, Default)]
struct Building {
    /// `None` if its reply isn't waited for.
    exchange: Option<Exchange>,
    command: Command,
    kind: Kind,
    elements: u32,
    /// Elements that are still to come.
    left: u32,
    select: Option<u32>,
    at: u64,
}

/// What a reply in its middle is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reply {
    #[default]
    Answer,
    /// What nobody asked for, or what precedes an answer.
    Other,
}

/// One connection.
#[derive(Default)]
pub struct Redis {
    asks: Frames,
    answers: Frames,
    last: Side,
    answered_at: u64,
    building: Building,
    queue: VecDeque<Ask>,
    /// Commands behind the queue whose replies are not told.
    untold: u64,
    next: Exchange,
    resp3: bool,
    namespace: Option<Arc<str>>,
    reply: Reply,
    /// Elements of the reply that are still to come.
    pending: u64,
    /// The reply's last element has begun.
    ending: bool,
    error: Option<String>,
    ok: bool,
}

impl Redis {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// One element of the client's.
    fn ask(&mut self, frame: Frame<'_>, at: u64, out: &mut Events) {
        let element = frame.data;
        if self.building.left == 0 {
            if element.first() == Some(&b'*') {
                let elements = resp::number(element).unwrap_or(0);
                self.building = Building {
                    elements: u32::try_from(elements).unwrap_or(0),
                    left: u32::try_from(elements).unwrap_or(0),
                    at,
                    ..Building::default()
                };
            } else {
                self.inline(element, at, out);
            }
            return;
        }
        let content = resp::content(element, frame.length);
        // A name that is cut isn't one.
        let whole = element.len() as u64 + 2 >= frame.length;
        self.argument(if whole { content } else { &[] }, out);
    }

    fn inline(&mut self, line: &[u8], at: u64, out: &mut Events) {
        let words = || {
            let words = line.split(|byte| byte.is_ascii_whitespace());
            words.filter(|word| !word.is_empty())
        };
        let elements = words().count() as u32;
        self.building = Building {
            elements,
            left: elements,
            at,
            ..Building::default()
        };
        for word in words() {
            self.argument(word, out);
        }
    }

    fn argument(&mut self, content: &[u8], out: &mut Events) {
        let now = &mut self.building;
        let index = now.elements - now.left;
        now.left -= 1;
        match (index, now.kind) {
            (0, _) => {
                now.command = Command::find(content);
                now.kind = now.command.kind();
                if now.kind != Kind::Subscribes {
                    self.begin(out);
                } else if !self.resp3 {
                    out.finished = true;
                }
            }
            (1, Kind::Container) => {
                now.command = now.command.sub(content);
                now.kind = now.command.kind();
            }
            (1, Kind::Select) => {
                let text = std::str::from_utf8(content).ok();
                now.select = text.and_then(|text| text.parse().ok());
            }
            (1, Kind::Hello) => self.resp3 = content == b"3",
            _ => {}
        }
        if self.building.left == 0 {
            self.built(out);
        }
    }

    fn begin(&mut self, out: &mut Events) {
        if self.queue.len() >= MAX_OPEN || self.untold > 0 {
            self.untold = self.untold.saturating_add(1);
            out.abandoned += 1;
            return;
        }
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        self.building.exchange = Some(exchange);
        out.events.push(Event::Begun {
            exchange,
            at: self.building.at,
        });
    }

    /// A command is whole, or the rest of it is out of sight.
    fn built(&mut self, out: &mut Events) {
        let now = std::mem::take(&mut self.building);
        match now.kind {
            Kind::Streams => out.finished = true,
            Kind::Reset => self.resp3 = false,
            _ => {}
        }
        let Some(exchange) = now.exchange else {
            return;
        };
        let name = if now.command.name().contains(' ') {
            2
        } else {
            1
        };
        self.queue.push_back(Ask {
            exchange,
            command: now.command,
            arguments: now.elements.saturating_sub(name),
            select: now.select,
            answered: None,
        });
    }

    /// One element of the server's.
    fn answer(&mut self, frame: Frame<'_>, out: &mut Events) {
        let element = frame.data;
        if self.ending {
            self.answer_ended(out);
        }
        if self.pending == 0 {
            self.pending = 1;
            self.reply = match element.first() {
                Some(b'>' | b'|') => Reply::Other,
                _ => Reply::Answer,
            };
            if self.reply == Reply::Answer
                && let Some(first) = self.queue.front_mut()
            {
                first.answered.get_or_insert(self.answered_at);
                self.ok = element == b"+OK\r\n";
                let failed = matches!(element.first(), Some(b'-' | b'!'));
                self.error = failed.then(|| resp::error(element));
            }
        }
        self.pending = self.pending - 1 + resp::children(element).min(u64::MAX / 4);
        self.ending = self.pending == 0;
        if self.ending && element.len() as u64 >= frame.length {
            self.answer_ended(out);
        }
    }

    /// The last byte of a reply was there.
    fn answer_ended(&mut self, out: &mut Events) {
        self.ending = false;
        if self.reply == Reply::Other {
            return;
        }
        let Some(ask) = self.queue.pop_front() else {
            self.untold = self.untold.saturating_sub(1);
            return;
        };
        if let Some(number) = ask.select
            && self.ok
        {
            self.namespace = Some(number.to_string().into());
        }
        let error = self.error.take();
        self.end(&ask, self.answered_at, error, None, out);
    }

    fn settle(&mut self, out: &mut Events) {
        let mut error = self.error.take();
        while let Some(ask) = self.queue.pop_front() {
            self.end(&ask, self.answered_at, error.take(), None, out);
        }
        self.untold = 0;
        self.pending = 0;
        self.ending = false;
    }

    fn end(
        &self,
        ask: &Ask,
        at: u64,
        error: Option<String>,
        failure: Option<Failure>,
        out: &mut Events,
    ) {
        let answered = match failure {
            Some(_) => ask.answered,
            None => Some(ask.answered.unwrap_or(at)),
        };
        out.events.push(Event::Ended(Ended {
            exchange: ask.exchange,
            answered,
            at,
            call: Call::Db(Db {
                system: Protocol::Redis,
                asked: ask.command.asked(ask.arguments as usize),
                namespace: self.namespace.clone(),
                error,
                rows: None,
                failure,
            }),
        }));
    }
}

impl Parser for Redis {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        let turn = self.last == Side::Answers;
        if turn && self.answers.lost() {
            self.settle(out);
            self.answers.find();
        }
        if self.asks.lost() && self.queue.is_empty() {
            let unknown = self.last == Side::Unknown && begins(chunk, Protocol::Redis);
            if turn || unknown {
                self.asks.find();
                self.building = Building::default();
                self.untold = 0;
            }
            if unknown {
                self.answers.find();
            }
        }
        self.last = Side::Asks;

        let mut frames = std::mem::take(&mut self.asks);
        let mut rest = Rest::of(chunk);
        loop {
            let inside = self.building.left > 0;
            let head = |data: &[u8]| resp::command(data, inside);
            let Some(frame) = frames.next(&mut rest, &mut out.failed, head) else {
                break;
            };
            self.ask(frame, at, out);
        }
        self.asks = frames;
        if self.asks.lost() && self.building.left > 0 {
            self.built(out);
        }
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        self.last = Side::Answers;
        self.answered_at = chunk.ended;
        let mut frames = std::mem::take(&mut self.answers);
        let mut rest = Rest::of(chunk);
        while let Some(frame) = frames.next(&mut rest, &mut out.failed, resp::reply) {
            self.answer(frame, out);
        }
        self.answers = frames;
        if self.ending && self.answers.between() {
            self.answer_ended(out);
        }
        if self.answers.lost()
            && let Some(first) = self.queue.front_mut()
        {
            first.answered.get_or_insert(chunk.ended);
        }
    }

    fn missed(&mut self, out: &mut Events) {
        let building = self.building.exchange.is_some();
        out.abandoned += self.queue.len() as u64 + u64::from(building);
        self.queue.clear();
        self.building = Building::default();
        self.untold = 0;
        self.pending = 0;
        self.ending = false;
        self.error = None;
        self.asks.lose();
        self.answers.lose();
        self.last = Side::Unknown;
    }

    fn skipped(&mut self, blind: bool, out: &mut Events) {
        if self.answers.lost() {
            self.settle(out);
        }
        self.missed(out);
        self.asks.find();
        self.answers.find();
        self.last = Side::Answers;
        if blind {
            self.namespace = None;
        }
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        if self.building.left > 0 {
            self.built(out);
        }
        if self.answers.lost() && self.last == Side::Answers {
            self.settle(out);
        }
        while let Some(ask) = self.queue.pop_front() {
            self.end(&ask, at, None, Some(Failure::Closed), out);
        }
    }
}
