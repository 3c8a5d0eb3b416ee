//! What the server says, and the end of exchanges.

use observer_common::requests::Protocol;

use super::messages::{capability, command, integer, little16, little32};
use super::{Ask, MySql, Phase, Stage};
use crate::call::{Call, Db, Failure};
use crate::protocol::{Ended, Event, Events};
use crate::sql::Statement;
use crate::turn::Side;

/// Payload of a packet that goes on in the next one.
const LONGEST: u64 = 0xff_ffff;
/// Payload of an EOF packet.
const EOF: u64 = 5;

/// Status flags (`SERVER_…`).
mod status {
    /// Another result follows.
    pub const MORE_RESULTS: u16 = 0x0008;
    /// Rows wait to be fetched.
    pub const CURSOR: u16 = 0x0040;
    /// Backslashes in strings are nothing special.
    pub const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
}

impl MySql {
    /// One packet of the server's: its number and what follows it. Says no if it
    /// can't be one here.
    pub(super) fn answer(
        &mut self,
        number: u8,
        payload: &[u8],
        length: u64,
        out: &mut Events,
    ) -> bool {
        let continued = std::mem::replace(&mut self.continued, length == LONGEST);
        if continued {
            return true;
        }
        match self.phase {
            Phase::Start if number == 0 => {
                self.greeting(payload);
                return true;
            }
            Phase::Authentication => {
                // OK or an error; others are part of the conversation.
                if matches!(payload.first(), Some(0 | 0xff)) {
                    self.phase = Phase::Ready;
                }
                return true;
            }
            _ => {}
        }
        let at = self.answered_at;
        let Some(ask) = self.queue.front_mut() else {
            return true;
        };
        let Some(&first) = payload.first() else {
            // An empty packet is none.
            return false;
        };
        // The end of definitions that nobody waited for.
        if self.stage == Stage::First && first == 0xfe && length == EOF && number > 1 {
            return true;
        }
        if self.stage == Stage::First && ask.answered.is_none() && number == 0 {
            return false;
        }
        ask.answered.get_or_insert(at);
        if first == 0xff {
            let code = payload.get(1..).and_then(little16);
            let code = code.map_or_else(String::new, |code| code.to_string());
            self.over(Some(code), out);
            return true;
        }
        match self.stage {
            Stage::First => self.first(payload, length, out),
            Stage::Columns(left) => {
                self.stage = match left {
                    0 | 1 => Stage::AfterColumns,
                    more => Stage::Columns(more - 1),
                };
            }
            Stage::AfterColumns if first == 0xfe && length == EOF => {
                let status = payload.get(3..).and_then(little16).unwrap_or(0);
                self.stage = Stage::Rows;
                if status & status::CURSOR != 0 {
                    self.result_over(status, out);
                }
            }
            Stage::AfterColumns | Stage::Rows => self.row(payload, length, out),
            Stage::Definitions(parameters, columns) => {
                self.definition(parameters, columns, first == 0xfe && length == EOF, out);
            }
        }
        true
    }

    /// The first packet of an answer.
    fn first(&mut self, payload: &[u8], length: u64, out: &mut Events) {
        let Some(ask) = self.queue.front_mut() else {
            return;
        };
        match (ask.command, payload[0]) {
            (command::STMT_PREPARE, 0) => {
                let field = |at: usize| payload.get(at..).and_then(little16).unwrap_or(0);
                let (columns, parameters) = (u32::from(field(5)), u32::from(field(7)));
                let id = payload.get(1..).and_then(little32);
                if let (Some(id), Some(statement)) = (id, ask.statement.clone()) {
                    self.prepared.insert(id.into(), statement);
                }
                // Each group ends with an EOF packet, unless they were done away with.
                let agreed = self.agreed.unwrap_or(capability::DEPRECATE_EOF);
                let ends = u32::from(agreed & capability::DEPRECATE_EOF == 0);
                let packets = |n: u32| if n > 0 { n + ends } else { 0 };
                self.stage = Stage::Definitions(packets(parameters), packets(columns));
                if parameters + columns == 0 {
                    self.over(None, out);
                }
            }
            (command::STMT_FETCH, _) => {
                self.stage = Stage::Rows;
                self.row(payload, length, out);
            }
            (command::FIELD_LIST, first) => {
                if first == 0xfe {
                    self.over(None, out);
                }
            }
            (command::STATISTICS, _) => self.over(None, out),
            // Authentication goes on.
            (command::CHANGE_USER, 0xfe | 1) => {}
            (_, 0) => {
                let (rows, status) = ok(payload);
                let changes = matches!(
                    ask.command,
                    command::QUERY | command::STMT_EXECUTE | command::STMT_BULK_EXECUTE
                );
                if changes && let Some(rows) = rows {
                    ask.rows = Some(ask.rows.unwrap_or(0).saturating_add(rows));
                }
                self.result_over(status, out);
            }
            (_, 0xfe) => self.over(None, out),
            // The server asks for a file's contents (LOCAL INFILE).
            (_, 0xfb) => {}
            _ => {
                let mut rest = payload;
                let columns = integer(&mut rest).unwrap_or(0);
                // MariaDB may leave the columns out, and says so.
                self.stage = match rest {
                    [0] => Stage::AfterColumns,
                    _ => Stage::Columns(columns),
                };
            }
        }
    }

