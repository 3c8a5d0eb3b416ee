//! What the server says, and the end of exchanges.

use super::messages::{complete, sqlstate};
use super::{Flow, Kind, PostgresProtocol, Question};
use crate::ordered::{Open, OrderedProtocol as _};
use crate::protocol::Events;
use crate::sql;

impl Question {
    /// Was answered: if nothing was executed, something was prepared.
    fn guess(&mut self) {
        if self.guessed && !self.done {
            self.instead = "PREPARE";
        }
    }
}

impl PostgresProtocol {
    /// One message of the server's: its type and what follows its length.
    pub(super) fn message(&mut self, flow: &mut Flow, kind: u8, body: &[u8], out: &mut Events) {
        let at = flow.answered_at;
        // Notices, notifications and settings come whenever they want.
        if matches!(kind, b'N' | b'A' | b'S') {
            return;
        }
        if let Some(ask) = flow.queue.iter_mut().find(|ask| !ask.done) {
            ask.answered.get_or_insert(at);
        }
        match kind {
            b'C' => {
                let (word, rows) = complete(body);
                self.completed(flow, word, rows, out);
            }
            b'I' | b's' => self.completed(flow, "", None, out),
            b'E' => fail(flow, sqlstate(body)),
            b'Z' if self.starting => self.starting = false,
            b'Z' => self.ready(flow, out),
            // A replica's stream.
            b'W' => out.finished = true,
            _ => {}
        }
    }

    fn completed(&mut self, flow: &mut Flow, word: &str, rows: Option<u64>, out: &mut Events) {
        while let Some(ask) = flow.queue.pop_front_if(|ask| ask.kind == Kind::Flush) {
            self.end(ask, flow.answered_at, None, out);
        }
        let Some(first) = flow.queue.front_mut() else {
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
        let last = flow.queue.get(1).is_some_and(|ask| ask.kind == Kind::Sync);
        if !last && let Some(ask) = flow.queue.pop_front_if(|ask| ask.done) {
            self.end(ask, flow.answered_at, None, out);
        }
    }

    /// ReadyForQuery: all up to the first Sync or simple query is over.
    fn ready(&mut self, flow: &mut Flow, out: &mut Events) {
        while let Some(mut ask) = flow.queue.pop_front() {
            let last = matches!(ask.kind, Kind::Simple | Kind::Sync);
            ask.guess();
            self.end(ask, flow.answered_at, None, out);
            if last {
                break;
            }
        }
    }

    /// Ends what has no end of its own; and what wasn't seen whole, which may
    /// have none.
    pub(super) fn settle_flushed(&mut self, flow: &mut Flow, out: &mut Events) {
        let lost = flow.asks.lost();
        let over = |ask: &mut Open<Question>| {
            ask.kind == Kind::Flush || (lost && (ask.guessed || ask.done || ask.exchange.is_none()))
        };
        while let Some(mut ask) = flow.queue.pop_front_if(over) {
            ask.guess();
            self.end(ask, flow.answered_at, None, out);
        }
    }
}

/// An error: what was asked up to the next Sync isn't done.
fn fail(flow: &mut Flow, code: Option<[u8; 5]>) {
    let code = code.unwrap_or(*b"XX000");
    for ask in &mut flow.queue {
        // At the commit, which Sync brought about, all seemed well.
        if ask.kind != Kind::Sync || ask.exchange.is_some() {
            ask.state = Some(code);
            ask.done = true;
        }
        if matches!(ask.kind, Kind::Simple | Kind::Sync) {
            break;
        }
    }
}
