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

use std::sync::Arc;

use observer_common::requests::Protocol;

use super::call::Db;
use super::frames::{Frame, Head};
use super::ordered::{self, Open, Ordered, OrderedProtocol};
use super::protocol::Events;
use super::sql::{self, Dialect, Prepared, Statement};
use messages::{Greeting, Login, capability, command};

/// One connection.
pub type MySql = Ordered<MySqlProtocol>;

type Flow = ordered::Flow<Question>;

/// A command whose answer isn't over.
#[derive(Debug)]
pub struct Question {
    command: u8,
    statement: Option<Arc<Statement>>,
    /// The database that it changes to.
    database: Option<Arc<str>>,
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

/// What is known of a connection.
#[derive(Default)]
pub struct MySqlProtocol {
    phase: Phase,
    stage: Stage,
    /// Whether the packet goes on with one that has been.
    continued: bool,
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

impl MySqlProtocol {
    fn dialect(&self) -> Dialect {
        if self.plain {
            Dialect::MySqlPlain
        } else {
            Dialect::MySql
        }
    }

    /// One packet of the client's: its number and what follows it.
    fn ask(&mut self, flow: &mut Flow, packet: &Packet<'_>, at: u64, out: &mut Events) {
        let Packet {
            number,
            payload,
            length,
        } = *packet;
        match self.phase {
            Phase::Start | Phase::Login if number > 0 => {
                return self.login(flow, payload, length, out);
            }
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
                out.left = true;
                return;
            }
            _ => {}
        }
        let exchange = flow.begin(at, out);
        let question = Question {
            command: kind,
            statement,
            database: database.filter(|name| !name.is_empty()).map(Arc::from),
            rows: None,
        };
        flow.push(Some(exchange), question);
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

    fn login(&mut self, flow: &mut Flow, payload: &[u8], length: u64, out: &mut Events) {
        match Login::read(payload, length) {
            Some(Login::Plain {
                capabilities,
                database,
            }) => {
                let agreed = capabilities & self.offered.unwrap_or(u32::MAX);
                self.agreed = Some(agreed);
                self.namespace = database.map(Arc::from);
                self.phase = Phase::Authentication;
                // Of what is compressed nothing is read.
                out.left = agreed & (capability::COMPRESS | capability::ZSTD) != 0;
                out.finished |= out.left;
            }
            Some(Login::Tls) => out.finished = true,
            None => {
                out.failed += 1;
                flow.asks.lose();
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

/// A packet, as much of it as was captured.
struct Packet<'a> {
    /// Its number in a command.
    number: u8,
    payload: &'a [u8],
    /// Bytes of the payload in all.
    length: u64,
}

impl<'a> Packet<'a> {
    fn of(frame: Frame<'a>) -> Option<Self> {
        match frame.data {
            [_, _, _, number, payload @ ..] => Some(Self {
                number: *number,
                payload,
                length: frame.length - 4,
            }),
            _ => None,
        }
    }
}

impl OrderedProtocol for MySqlProtocol {
    const PROTOCOL: Protocol = Protocol::MySql;

    type Question = Question;

    fn question_head(&self, flow: &Flow, data: &[u8]) -> Head {
        let commands = self.phase == Phase::Ready && flow.queue.is_empty();
        messages::request(data, commands)
    }

    fn question(&mut self, flow: &mut Flow, frame: Frame<'_>, at: u64, out: &mut Events) {
        if let Some(packet) = Packet::of(frame) {
            self.ask(flow, &packet, at, out);
        }
    }

    fn answer_head(&self, _flow: &Flow, data: &[u8]) -> Head {
        messages::answer(data)
    }

    fn answer(&mut self, flow: &mut Flow, frame: Frame<'_>, out: &mut Events) -> bool {
        Packet::of(frame).is_none_or(|packet| self.packet(flow, &packet, out))
    }

    fn call(&self, open: Open<Question>) -> Db {
        let statement = open.statement.as_deref();
        let name = command::name(open.command);
        Db {
            asked: match statement {
                Some(statement) if name.is_empty() => statement.asked.clone(),
                _ => Statement::instead(name, statement),
            },
            namespace: self.namespace.clone(),
            error: open.error,
            rows: open.question.rows,
            ..Db::new(Protocol::MySql)
        }
    }

    fn last_bytes(&mut self, flow: &mut Flow, last: &[u8], out: &mut Events) -> bool {
        self.ended(flow, last, out)
    }

    fn settle(&mut self, flow: &mut Flow, out: &mut Events) {
        self.stage = Stage::First;
        self.continued = false;
        if self.phase == Phase::Authentication {
            self.phase = Phase::Ready;
        }
        while let Some(mut open) = flow.queue.pop_front() {
            // What was seen of the rows isn't how many there were.
            open.rows = None;
            // Nor whether an error came behind them.
            open.unseen = true;
            self.end(open, flow.answered_at, None, out);
        }
    }

    fn reset(&mut self) -> u64 {
        self.stage = Stage::First;
        self.continued = false;
        self.phase = Phase::Ready;
        0
    }

    fn skipped(&mut self, blind: bool) {
        if blind {
            self.prepared.clear();
            self.preparing = None;
        }
    }
}
