//! What the server says, and the end of exchanges.

use observer_common::requests::Protocol;

use super::messages::{complete, sqlstate};
use super::{Ask, Kind, Postgres};
use crate::call::{Call, Db, Failure};
use crate::protocol::{Ended, Event, Events};
use crate::sql::{self, Statement};
use crate::turn::Side;

impl Ask {
    /// Was answered: if nothing was executed, something was prepared.
    fn guess(&mut self) {
        if self.guessed && !self.done {
            self.instead = "PREPARE";
        }
    }
}

impl Postgres {
    /// One message of the server's: its type and what follows its length.
    pub(super) fn answer(&mut self, kind: u8, body: &[u8], out: &mut Events) {
        let at = self.answered_at;
        // Notices, notifications and settings come whenever they want.
        if matches!(kind, b'N' | b'A' | b'S') {
            return;
        }
        if let Some(ask) = self.queue.iter_mut().find(|ask| !ask.done) {
            ask.answered.get_or_insert(at);
        }
        match kind {
            b'C' => {
                let (word, rows) = complete(body);
                self.completed(word, rows, out);
            }
            b'I' | b's' => self.completed("", None, out),
            b'E' => self.failed(sqlstate(body)),
            b'Z' if self.starting => self.starting = false,
            b'Z' => self.ready(out),
            // A replica's stream.
            b'W' => out.finished = true,
            _ => {}
        }
    }

    fn completed(&mut self, word: &str, rows: Option<u64>, out: &mut Events) {
        while let Some(ask) = self.queue.pop_front_if(|ask| ask.kind == Kind::Flush) {
            self.end(ask, self.answered_at, None, out);
        }
        let Some(first) = self.queue.front_mut() else {
            return;
        };
        match first.kind {
            Kind::Sync | Kind::Flush => return,
            Kind::Simple => {
                if let Some(rows) = rows {
                    first.rows = Some(first.rows.unwrap_or(0).saturating_add(rows));
                }
            }
            Kind::Execute if first.done => return,
            Kind::Execute => {
                first.done = true;
                first.rows = rows;
            }
        }
        if first.statement.is_none() && first.instead.is_empty() {
            first.instead = sql::operation(word);
        }
        let last = self.queue.get(1).is_some_and(|ask| ask.kind == Kind::Sync);
        if !last && let Some(ask) = self.queue.pop_front_if(|ask| ask.done) {
            self.end(ask, self.answered_at, None, out);
        }
    }

    /// An error: what was asked up to the next Sync isn't done.
    fn failed(&mut self, code: Option<[u8; 5]>) {
        let code = code.unwrap_or(*b"XX000");
        for ask in &mut self.queue {
            // At the commit, which Sync brought about, all seemed well.
            if ask.kind != Kind::Sync || ask.exchange.is_some() {
                ask.error = Some(code);
                ask.done = true;
            }
            if matches!(ask.kind, Kind::Simple | Kind::Sync) {
                break;
            }
        }
    }

    /// ReadyForQuery: all up to the first Sync or simple query is over.
    fn ready(&mut self, out: &mut Events) {
        while let Some(mut ask) = self.queue.pop_front() {
            let last = matches!(ask.kind, Kind::Simple | Kind::Sync);
            ask.guess();
            self.end(ask, self.answered_at, None, out);
            if last {
                break;
            }
        }
    }

    /// The end of the answers wasn't seen, but the next question: all is over.
    pub(super) fn settle(&mut self, out: &mut Events) {
        while let Some(ask) = self.queue.pop_front() {
            self.end(ask, self.answered_at, None, out);
        }
    }

    /// The same for what has no end of its own; and for what wasn't seen whole,
    /// which may have none.
    pub(super) fn settle_flushed(&mut self, out: &mut Events) {
        let lost = self.asks.lost();
        let over = |ask: &mut Ask| {
            ask.kind == Kind::Flush || (lost && (ask.guessed || ask.done || ask.exchange.is_none()))
        };
        while let Some(mut ask) = self.queue.pop_front_if(over) {
            ask.guess();
            self.end(ask, self.answered_at, None, out);
        }
    }

    pub(super) fn close(&mut self, at: u64, out: &mut Events) {
        let unseen = self.answers.lost() && self.last == Side::Answers;
        while let Some(ask) = self.queue.pop_front() {
            if unseen || ask.done {
                self.end(ask, self.answered_at, None, out);
            } else {
                self.end(ask, at, Some(Failure::Closed), out);
            }
        }
        if let Some(group) = self.group.take() {
            self.push(Kind::Sync, Some(group.exchange), group.statement);
            if let Some(ask) = self.queue.pop_front() {
                self.end(ask, at, Some(Failure::Closed), out);
            }
        }
    }

    fn end(&self, ask: Ask, at: u64, failure: Option<Failure>, out: &mut Events) {
        let Some(exchange) = ask.exchange else {
            return;
        };
        let statement = ask.statement.as_deref();
        let asked = match statement {
            Some(statement) if ask.instead.is_empty() => statement.asked.clone(),
            _ => Statement::instead(ask.instead, statement),
        };
        let answered = match failure {
            Some(_) => ask.answered,
            None => Some(ask.answered.unwrap_or(at)),
        };
        let code = ask.error.map(|code| String::from_utf8_lossy(&code).into());
        out.events.push(Event::Ended(Ended {
            exchange,
            answered,
            at,
            call: Call::Db(Db {
                system: Protocol::Postgres,
                asked,
                namespace: self.namespace.clone(),
                error: code,
                rows: ask.rows,
                failure,
            }),
        }));
    }
}
