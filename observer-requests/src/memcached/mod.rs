//! Memcached: text and meta commands, and the binary protocol.
//!
//! Answers come in the order of the questions, but some questions are quiet:
//! they are answered only if there is something to say, or never (`noreply`).
//! A quiet one is over with the next answer to a later question; one that is
//! never answered when it is sent.

mod binary;
mod commands;
#[cfg(test)]
mod tests;
mod text;

use observer_common::requests::Protocol;

use super::call::{Cache, CacheResult, Db};
use super::frames::{Frame, Head};
use super::ordered::{self, Open, Ordered, OrderedProtocol};
use super::protocol::Events;
use commands::{Command, Kind};

/// One connection.
pub type Memcached = Ordered<MemcachedProtocol>;

type Flow = ordered::Flow<Question>;

/// When a question isn't answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    /// There is no such case.
    Never,
    /// If there is only the usual to say.
    Mostly,
    /// In any case, but for errors.
    Always,
}

/// A command whose answer isn't over.
#[derive(Debug)]
pub struct Question {
    command: Command,
    /// Of a binary one.
    opcode: Option<u8>,
    /// Words behind the command's name.
    arguments: u32,
    quiet: Quiet,
    /// What its answer repeats, or a hash of that.
    opaque: Option<u64>,
    /// Hash of the key, if its answer repeats that.
    key: Option<u64>,
    /// Keys that it asks for.
    keys: u32,
    /// Values that came.
    hits: u32,
    result: Option<CacheResult>,
    /// An answer came that may have been for this one or for another.
    unsure: bool,
}

impl Question {
    fn new(command: Command) -> Self {
        Self {
            command,
            opcode: None,
            arguments: 0,
            quiet: Quiet::Never,
            opaque: None,
            key: None,
            keys: 0,
            hits: 0,
            result: None,
            unsure: false,
        }
    }

    /// What an answer's first word says of its key.
    fn answered_by(&mut self, word: &[u8]) {
        self.result = match (self.command.kind(), word) {
            (Kind::Get(_), b"END") => self.of_many(),
            (Kind::Get(_), b"HD") => Some(CacheResult::Hit),
            (Kind::Store(_), b"STORED" | b"HD") => Some(CacheResult::Stored),
            (Kind::Change, b"HD" | b"VA" | b"ME" | b"DELETED" | b"TOUCHED") => {
                Some(CacheResult::Hit)
            }
            (Kind::Change, [b'0'..=b'9', ..]) => Some(CacheResult::Hit),
            (_, b"NOT_FOUND" | b"NF" | b"EN") => Some(CacheResult::Miss),
            (_, b"NOT_STORED" | b"NS") => Some(CacheResult::NotStored),
            (_, b"EXISTS" | b"EX") => Some(CacheResult::Exists),
            _ => None,
        };
    }

    fn of_many(&self) -> Option<CacheResult> {
        match (self.keys, self.hits) {
            (0, _) => None,
            (_, 0) => Some(CacheResult::Miss),
            (keys, hits) if hits < keys => Some(CacheResult::Partial),
            _ => Some(CacheResult::Hit),
        }
    }

    /// What it means that there was no answer.
    fn unanswered(&mut self) {
        self.result = match (self.quiet, self.command.kind(), self.command.name()) {
            (Quiet::Mostly, Kind::Get(_), _) | (Quiet::Mostly, _, "mg") => Some(CacheResult::Miss),
            (Quiet::Mostly, Kind::Store(_), _) => Some(CacheResult::Stored),
            // Of a meta command's key that isn't there nothing is said, either.
            (Quiet::Mostly, Kind::Change, _) if self.opcode.is_some() => Some(CacheResult::Hit),
            _ => None,
        };
    }

    fn cache(&self) -> Option<Cache> {
        let result = self.result.filter(|_| !self.unsure)?;
        let many = matches!(self.command.kind(), Kind::Get(_)) && self.opcode.is_none();
        let (hits, misses) = match result {
            CacheResult::Hit | CacheResult::Miss | CacheResult::Partial if many => {
                (self.hits, self.keys.saturating_sub(self.hits))
            }
            CacheResult::Hit => (1, 0),
            CacheResult::Miss => (0, 1),
            _ => (0, 0),
        };
        Some(Cache {
            result,
            hits,
            misses,
        })
    }
}

/// What is known of a connection.
#[derive(Default)]
pub struct MemcachedProtocol {
    /// The last message of the first question's answer has begun.
    ending: bool,
}

impl MemcachedProtocol {
    /// Ends what is never answered, as far as it is due.
    fn pass(&self, flow: &mut Flow, at: u64, out: &mut Events) {
        while let Some(open) = flow.queue.pop_front_if(|open| open.quiet == Quiet::Always) {
            self.end(open, at, None, out);
        }
    }

    /// Ends what wasn't answered before the question at `place` was.
    fn reach(&self, flow: &mut Flow, place: usize, out: &mut Events) {
        for _ in 0..place {
            if let Some(mut open) = flow.queue.pop_front() {
                open.unanswered();
                self.end(open, flow.answered_at, None, out);
            }
        }
    }

