//! Heads of packets and the fields that are looked at.

use crate::frames::Head;

/// Commands (`enum_server_command`).
pub mod command {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const CREATE_DB: u8 = 0x05;
    pub const DROP_DB: u8 = 0x06;
    pub const REFRESH: u8 = 0x07;
    pub const SHUTDOWN: u8 = 0x08;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_INFO: u8 = 0x0a;
    pub const PROCESS_KILL: u8 = 0x0c;
    pub const DEBUG: u8 = 0x0d;
    pub const PING: u8 = 0x0e;
    pub const CHANGE_USER: u8 = 0x11;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const TABLE_DUMP: u8 = 0x13;
    pub const REGISTER_SLAVE: u8 = 0x15;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1a;
    pub const SET_OPTION: u8 = 0x1b;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub const RESET_CONNECTION: u8 = 0x1f;
    pub const CLONE: u8 = 0x20;
    /// MariaDB's COM_STMT_BULK_EXECUTE.
    pub const STMT_BULK_EXECUTE: u8 = 0xfa;

    /// What a command that has no statement is called.
    pub fn name(command: u8) -> &'static str {
        match command {
            INIT_DB => "USE",
            FIELD_LIST => "FIELD_LIST",
            CREATE_DB => "CREATE DATABASE",
            DROP_DB => "DROP DATABASE",
            REFRESH => "REFRESH",
            SHUTDOWN => "SHUTDOWN",
            STATISTICS => "STATISTICS",
            PROCESS_INFO => "PROCESS_INFO",
            PROCESS_KILL => "KILL",
            DEBUG => "DEBUG",
            PING => "PING",
            CHANGE_USER => "CHANGE_USER",
            STMT_PREPARE => "PREPARE",
            STMT_RESET => "STMT_RESET",
            STMT_FETCH => "FETCH",
            SET_OPTION => "SET_OPTION",
            RESET_CONNECTION => "RESET_CONNECTION",
            _ => "",
        }
    }

    /// Whether it is one.
    pub fn exists(command: u8) -> bool {
        matches!(command, 0x01..=0x20 | 0xfa..=0xfe)
    }
}

/// Capabilities (`CLIENT_…`).
pub mod capability {
    /// The database's name follows.
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// Packets are compressed after the login.
    pub const COMPRESS: u32 = 1 << 5;
    /// The protocol since 4.1.
    pub const PROTOCOL_41: u32 = 1 << 9;
    /// TLS follows.
    pub const SSL: u32 = 1 << 11;
    /// The length of the proof is told.
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    /// The same, as a length-encoded integer.
    pub const AUTH_LENENC: u32 = 1 << 21;
    /// No EOF packet between columns and rows.
    pub const DEPRECATE_EOF: u32 = 1 << 24;
    /// Compression by zstd.
    pub const ZSTD: u32 = 1 << 26;
    /// Attributes come before a query's text.
    pub const QUERY_ATTRIBUTES: u32 = 1 << 27;
}

/// Bytes of a request that are looked at.
const TEXT: usize = 4096;
/// Bytes of an answer that are looked at.
const SHORT: usize = 64;
/// Bytes of the head of a packet.
const HEAD: usize = 4;

fn packet(data: &[u8]) -> Option<(u64, u8)> {
    match data {
        [low, middle, high, number, ..] => {
            let length = u32::from_le_bytes([*low, *middle, *high, 0]);
            Some((length.into(), *number))
        }
        _ => None,
    }
}

/// The head of a packet of the client's. `commands` says that a command is due,
/// and nothing else.
pub fn request(data: &[u8], commands: bool) -> Head {
    match (packet(data), data.get(HEAD)) {
        (None, _) => Head::Short,
        (Some((0, 0)), _) => Head::Wrong,
        (Some((0, _)), _) => Head::Message {
            length: HEAD as u64,
            wanted: HEAD,
        },
        (Some(_), None) => Head::Short,
        (Some((_, 0)), Some(first)) if !command::exists(*first) => Head::Wrong,
        (Some((_, number)), _) if commands && number != 0 => Head::Wrong,
        (Some((length, _)), _) => Head::Message {
            length: length + HEAD as u64,
            wanted: TEXT,
        },
    }
}

/// The head of a packet of the server's.
pub fn answer(data: &[u8]) -> Head {
    match packet(data) {
        None => Head::Short,
        Some((length, _)) => Head::Message {
            length: length + HEAD as u64,
            wanted: SHORT,
        },
    }
}

/// The first four bytes.
pub fn little32(data: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*data.first_chunk()?))
}

/// The first two bytes.
pub fn little16(data: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(*data.first_chunk()?))
}

/// Takes a length-encoded integer off the front.
pub fn integer(data: &mut &[u8]) -> Option<u64> {
    let (first, rest) = data.split_first()?;
    let bytes = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        small => {
            *data = rest;
            return Some(u64::from(*small));
        }
    };
    let (little, rest) = rest.split_at_checked(bytes)?;
    *data = rest;
    let add = |value, byte: &u8| value << 8 | u64::from(*byte);
    Some(little.iter().rev().fold(0, add))
}

