//! PostgreSQL's frontend/backend protocol, version 3 (documentation, chapter
//! "Frontend/Backend Protocol", 55 in PostgreSQL 16 and later).
//!
//! An exchange is a simple query, an Execute with what prepared it, or, where a
//! Sync or a Flush comes without any Execute, what came before it. Answers come in the
//! order of the questions; a ReadyForQuery ends all up to a Sync.

mod answers;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use observer_common::requests::Protocol;

use super::frames::{Frames, Rest};
use super::protocol::{Chunk, Event, Events, Exchange, MAX_OPEN, Parser};
use super::sql::{self, Dialect, Prepared, Statement};
use super::turn::{Side, begins};
use messages::{Names, Startup, backend, frontend, key, startup, string};

/// What a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A simple query: ends with ReadyForQuery.
    Simple,
    /// An Execute: ends with its completion, or if it is the last one before a
    /// Sync with ReadyForQuery.
    Execute,
    /// A Sync: ends with ReadyForQuery.
    Sync,
    /// A Flush behind what prepares something: ends before the next question.
    Flush,
}

/// A question whose answer isn't over.
#[derive(Debug)]
struct Ask {
    kind: Kind,
    /// `None` for a Sync behind an Execute.
    exchange: Option<Exchange>,
    statement: Option<Arc<Statement>>,
    /// What it does, if it isn't what its statement does.
    instead: &'static str,
    answered: Option<u64>,
    rows: Option<u64>,
    error: Option<[u8; 5]>,
    done: bool,
    /// An Execute that wasn't seen: there may be none.
    guessed: bool,
}

/// Messages that belong to an Execute (or Sync) which isn't there yet.
#[derive(Debug)]
struct Group {
    exchange: Exchange,
    statement: Option<Arc<Statement>>,
    /// Whether something was prepared (and not only closed).
    prepares: bool,
}

/// One connection.
#[derive(Default)]
pub struct Postgres {
    asks: Frames,
    answers: Frames,
    last: Side,
    /// When the last piece of an answer was there.
    answered_at: u64,
    /// Whether a message without type may come (StartupMessage and its kin).
    started: bool,
    /// Whether the next ReadyForQuery ends the start.
    starting: bool,
    /// Answers of one byte that are due, to SSLRequest and GSSENCRequest.
    bytes: u32,
    queue: VecDeque<Ask>,
    group: Option<Group>,
    next: Exchange,
    namespace: Option<Arc<str>>,
    prepared: Prepared,
    /// The statement without a name, and what its portal was made of.
    unnamed: Option<Arc<Statement>>,
    portal: Option<Arc<Statement>>,
    /// Portals with names.
    portals: Prepared,
}

impl Postgres {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    fn begin(&mut self, at: u64, out: &mut Events) -> Exchange {
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        out.events.push(Event::Begun { exchange, at });
        exchange
    }

    fn group(&mut self, at: u64, out: &mut Events) -> &mut Group {
        if self.group.is_none() {
            let exchange = self.begin(at, out);
            self.group = Some(Group {
                exchange,
                statement: None,
                prepares: false,
            });
        }
        self.group.as_mut().expect("just made")
    }

    fn push(&mut self, kind: Kind, exchange: Option<Exchange>, statement: Option<Arc<Statement>>) {
        self.queue.push_back(Ask {
            kind,
            exchange,
            statement,
            instead: "",
            answered: None,
            rows: None,
            error: None,
            done: false,
            guessed: false,
        });
    }

    fn statement(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        if name.is_empty() {
            self.unnamed.clone()
        } else {
            self.prepared.get(key(name)).cloned()
        }
    }