    /// The first question's answer is over.
    fn over(&mut self, flow: &mut Flow, out: &mut Events) {
        self.ending = false;
        if let Some(open) = flow.queue.pop_front() {
            self.end(open, flow.answered_at, None, out);
        }
        let at = flow.answered_at;
        self.pass(flow, at, out);
    }

    /// A line of an answer, for the question at the queue's front; whether it is
    /// the last one.
    fn text(&self, flow: &mut Flow, message: &[u8], out: &mut Events) -> Option<bool> {
        let answer = text::Answer::read(text::line(message));
        let place = answer.place(flow.queue.iter().map(|open| &open.question))?;
        self.reach(flow, place, out);
        let unsure = answer.doubt(flow.queue.iter_mut().map(|open| &mut open.question));
        let first = flow.queue.front_mut()?;
        first.unsure |= unsure;
        if answer.word == b"VALUE" {
            first.hits = first.hits.saturating_add(1);
        }
        if answer.goes_on() {
            return Some(false);
        }
        first.error = answer.error().map(str::to_owned);
        first.answered_by(answer.word);
        Some(true)
    }

    fn binary(&self, flow: &mut Flow, message: &[u8], out: &mut Events) -> Option<bool> {
        let header = binary::Header::read(message)?;
        let place = header.place(flow.queue.iter().map(|open| &open.question))?;
        self.reach(flow, place, out);
        let first = flow.queue.front_mut()?;
        if header.goes_on() {
            return Some(false);
        }
        first.error = header.error(first.command.kind());
        first.answered_by(header.word());
        Some(true)
    }
}

impl OrderedProtocol for MemcachedProtocol {
    const PROTOCOL: Protocol = Protocol::Memcached;

    type Question = Question;

    fn question_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        if data.first() == Some(&binary::REQUEST) {
            binary::head(data, binary::REQUEST)
        } else {
            text::question(data)
        }
    }

    fn question(&mut self, flow: &mut Flow, frame: Frame<'_>, at: u64, out: &mut Events) {
        let question = if frame.data.first() == Some(&binary::REQUEST) {
            binary::Header::read(frame.data)
                .as_ref()
                .and_then(Question::binary)
        } else {
            Some(Question::text(text::line(frame.data)))
        };
        let Some(question) = question else {
            return;
        };
        match question.command.kind() {
            Kind::Quits => return,
            Kind::Streams => {
                out.finished = true;
                out.left = true;
                return;
            }
            _ => {}
        }
        let exchange = flow.begin(at, out);
        flow.push(Some(exchange), question);
        self.pass(flow, at, out);
    }

    fn answer_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        if data.first() == Some(&binary::ANSWER) {
            binary::head(data, binary::ANSWER)
        } else {
            text::answer(data)
        }
    }

    fn answer(&mut self, flow: &mut Flow, frame: Frame<'_>, out: &mut Events) -> bool {
        if self.ending {
            self.over(flow, out);
        }
        let last = if frame.data.first() == Some(&binary::ANSWER) {
            self.binary(flow, frame.data, out)
        } else {
            self.text(flow, frame.data, out)
        };
        // Otherwise nobody waits for it.
        if let (Some(last), Some(first)) = (last, flow.queue.front_mut()) {
            first.answered.get_or_insert(flow.answered_at);
            self.ending = last;
        }
        if self.ending && frame.data.len() as u64 >= frame.length {
            self.over(flow, out);
        }
        true
    }

    fn call(&self, open: Open<Question>) -> Db {
        Db {
            asked: open.command.asked(open.arguments, open.keys),
            cache: open.cache(),
            error: open.error,
            ..Db::new(Protocol::Memcached)
        }
    }

    /// What was asked when sight of the questions was lost is over, if it wasn't
    /// answered: the next question shows it.
    fn turned(&mut self, flow: &mut Flow, out: &mut Events) {
        if flow.asks.lost() {
            self.settle(flow, out);
        }
    }

    fn paused(&mut self, flow: &mut Flow, out: &mut Events) {
        if self.ending && flow.answers.between() {
            self.over(flow, out);
        }
    }

    fn settle(&mut self, flow: &mut Flow, out: &mut Events) {
        self.ending = false;
        while let Some(mut open) = flow.queue.pop_front() {
            // Of several keys some values may not have been seen.
            if open.result.is_none() && open.hits > 0 && open.hits >= open.keys {
                open.result = Some(CacheResult::Hit);
            }
            open.unseen = open.answered.is_none();
            self.end(open, flow.answered_at, None, out);
        }
    }

    fn reset(&mut self) -> u64 {
        self.ending = false;
        0
    }

    /// A quiet question isn't waited for.
    fn over_at_close(open: &Open<Question>, _flow: &Flow, at: u64) -> Option<u64> {
        (open.quiet != Quiet::Never).then_some(at)
    }
}
