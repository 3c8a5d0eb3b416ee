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

use std::sync::Arc;

use observer_common::requests::Protocol;

use super::call::{Db, Failure};
use super::frames::{Frame, Head};
use super::ordered::{self, Open, Ordered, OrderedProtocol};
use super::protocol::{Events, Exchange};
use super::sql::{self, Dialect, Prepared, Statement};
use messages::{Names, Startup, backend, frontend, key, startup, string};

/// One connection.
pub type Postgres = Ordered<PostgresProtocol>;

type Flow = ordered::Flow<Question>;

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
pub struct Question {
    kind: Kind,
    statement: Option<Arc<Statement>>,
    /// What it does, if it isn't what its statement does.
    instead: &'static str,
    rows: Option<u64>,
    /// The SQLSTATE of an error.
    state: Option<[u8; 5]>,
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

/// What is known of a connection.
#[derive(Default)]
pub struct PostgresProtocol {
    /// Whether a message without type may come (StartupMessage and its kin).
    started: bool,
    /// Whether the next ReadyForQuery ends the start.
    starting: bool,
    /// Answers of one byte that are due, to SSLRequest and GSSENCRequest.
    bytes: u32,
    group: Option<Group>,
    /// What ended a result in a chunk of which only the last bytes were seen, and no
    /// ReadyForQuery was yet: type and body.
    result: Option<(u8, Box<[u8]>)>,
    namespace: Option<Arc<str>>,
    prepared: Prepared,
    /// The statement without a name, and what its portal was made of.
    unnamed: Option<Arc<Statement>>,
    portal: Option<Arc<Statement>>,
    /// Portals with names.
    portals: Prepared,
}

/// A Sync behind an Execute has no exchange.
fn push(
    flow: &mut Flow,
    kind: Kind,
    exchange: Option<Exchange>,
    statement: Option<Arc<Statement>>,
) {
    let question = Question {
        kind,
        statement,
        instead: "",
        rows: None,
        state: None,
        done: false,
        guessed: false,
    };
    flow.push(exchange, question);
}

impl PostgresProtocol {
    fn group(&mut self, flow: &mut Flow, at: u64, out: &mut Events) -> &mut Group {
        self.group.get_or_insert_with(|| Group {
            exchange: flow.begin(at, out),
            statement: None,
            prepares: false,
        })
    }

    fn statement(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        if name.is_empty() {
            self.unnamed.clone()
        } else {
            self.prepared.get(key(name)).cloned()
        }
    }

    /// One message of the client's: its type and what follows its length.
    fn ask(&mut self, flow: &mut Flow, kind: u8, body: &[u8], at: u64, out: &mut Events) {
        match kind {
            b'Q' => {
                let exchange = flow.begin(at, out);
                let text = string(body).unwrap_or(body);
                let statement = sql::cached(text, Dialect::Postgres);
                push(flow, Kind::Simple, Some(exchange), Some(statement));
            }
            b'F' => {
                let exchange = flow.begin(at, out);
                push(flow, Kind::Simple, Some(exchange), None);
            }
            b'P' => self.parse(flow, body, at, out),
            b'B' => self.bind(flow, body, at, out),
            b'D' => self.describe(flow, body, at, out),
            b'C' => {
                self.group(flow, at, out);
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
                let exchange = self.group(flow, at, out).exchange;
                self.group = None;
                push(flow, Kind::Execute, Some(exchange), statement);
            }
            b'S' | b'H' => self.sync(flow, kind == b'S'),
            _ => {}
        }
    }