    /// One message of the client's: its type and what follows its length.
    fn ask(&mut self, kind: u8, body: &[u8], at: u64, out: &mut Events) {
        match kind {
            b'Q' => {
                let exchange = self.begin(at, out);
                let text = string(body).unwrap_or(body);
                let statement = sql::cached(text, Dialect::Postgres);
                self.push(Kind::Simple, Some(exchange), Some(statement));
            }
            b'F' => {
                let exchange = self.begin(at, out);
                self.push(Kind::Simple, Some(exchange), None);
            }
            b'P' => {
                let mut names = Names(body);
                let found = names.next().map(|name| {
                    let text = string(names.0).unwrap_or(names.0);
                    (name, sql::cached(text, Dialect::Postgres))
                });
                let group = self.group(at, out);
                group.prepares = true;
                let Some((name, statement)) = found else {
                    return;
                };
                group.statement = Some(statement.clone());
                if name.is_empty() {
                    self.unnamed = Some(statement);
                } else {
                    self.prepared.insert(key(name), statement);
                }
            }
            b'B' => {
                let mut names = Names(body);
                let portal = names.next();
                let statement = names.next().and_then(|name| self.statement(name));
                let group = self.group(at, out);
                group.prepares = true;
                group.statement.clone_from(&statement);
                match (portal, statement) {
                    (Some([]), statement) => self.portal = statement,
                    (Some(name), Some(statement)) => self.portals.insert(key(name), statement),
                    (Some(name), None) => self.portals.remove(key(name)),
                    (None, _) => {}
                }
            }
            b'D' => {
                let of_statement = body.first() == Some(&b'S');
                let name = body.get(1..).and_then(|body| Names(body).next());
                let statement = match name {
                    Some(name) if of_statement => self.statement(name),
                    _ => None,
                };
                let group = self.group(at, out);
                group.prepares = true;
                if statement.is_some() {
                    group.statement = statement;
                }
            }
            b'C' => {
                self.group(at, out);
                if let (Some(b'S'), Some(name)) = (body.first(), body.get(1..).and_then(string)) {
                    self.prepared.remove(key(name));
                }
            }
            b'E' => {
                let statement = match Names(body).next() {
                    Some([]) => self.portal.clone(),
                    Some(name) => self.portals.get(key(name)).cloned(),
                    None => None,
                };
                let exchange = self.group(at, out).exchange;
                self.group = None;
                self.push(Kind::Execute, Some(exchange), statement);
            }
            b'S' | b'H' => {
                let sync = kind == b'S';
                let kind = if sync { Kind::Sync } else { Kind::Flush };
                let Some(group) = self.group.take() else {
                    if sync {
                        self.push(kind, None, None);
                    }
                    return;
                };
                self.push(kind, Some(group.exchange), group.statement);
                if let Some(ask) = self.queue.back_mut() {
                    ask.instead = if group.prepares {
                        "PREPARE"
                    } else {
                        "DEALLOCATE"
                    };
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, message: &[u8], out: &mut Events) {
        match startup(message) {
            Startup::Encryption => self.bytes += 1,
            Startup::Session(session) => {
                self.started = true;
                self.starting = true;
                self.namespace = session.database.map(Arc::from);
                out.finished |= session.replication;
            }
            Startup::Cancel => out.finished = true,
            Startup::Wrong => {
                out.failed += 1;
                self.asks.lose();
            }
        }
    }
}

impl Parser for Postgres {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        let turn = self.last == Side::Answers;
        if turn && self.answers.lost() {
            self.settle(out);
            self.answers.find();
            self.starting = false;
        }
        if turn {
            self.settle_flushed(out);
        }
        let known = self.last != Side::Unknown || begins(chunk, Protocol::Postgres);
        if self.asks.lost()
            && self.queue.is_empty()
            && known
            && (turn || self.last == Side::Unknown)
        {
            self.asks.find();
            if self.last == Side::Unknown {
                self.answers.find();
            }
        }
        self.last = Side::Asks;

        let mut frames = std::mem::take(&mut self.asks);
        let mut rest = Rest::of(chunk);
        loop {
            let started = self.started;
            let head = |data: &[u8]| frontend(data, started);
            let Some(frame) = frames.next(&mut rest, &mut out.failed, head) else {
                break;
            };
            if !started && frame.data.first() == Some(&0) {
                self.start(frame.data, out);
            } else if let Some((kind, body)) = frame.data.split_first() {
                self.started = true;
                self.ask(*kind, body.get(4..).unwrap_or(&[]), at, out);
            }
            if self.queue.len() >= MAX_OPEN {
                out.abandoned += 1;
                frames.lose();
            }
        }
        if self.asks.lost() {
            frames.lose();
        }
        self.asks = frames;
        if self.asks.lost()
            && let Some(group) = self.group.take()
        {
            // Its Execute and its Sync are out of sight.
            self.push(Kind::Execute, Some(group.exchange), group.statement);
            if let Some(ask) = self.queue.back_mut() {
                ask.guessed = true;
            }
            self.push(Kind::Sync, None, None);
        }
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        self.last = Side::Answers;
        self.answered_at = chunk.ended;
        let mut frames = std::mem::take(&mut self.answers);
        let mut rest = Rest::of(chunk);
        loop {
            let byte = self.bytes > 0;
            let head = |data: &[u8]| backend(data, byte);
            let Some(frame) = frames.next(&mut rest, &mut out.failed, head) else {
                break;
            };
            match frame.data.split_first() {
                // TLS or GSSAPI from here on.
                Some((b'S' | b'G', _)) if byte => out.finished = true,
                Some(_) if byte => self.bytes -= 1,
                Some((kind, body)) => self.answer(*kind, body.get(4..).unwrap_or(&[]), out),
                None => {}
            }
        }
        self.answers = frames;
        if self.answers.lost()
            && let Some(first) = self.queue.front_mut()
        {
            first.answered.get_or_insert(chunk.ended);
        }
    }

    fn missed(&mut self, out: &mut Events) {
        let open = self.queue.iter().filter(|ask| ask.exchange.is_some());
        out.abandoned += (open.count() + usize::from(self.group.is_some())) as u64;
        self.queue.clear();
        self.group = None;
        self.bytes = 0;
        self.starting = false;
        self.asks.lose();
        self.answers.lose();
        self.last = Side::Unknown;
    }

    fn skipped(&mut self, blind: bool, out: &mut Events) {
        if self.answers.lost() {
            self.settle(out);
        }
        self.settle_flushed(out);
        self.missed(out);
        self.asks.find();
        self.answers.find();
        self.last = Side::Answers;
        self.started = true;
        self.unnamed = None;
        self.portal = None;
        if blind {
            self.prepared.clear();
            self.portals.clear();
        }
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        self.close(at, out);
    }
}