/// Takes bytes off the front.
fn skip(data: &mut &[u8], bytes: u64) -> Option<()> {
    *data = data.get(usize::try_from(bytes).ok()?..)?;
    Some(())
}

/// Takes a string that ends with a zero off the front.
fn string<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let (found, rest) = data.split_at_checked(end)?;
    *data = rest.get(1..)?;
    Some(found)
}

/// Protocol::HandshakeV10.
pub struct Greeting {
    /// What the server can do.
    pub capabilities: u32,
}

impl Greeting {
    /// Of a packet.
    pub fn read(mut payload: &[u8]) -> Option<Self> {
        if payload.first() != Some(&10) {
            return None;
        }
        skip(&mut payload, 1)?;
        string(&mut payload)?;
        // The thread, the first part of the challenge, and a zero.
        skip(&mut payload, 4 + 8 + 1)?;
        let low = little16(payload)?;
        // Character set and status.
        let high = payload.get(5..).and_then(little16).unwrap_or(0);
        Some(Self {
            capabilities: u32::from(low) | u32::from(high) << 16,
        })
    }
}

/// What a client says first.
pub enum Login<'a> {
    /// Protocol::HandshakeResponse41.
    Plain {
        /// What the client wants of what the server can do.
        capabilities: u32,
        /// The database.
        database: Option<&'a str>,
    },
    /// Protocol::SSLRequest.
    Tls,
}

impl<'a> Login<'a> {
    /// Of a packet of `length` bytes.
    pub fn read(payload: &'a [u8], length: u64) -> Option<Self> {
        let capabilities = little32(payload)?;
        if capabilities & capability::PROTOCOL_41 == 0 || length < 32 {
            return None;
        }
        if length == 32 && capabilities & capability::SSL != 0 {
            return Some(Self::Tls);
        }
        let database = || {
            let mut rest = payload.get(32..)?;
            string(&mut rest)?;
            proof(&mut rest, capabilities)?;
            if capabilities & capability::CONNECT_WITH_DB == 0 {
                return None;
            }
            let name = std::str::from_utf8(string(&mut rest)?).ok()?;
            (!name.is_empty()).then_some(name)
        };
        Some(Self::Plain {
            capabilities,
            database: database(),
        })
    }
}

fn proof(rest: &mut &[u8], capabilities: u32) -> Option<()> {
    if capabilities & capability::AUTH_LENENC != 0 {
        let length = integer(rest)?;
        skip(rest, length)
    } else if capabilities & capability::SECURE_CONNECTION != 0 {
        let length = *rest.first()?;
        skip(rest, 1 + u64::from(length))
    } else {
        string(rest).map(|_| ())
    }
}

/// The database of a COM_CHANGE_USER.
pub fn change_user(mut body: &[u8]) -> Option<&str> {
    string(&mut body)?;
    proof(&mut body, capability::SECURE_CONNECTION)?;
    std::str::from_utf8(string(&mut body)?).ok()
}

/// The name in `USE name`.
pub fn use_target(text: &[u8]) -> Option<&str> {
    let text = text.trim_ascii();
    let (word, name) = text.split_at_checked(3)?;
    if !word.eq_ignore_ascii_case(b"use") || !name.first()?.is_ascii_whitespace() {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?.trim();
    let name = name.trim_end_matches(';').trim_end();
    let name = match name.strip_prefix('`') {
        Some(quoted) => quoted.strip_suffix('`')?,
        None => name,
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '-');
    (name.len() <= 256 && name.chars().all(plain)).then_some(name)
}

/// What follows a query's attributes (COM_QUERY with CLIENT_QUERY_ATTRIBUTES).
pub fn behind_attributes(mut body: &[u8]) -> Option<&[u8]> {
    let count = integer(&mut body)?;
    let _sets = integer(&mut body)?;
    if count == 0 {
        return Some(body);
    }
    // No more can be in what is looked at.
    let count = usize::try_from(count).ok().filter(|n| *n <= TEXT)?;
    let (nulls, rest) = body.split_at_checked(count.div_ceil(8))?;
    body = rest;
    // Whether types follow, which they do.
    skip(&mut body, 1)?;
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(*body.first()?);
        skip(&mut body, 2)?;
        let name = integer(&mut body)?;
        skip(&mut body, name)?;
    }
    for (index, kind) in types.into_iter().enumerate() {
        if nulls.get(index / 8)? >> (index % 8) & 1 != 0 {
            continue;
        }
        // enum_field_types.
        let bytes = match kind {
            0x06 => 0,
            0x01 => 1,
            0x02 | 0x0d => 2,
            0x03 | 0x04 | 0x09 => 4,
            0x05 | 0x08 => 8,
            0x07 | 0x0a..=0x0c => {
                let length = *body.first()?;
                1 + u64::from(length)
            }
            _ => integer(&mut body)?,
        };
        skip(&mut body, bytes)?;
    }
    Some(body)
}
