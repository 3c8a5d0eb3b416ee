//! What the server says, and the end of exchanges.

use super::messages::{capability, command, integer, little16, little32};
use super::{Flow, MySqlProtocol, Packet, Phase, Stage};
use crate::ordered::OrderedProtocol as _;
use crate::protocol::Events;

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

impl MySqlProtocol {
    /// One packet of the server's; false if it can't be one here.
    pub(super) fn packet(
        &mut self,
        flow: &mut Flow,
        packet: &Packet<'_>,
        out: &mut Events,
    ) -> bool {
        let Packet {
            number,
            payload,
            length,
        } = *packet;
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
        let at = flow.answered_at;
        let Some(ask) = flow.queue.front_mut() else {
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
            self.over(flow, Some(code), out);
            return true;
        }
        match self.stage {
            Stage::First => self.first(flow, payload, length, out),
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
                    self.result_over(flow, status, out);
                }
            }
            Stage::AfterColumns | Stage::Rows => self.row(flow, payload, length, out),
            Stage::Definitions(parameters, columns) => {
                self.definition(
                    flow,
                    parameters,
                    columns,
                    first == 0xfe && length == EOF,
                    out,
                );
            }
        }
        true
    }

    /// The first packet of an answer.
    fn first(&mut self, flow: &mut Flow, payload: &[u8], length: u64, out: &mut Events) {
        let (Some(ask), Some(first)) = (flow.queue.front_mut(), payload.first()) else {
            return;
        };
        match (ask.command, *first) {
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
                    self.over(flow, None, out);
                }
            }
            (command::STMT_FETCH, _) => {
                self.stage = Stage::Rows;
                self.row(flow, payload, length, out);
            }
            (command::FIELD_LIST, first) => {
                if first == 0xfe {
                    self.over(flow, None, out);
                }
            }
            (command::STATISTICS, _) => self.over(flow, None, out),
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
                self.result_over(flow, status, out);
            }
            (_, 0xfe) => self.over(flow, None, out),
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
    fn row(&mut self, flow: &mut Flow, payload: &[u8], length: u64, out: &mut Events) {
        self.stage = Stage::Rows;
        if payload.first() == Some(&0xfe) && length < LONGEST {
            let status = if length == EOF {
                payload.get(3..).and_then(little16).unwrap_or(0)
            } else {
                ok(payload).1
            };
            if let Some(ask) = flow.queue.front_mut() {
                ask.rows.get_or_insert(0);
            }
            self.result_over(flow, status, out);
        } else if let Some(ask) = flow.queue.front_mut() {
            ask.rows = Some(ask.rows.unwrap_or(0).saturating_add(1));
        }
    }

    fn definition(
        &mut self,
        flow: &mut Flow,
        parameters: u32,
        columns: u32,
        end: bool,
        out: &mut Events,
    ) {
        let known = self.agreed.is_some();
        self.stage = match (parameters, columns) {
            // An end that wasn't counted, since nobody knew of it.
            (0, columns) if end && !known => Stage::Definitions(0, columns),
            (0, columns) => Stage::Definitions(0, columns.saturating_sub(1)),
            (parameters, columns) => Stage::Definitions(parameters - 1, columns),
        };
        if self.stage == Stage::Definitions(0, 0) {
            self.over(flow, None, out);
        }
    }

    /// A result is over, and with it the answer if no other one follows.
    fn result_over(&mut self, flow: &mut Flow, status: u16, out: &mut Events) {
        self.plain = status & status::NO_BACKSLASH_ESCAPES != 0;
        if status & status::MORE_RESULTS != 0 {
            self.stage = Stage::First;
        } else {
            self.over(flow, None, out);
        }
    }

    /// The last bytes of a chunk of which the rest wasn't seen: if they are the
    /// packet that ends a result, the answer is over. Says whether it is.
    pub(super) fn ended(&mut self, flow: &mut Flow, last: &[u8], out: &mut Events) -> bool {
        let [ask] = flow.queue.make_contiguous() else {
            return false;
        };
        let Some(end) = last_packet(last) else {
            return false;
        };
        // Columns have an end, too, unless it was done away with.
        let agreed = self.agreed.unwrap_or_default();
        let columns = matches!(self.stage, Stage::Columns(_))
            && agreed & capability::DEPRECATE_EOF == 0
            && !matches!(end, End::Error(_));
        if columns || matches!(self.stage, Stage::Definitions(..)) {
            return false;
        }
        // How many there were isn't known.
        ask.rows = None;
        match end {
            End::Error(code) => self.over(flow, Some(code.to_string()), out),
            // And of the next one nobody knows where it begins.
            End::Result(status) if status & status::MORE_RESULTS != 0 => return false,
            End::Result(status) => self.result_over(flow, status, out),
        }
        self.continued = false;
        true
    }

    /// The first one's answer is over.
    fn over(&mut self, flow: &mut Flow, error: Option<String>, out: &mut Events) {
        self.stage = Stage::First;
        let Some(mut open) = flow.queue.pop_front() else {
            return;
        };
        if error.is_none() && open.database.is_some() {
            self.namespace = open.database.take();
        }
        open.error = error;
        self.end(open, flow.answered_at, None, out);
    }
}

/// What ends a result.
enum End {
    /// An error packet with this code.
    Error(u16),
    /// An EOF packet, or an OK packet instead, with these status flags.
    Result(u16),
}

/// Longest OK packet that is taken for one.
const LONGEST_OK: usize = 64;

/// The packet that ends a result, if `last` ends with it.
fn last_packet(last: &[u8]) -> Option<End> {
    (0..last.len()).rev().find_map(|at| {
        let packet = last.get(at..)?;
        let (head, payload) = packet.split_at_checked(4)?;
        let [low, middle, high, _] = *head else {
            return None;
        };
        let length = u32::from_le_bytes([low, middle, high, 0]);
        if length as usize != payload.len() {
            return None;
        }
        match payload {
            // With an SQLSTATE. (Code 65535 tells of progress.)
            [0xff, low, high, b'#', ..] if payload.len() > 8 => {
                let code = u16::from_le_bytes([*low, *high]);
                (code != u16::MAX).then_some(End::Error(code))
            }
            [0xfe, _, _, low, high] => Some(End::Result(u16::from_le_bytes([*low, *high]))),
            [0xfe, ..] if (7..LONGEST_OK).contains(&payload.len()) => {
                Some(End::Result(ok(payload).1))
            }
            _ => None,
        }
    })
}

/// Rows that were changed, and the status: of an OK packet.
fn ok(payload: &[u8]) -> (Option<u64>, u16) {
    let mut rest = payload.get(1..).unwrap_or(&[]);
    let rows = integer(&mut rest);
    let _id = integer(&mut rest);
    (rows, little16(rest).unwrap_or(0))
}