    /// A row, or the end of rows.
    fn row(&mut self, payload: &[u8], length: u64, out: &mut Events) {
        self.stage = Stage::Rows;
        if payload.first() == Some(&0xfe) && length < LONGEST {
            let status = if length == EOF {
                payload.get(3..).and_then(little16).unwrap_or(0)
            } else {
                ok(payload).1
            };
            if let Some(ask) = self.queue.front_mut() {
                ask.rows.get_or_insert(0);
            }
            self.result_over(status, out);
        } else if let Some(ask) = self.queue.front_mut() {
            ask.rows = Some(ask.rows.unwrap_or(0).saturating_add(1));
        }
    }

    fn definition(&mut self, parameters: u32, columns: u32, end: bool, out: &mut Events) {
        let known = self.agreed.is_some();
        self.stage = match (parameters, columns) {
            // An end that wasn't counted, since nobody knew of it.
            (0, columns) if end && !known => Stage::Definitions(0, columns),
            (0, columns) => Stage::Definitions(0, columns.saturating_sub(1)),
            (parameters, columns) => Stage::Definitions(parameters - 1, columns),
        };
        if self.stage == Stage::Definitions(0, 0) {
            self.over(None, out);
        }
    }

    /// A result is over, and with it the answer if no other one follows.
    fn result_over(&mut self, status: u16, out: &mut Events) {
        self.plain = status & status::NO_BACKSLASH_ESCAPES != 0;
        if status & status::MORE_RESULTS != 0 {
            self.stage = Stage::First;
        } else {
            self.over(None, out);
        }
    }

    /// The first one's answer is over.
    fn over(&mut self, error: Option<String>, out: &mut Events) {
        self.stage = Stage::First;
        let Some(mut ask) = self.queue.pop_front() else {
            return;
        };
        if error.is_none() && ask.database.is_some() {
            self.namespace = ask.database.take();
        }
        self.end(ask, self.answered_at, error, None, out);
    }

    /// The end of the answers wasn't seen, but the next command: all is over.
    pub(super) fn settle(&mut self, out: &mut Events) {
        self.stage = Stage::First;
        self.continued = false;
        if self.phase == Phase::Authentication {
            self.phase = Phase::Ready;
        }
        while let Some(mut ask) = self.queue.pop_front() {
            // What was seen of the rows isn't how many there were.
            ask.rows = None;
            self.end(ask, self.answered_at, None, None, out);
        }
    }

    pub(super) fn close(&mut self, at: u64, out: &mut Events) {
        if self.answers.lost() && self.last == Side::Answers {
            self.settle(out);
        }
        while let Some(ask) = self.queue.pop_front() {
            self.end(ask, at, None, Some(Failure::Closed), out);
        }
    }

    fn end(
        &self,
        ask: Ask,
        at: u64,
        error: Option<String>,
        failure: Option<Failure>,
        out: &mut Events,
    ) {
        let statement = ask.statement.as_deref();
        let name = command::name(ask.command);
        let asked = match statement {
            Some(statement) if name.is_empty() => statement.asked.clone(),
            _ => Statement::instead(name, statement),
        };
        let answered = match failure {
            Some(_) => ask.answered,
            None => Some(ask.answered.unwrap_or(at)),
        };
        out.events.push(Event::Ended(Ended {
            exchange: ask.exchange,
            answered,
            at,
            call: Call::Db(Db {
                system: Protocol::MySql,
                asked,
                namespace: self.namespace.clone(),
                error,
                rows: ask.rows,
                failure,
            }),
        }));
    }
}

/// Rows that were changed, and the status: of an OK packet.
fn ok(payload: &[u8]) -> (Option<u64>, u16) {
    let mut rest = payload.get(1..).unwrap_or(&[]);
    let rows = integer(&mut rest);
    let _id = integer(&mut rest);
    (rows, little16(rest).unwrap_or(0))
}