    /// Parse: a statement gets a name.
    fn parse(&mut self, flow: &mut Flow, body: &[u8], at: u64, out: &mut Events) {
        let mut names = Names(body);
        let found = names.next().map(|name| {
            let text = string(names.0).unwrap_or(names.0);
            (name, sql::cached(text, Dialect::Postgres))
        });
        let group = self.group(flow, at, out);
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

    /// Bind: a portal is made of a statement.
    fn bind(&mut self, flow: &mut Flow, body: &[u8], at: u64, out: &mut Events) {
        let mut names = Names(body);
        let portal = names.next();
        let statement = names.next().and_then(|name| self.statement(name));
        let group = self.group(flow, at, out);
        group.prepares = true;
        group.statement.clone_from(&statement);
        match (portal, statement) {
            (Some([]), statement) => self.portal = statement,
            (Some(name), Some(statement)) => self.portals.insert(key(name), statement),
            (Some(name), None) => self.portals.remove(key(name)),
            (None, _) => {}
        }
    }

    /// Describe: a statement or a portal is asked after.
    fn describe(&mut self, flow: &mut Flow, body: &[u8], at: u64, out: &mut Events) {
        let of_statement = body.first() == Some(&b'S');
        let name = body.get(1..).and_then(|body| Names(body).next());
        let statement = match name {
            Some(name) if of_statement => self.statement(name),
            _ => None,
        };
        let group = self.group(flow, at, out);
        group.prepares = true;
        if statement.is_some() {
            group.statement = statement;
        }
    }

    /// Sync or Flush: what was asked for so far is to be answered.
    fn sync(&mut self, flow: &mut Flow, sync: bool) {
        let kind = if sync { Kind::Sync } else { Kind::Flush };
        let Some(group) = self.group.take() else {
            if sync {
                push(flow, kind, None, None);
            }
            return;
        };
        push(flow, kind, Some(group.exchange), group.statement);
        if let Some(ask) = flow.queue.back_mut() {
            ask.instead = if group.prepares {
                "PREPARE"
            } else {
                "DEALLOCATE"
            };
        }
    }

    fn start(&mut self, flow: &mut Flow, message: &[u8], out: &mut Events) {
        match startup(message) {
            Startup::Encryption => self.bytes += 1,
            Startup::Session(session) => {
                self.started = true;
                self.starting = true;
                self.namespace = session.database.map(Arc::from);
                out.finished |= session.replication;
                out.left |= session.replication;
            }
            Startup::Cancel => out.finished = true,
            Startup::Wrong => {
                out.failed += 1;
                flow.asks.lose();
            }
        }
    }
}

impl OrderedProtocol for PostgresProtocol {
    const PROTOCOL: Protocol = Protocol::Postgres;

    type Question = Question;

    fn question_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        frontend(data, self.started)
    }

    fn question(&mut self, flow: &mut Flow, frame: Frame<'_>, at: u64, out: &mut Events) {
        if !self.started && frame.data.first() == Some(&0) {
            self.start(flow, frame.data, out);
        } else if let Some((kind, body)) = frame.data.split_first() {
            self.started = true;
            self.ask(flow, *kind, body.get(4..).unwrap_or(&[]), at, out);
        }
    }

    fn answer_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        backend(data, self.bytes > 0)
    }

    fn answer(&mut self, flow: &mut Flow, frame: Frame<'_>, out: &mut Events) -> bool {
        let byte = self.bytes > 0;
        match frame.data.split_first() {
            // TLS or GSSAPI from here on.
            Some((b'S' | b'G', _)) if byte => out.finished = true,
            Some(_) if byte => self.bytes -= 1,
            Some((kind, body)) => self.message(flow, *kind, body.get(4..).unwrap_or(&[]), out),
            None => {}
        }
        true
    }

    fn call(&self, open: Open<Question>) -> Db {
        let statement = open.statement.as_deref();
        Db {
            asked: match statement {
                Some(statement) if open.instead.is_empty() => statement.asked.clone(),
                _ => Statement::instead(open.instead, statement),
            },
            namespace: self.namespace.clone(),
            error: open
                .state
                .map(|state| String::from_utf8_lossy(&state).into()),
            rows: open.rows,
            ..Db::new(Protocol::Postgres)
        }
    }

    fn turned(&mut self, flow: &mut Flow, out: &mut Events) {
        self.result = None;
        self.settle_flushed(flow, out);
    }

    fn lost(&mut self, flow: &mut Flow, _out: &mut Events) {
        if let Some(group) = self.group.take() {
            // Its Execute and its Sync are out of sight.
            push(flow, Kind::Execute, Some(group.exchange), group.statement);
            if let Some(open) = flow.queue.back_mut() {
                open.guessed = true;
            }
            push(flow, Kind::Sync, None, None);
        }
    }

    fn last_bytes(&mut self, flow: &mut Flow, last: &[u8], out: &mut Events) -> bool {
        self.ended(flow, last, out)
    }

    fn settle(&mut self, flow: &mut Flow, out: &mut Events) {
        self.starting = false;
        while let Some(mut open) = flow.queue.pop_front() {
            // Rows may have come, and an error behind them.
            open.unseen = !open.done;
            self.end(open, flow.answered_at, None, out);
        }
    }

    fn reset(&mut self) -> u64 {
        self.bytes = 0;
        self.starting = false;
        u64::from(self.group.take().is_some())
    }

    fn skipped(&mut self, blind: bool) {
        self.started = true;
        self.unnamed = None;
        self.portal = None;
        if blind {
            self.prepared.clear();
            self.portals.clear();
        }
    }

    fn over_at_close(open: &Open<Question>, flow: &Flow, _at: u64) -> Option<u64> {
        open.done.then_some(flow.answered_at)
    }

    fn closed(&mut self, flow: &mut Flow, at: u64, out: &mut Events) {
        if let Some(group) = self.group.take() {
            push(flow, Kind::Sync, Some(group.exchange), group.statement);
            if let Some(open) = flow.queue.pop_front() {
                self.end(open, at, Some(Failure::Closed), out);
            }
        }
    }
}
