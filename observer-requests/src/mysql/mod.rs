//! MySQL's client/server protocol, as MySQL and MariaDB speak it (MySQL's source
//! documentation, "Client/Server Protocol").
//!
//! Packets tell their length and their number in a command, so that the answer
//! to a command begins with packet 1. What comes in between depends on the
//! command.

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
use messages::{Greeting, Login, answer, capability, command, request};

/// A command whose answer isn't over.
#[derive(Debug)]
struct Ask {
    exchange: Exchange,
    command: u8,
    statement: Option<Arc<Statement>>,
    /// The database that it changes to.
    database: Option<Arc<str>>,
    answered: Option<u64>,
    rows: Option<u64>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing was seen.
    #[default]
    Start,
    /// The server has greeted.
    Login,
    /// The client has said who it is.
    Authentication,
    /// Commands.
    Ready,
}

/// How far the answer to a command is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Its first packet comes, or another one like that.
    #[default]
    First,
    /// So many columns are described yet.
    Columns(u64),
    /// The end of the columns, or a row.
    AfterColumns,
    /// Rows.
    Rows,
    /// So many parameters and columns of a prepared statement.
    Definitions(u32, u32),
}

/// One connection.
#[derive(Default)]
pub struct MySql {
    asks: Frames,
    answers: Frames,
    last: Side,
    answered_at: u64,
    phase: Phase,
    stage: Stage,
    /// Whether the packet goes on with one that has been.
    continued: bool,
    queue: VecDeque<Ask>,
    next: Exchange,
    namespace: Option<Arc<str>>,
    prepared: Prepared,
    /// What was prepared last.
    preparing: Option<Arc<Statement>>,
    /// What the server can do, and what both agreed on; if known.
    offered: Option<u32>,
    agreed: Option<u32>,
    /// Whether `NO_BACKSLASH_ESCAPES` is on.
    plain: bool,
}

impl MySql {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    fn dialect(&self) -> Dialect {
        if self.plain {
            Dialect::MySqlPlain
        } else {
            Dialect::MySql
        }
    }

    /// One packet of the client's: its number and what follows it.
    fn ask(&mut self, number: u8, payload: &[u8], length: u64, at: u64, out: &mut Events) {
        match self.phase {
            Phase::Start | Phase::Login if number > 0 => return self.login(payload, length, out),
            Phase::Authentication => return,
            _ => {}
        }
        self.phase = Phase::Ready;
        // A file's contents, or the rest of a long packet.
        if number > 0 {
            return;
        }
        let Some((&kind, body)) = payload.split_first() else {
            return;
        };
        let mut statement = None;
        let mut database = None;
        match kind {
            command::QUERY => {
                let text = self.text(body);
                statement = Some(sql::cached(text, self.dialect()));
                database = messages::use_target(text);
            }
            command::STMT_PREPARE => {
                statement = Some(sql::cached(body, self.dialect()));
                self.preparing.clone_from(&statement);
            }
            command::STMT_EXECUTE
            | command::STMT_BULK_EXECUTE
            | command::STMT_FETCH
            | command::STMT_RESET => {
                statement = match messages::little32(body) {
                    // MariaDB: the one that was prepared last.
                    Some(u32::MAX) => self.preparing.clone(),
                    Some(id) => self.prepared.get(id.into()).cloned(),
                    None => None,
                };
            }
            command::STMT_CLOSE => {
                if let Some(id) = messages::little32(body) {
                    self.prepared.remove(id.into());
                }
                return;
            }
            command::QUIT | command::STMT_SEND_LONG_DATA => return,
            command::INIT_DB => database = std::str::from_utf8(body).ok(),
            command::CHANGE_USER => {
                self.prepared.clear();
                database = messages::change_user(body);
            }
            command::RESET_CONNECTION => self.prepared.clear(),
            // A replica's stream, and others.
            command::BINLOG_DUMP
            | command::BINLOG_DUMP_GTID
            | command::TABLE_DUMP
            | command::REGISTER_SLAVE
            | command::CLONE => {
                out.finished = true;
                return;
            }
            _ => {}
        }
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        out.events.push(Event::Begun { exchange, at });
        self.queue.push_back(Ask {
            exchange,
            command: kind,
            statement,
            database: database.filter(|name| !name.is_empty()).map(Arc::from),
            answered: None,
            rows: None,
        });
    }

    /// The statement of a COM_QUERY, behind its attributes.
    fn text<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        let attributes = match self.agreed {
            Some(agreed) => agreed & capability::QUERY_ATTRIBUTES != 0,
            // No statement begins with one of these.
            None => body.first().is_some_and(|first| *first < 9) && body.get(1) == Some(&1),
        };
        if attributes {
            messages::behind_attributes(body).unwrap_or(&[])
        } else {
            body
        }
    }

    fn login(&mut self, payload: &[u8], length: u64, out: &mut Events) {
        match Login::read(payload, length) {
            Some(Login::Plain {
                capabilities,
                database,
            }) => {
                let agreed = capabilities & self.offered.unwrap_or(u32::MAX);
                self.agreed = Some(agreed);
                self.namespace = database.map(Arc::from);
                self.phase = Phase::Authentication;
                out.finished |= agreed & (capability::COMPRESS | capability::ZSTD) != 0;
            }
            Some(Login::Tls) => out.finished = true,
            None => {
                out.failed += 1;
                self.asks.lose();
            }
        }
    }

    fn greeting(&mut self, payload: &[u8]) {
        if let Some(Greeting { capabilities }) = Greeting::read(payload) {
            self.offered = Some(capabilities);
            self.phase = Phase::Login;
        }
    }
}

impl Parser for MySql {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        let turn = self.last == Side::Answers;
        if turn && self.answers.lost() {
            self.settle(out);
            self.answers.find();
        }
        let unknown = self.last == Side::Unknown && begins(chunk, Protocol::MySql);
        if self.asks.lost() && self.queue.is_empty() && (turn || unknown) {
            self.asks.find();
            if unknown {
                self.answers.find();
            }
        }
        self.last = Side::Asks;

        let mut frames = std::mem::take(&mut self.asks);
        let mut rest = Rest::of(chunk);
        loop {
            let commands = self.phase == Phase::Ready && self.queue.is_empty();
            let head = |data: &[u8]| request(data, commands);
            let Some(frame) = frames.next(&mut rest, &mut out.failed, head) else {
                break;
            };
            if let [_, _, _, number, payload @ ..] = frame.data {
                self.ask(*number, payload, frame.length - 4, at, out);
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
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        self.last = Side::Answers;
        self.answered_at = chunk.ended;
        let mut frames = std::mem::take(&mut self.answers);
        let mut rest = Rest::of(chunk);
        while let Some(frame) = frames.next(&mut rest, &mut out.failed, answer) {
            if let [_, _, _, number, payload @ ..] = frame.data
                && !self.answer(*number, payload, frame.length - 4, out)
            {
                out.failed += 1;
                frames.lose();
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
        out.abandoned += self.queue.len() as u64;
        self.queue.clear();
        self.stage = Stage::First;
        self.continued = false;
        self.phase = Phase::Ready;
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
            self.prepared.clear();
            self.preparing = None;
        }
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        self.close(at, out);
    }
}
