//! What the server says, and the end of exchanges.

use super::messages::{backend, complete, sqlstate};
use super::{Flow, Kind, PostgresProtocol, Question};
use crate::frames::Head;
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
            b'W' => {
                out.finished = true;
                out.left = true;
            }
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

    /// The last bytes of a chunk of which the rest wasn't seen: if they end with
    /// ReadyForQuery, what stands before it says how the one group of questions
    /// that it ends went. (Servers send what went wrong at once, and that they are
    /// ready afterwards.) Says whether it was so.
    pub(super) fn ended(&mut self, flow: &mut Flow, last: &[u8], out: &mut Events) -> bool {
        let ends = |ask: &&Open<Question>| matches!(ask.kind, Kind::Simple | Kind::Sync);
        // Of several nobody knows which one it is.
        if flow.queue.iter().filter(ends).count() != 1 || self.starting {
            return false;
        }
        let before = std::mem::take(&mut self.result);
        let end = match last.split_last_chunk() {
            Some((result, ready)) if is_ready(ready) && result.is_empty() => before,
            Some((result, ready)) if is_ready(ready) => end_of(result),
            _ => {
                self.result = end_of(last);
                return false;
            }
        };
        let Some((kind, body)) = end else {
            return false;
        };
        let body = &*body;
        let undone = |ask: &&mut Open<Question>| ask.exchange.is_some() && !ask.done;
        let several = flow.queue.iter_mut().filter(undone).count() > 1;
        for ask in flow.queue.iter_mut().filter(undone) {
            match kind {
                // Which of them failed isn't known.
                b'E' if several => ask.unseen = true,
                b'E' => ask.state = Some(sqlstate(body).unwrap_or(*b"XX000")),
                _ => {
                    let one = |statement: &sql::Statement| statement.asked.batch.is_none();
                    let one = ask.statement.as_deref().is_none_or(one);
                    let rows = || complete(body).1;
                    ask.rows = if one && !several { rows() } else { None };
                }
            }
            ask.done = true;
        }
        self.ready(flow, out);
        true
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

/// Whether this is ReadyForQuery.
fn is_ready(message: &[u8; 6]) -> bool {
    matches!(message, [b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E'])
}

/// The message that ends a result, if `last` ends with it: its type and what follows
/// its length.
fn end_of(last: &[u8]) -> Option<(u8, Box<[u8]>)> {
    // From the last place that it can be at: messages from there on make up all.
    (0..last.len()).rev().find_map(|at| {
        let mut rest = last.get(at..)?;
        let (kind, body) = message_at(&mut rest)?;
        if !matches!(kind, b'C' | b'E' | b'I' | b's') {
            return None;
        }
        while !rest.is_empty() {
            let (between, _) = message_at(&mut rest)?;
            // These come whenever they want.
            matches!(between, b'N' | b'A' | b'S').then_some(())?;
        }
        Some((kind, body.into()))
    })
}

/// Takes the whole message that `bytes` begins with.
fn message_at<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let Head::Message { length, .. } = backend(bytes, false) else {
        return None;
    };
    let (message, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    let (kind, body) = message.split_first()?;
    Some((*kind, body.get(4..)?))
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
