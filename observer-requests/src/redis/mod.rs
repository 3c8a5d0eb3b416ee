//! Redis: commands and replies, in order.

mod commands;
mod resp;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use observer_common::requests::Protocol;

use super::call::Db;
use super::frames::{Frame, Head};
use super::ordered::{self, Open, Ordered, OrderedProtocol};
use super::protocol::{Events, Exchange};
use commands::{Command, Kind};

/// One connection.
pub type Redis = Ordered<RedisProtocol>;

type Flow = ordered::Flow<Question>;

/// A command whose reply isn't there.
#[derive(Debug)]
pub struct Question {
    command: Command,
    /// Arguments behind the name.
    arguments: u32,
    /// The database that it selects.
    select: Option<u32>,
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

/// What is known of a connection.
#[derive(Default)]
pub struct RedisProtocol {
    building: Building,
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

impl RedisProtocol {
    /// One element of the client's.
    fn element(&mut self, flow: &mut Flow, frame: Frame<'_>, at: u64, out: &mut Events) {
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
                self.inline(flow, element, at, out);
            }
            return;
        }
        let content = resp::content(element, frame.length);
        // A name that is cut isn't one.
        let whole = element.len() as u64 + 2 >= frame.length;
        self.argument(flow, if whole { content } else { &[] }, out);
    }

    fn inline(&mut self, flow: &mut Flow, line: &[u8], at: u64, out: &mut Events) {
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
            self.argument(flow, word, out);
        }
    }

    fn argument(&mut self, flow: &mut Flow, content: &[u8], out: &mut Events) {
        let now = &mut self.building;
        let index = now.elements - now.left;
        now.left -= 1;
        match (index, now.kind) {
            (0, _) => {
                now.command = Command::find(content);
                now.kind = now.command.kind();
                if now.kind != Kind::Subscribes {
                    self.begin(flow, out);
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
            self.built(flow, out);
        }
    }

    fn begin(&mut self, flow: &mut Flow, out: &mut Events) {
        self.building.exchange = flow.begin_or_count(self.building.at, out);
    }

    /// A command is whole, or the rest of it is out of sight.
    fn built(&mut self, flow: &mut Flow, out: &mut Events) {
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
        let question = Question {
            command: now.command,
            arguments: now.elements.saturating_sub(name),
            select: now.select,
        };
        flow.push(Some(exchange), question);
    }

    /// The last byte of a reply was there.
    fn answer_ended(&mut self, flow: &mut Flow, out: &mut Events) {
        self.ending = false;
        if self.reply == Reply::Other {
            return;
        }
        let Some(mut open) = flow.queue.pop_front() else {
            flow.untold = flow.untold.saturating_sub(1);
            return;
        };
        if let Some(number) = open.select
            && self.ok
        {
            self.namespace = Some(number.to_string().into());
        }
        open.error = self.error.take();
        self.end(open, flow.answered_at, None, out);
    }
}

impl OrderedProtocol for RedisProtocol {
    const PROTOCOL: Protocol = Protocol::Redis;
    const OUTLIVES_FULL_QUEUE: bool = true;

    type Question = Question;

    fn question_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        resp::command(data, self.building.left > 0)
    }

    fn question(&mut self, flow: &mut Flow, frame: Frame<'_>, at: u64, out: &mut Events) {
        self.element(flow, frame, at, out);
    }

    fn answer_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        resp::reply(data)
    }

    /// One element of the server's.
    fn answer(&mut self, flow: &mut Flow, frame: Frame<'_>, out: &mut Events) -> bool {
        let element = frame.data;
        if self.ending {
            self.answer_ended(flow, out);
        }
        if self.pending == 0 {
            self.pending = 1;
            self.reply = match element.first() {
                Some(b'>' | b'|') => Reply::Other,
                _ => Reply::Answer,
            };
            if self.reply == Reply::Answer
                && let Some(first) = flow.queue.front_mut()
            {
                first.answered.get_or_insert(flow.answered_at);
                self.ok = element == b"+OK\r\n";
                let failed = matches!(element.first(), Some(b'-' | b'!'));
                self.error = failed.then(|| resp::error(element));
            }
        }
        self.pending = self.pending - 1 + resp::children(element).min(u64::MAX / 4);
        self.ending = self.pending == 0;
        if self.ending && element.len() as u64 >= frame.length {
            self.answer_ended(flow, out);
        }
        true
    }

    fn call(&self, open: Open<Question>) -> Db {
        Db {
            asked: open.command.asked(open.arguments as usize),
            namespace: self.namespace.clone(),
            error: open.error,
            ..Db::new(Protocol::Redis)
        }
    }

    fn found(&mut self) {
        self.building = Building::default();
    }

    fn lost(&mut self, flow: &mut Flow, out: &mut Events) {
        if self.building.left > 0 {
            self.built(flow, out);
        }
    }

    fn paused(&mut self, flow: &mut Flow, out: &mut Events) {
        if self.ending && flow.answers.between() {
            self.answer_ended(flow, out);
        }
    }

    fn settle(&mut self, flow: &mut Flow, out: &mut Events) {
        if let Some(first) = flow.queue.front_mut() {
            first.error = self.error.take();
        }
        while let Some(mut open) = flow.queue.pop_front() {
            open.unseen = open.answered.is_none();
            self.end(open, flow.answered_at, None, out);
        }
        flow.untold = 0;
        self.error = None;
        self.pending = 0;
        self.ending = false;
    }

    fn reset(&mut self) -> u64 {
        let building = std::mem::take(&mut self.building);
        self.pending = 0;
        self.ending = false;
        self.error = None;
        u64::from(building.exchange.is_some())
    }

    fn skipped(&mut self, blind: bool) {
        if blind {
            self.namespace = None;
        }
    }

    fn closing(&mut self, flow: &mut Flow, out: &mut Events) {
        self.lost(flow, out);
    }
}
