//! Heads of messages and the fields that are looked at (documentation, section
//! "Message Formats").

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use crate::frames::Head;

/// Bytes of a statement's text that are looked at, with its name.
const TEXT: usize = 4096;
/// Bytes of other messages that are looked at: names, tags, the beginning of an
/// error.
const SHORT: usize = 160;
/// No message is longer (PostgreSQL's own limit, `PQ_LARGE_MESSAGE_LIMIT`).
const MAX_MESSAGE: u32 = 0x3fff_ffff;
/// Nor a startup packet (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP: u32 = 10_000;

fn big32(data: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*data.first_chunk()?))
}

/// The head of a message of the client's.
pub fn frontend(data: &[u8], started: bool) -> Head {
    if !started && data.first() == Some(&0) {
        return match big32(data) {
            Some(length @ 8..=MAX_STARTUP) => Head::Message {
                length: length.into(),
                wanted: 1024,
            },
            Some(_) => Head::Wrong,
            None => Head::Short,
        };
    }
    typed(data, |kind| match kind {
        b'Q' | b'P' => Some(TEXT),
        b'B' | b'C' | b'D' | b'E' => Some(SHORT),
        b'F' | b'H' | b'S' | b'X' | b'c' | b'd' | b'f' | b'p' => Some(5),
        _ => None,
    })
}

/// The head of a message of the server's; `byte` says that it is due to answer
/// with a single byte.
pub fn backend(data: &[u8], byte: bool) -> Head {
    if byte {
        return Head::Message {
            length: 1,
            wanted: 1,
        };
    }
    typed(data, |kind| match kind {
        b'C' | b'E' => Some(SHORT),
        b'1' | b'2' | b'3' | b'A' | b'D' | b'G' | b'H' | b'I' | b'K' | b'N' | b'R' | b'S'
        | b'T' | b'V' | b'W' | b'Z' | b'c' | b'd' | b'n' | b's' | b't' | b'v' => Some(5),
        _ => None,
    })
}

fn typed(data: &[u8], wanted: impl Fn(u8) -> Option<usize>) -> Head {
    let Some((kind, rest)) = data.split_first() else {
        return Head::Short;
    };
    let Some(wanted) = wanted(*kind) else {
        return Head::Wrong;
    };
    match big32(rest) {
        Some(length @ 4..=MAX_MESSAGE) => Head::Message {
            length: u64::from(length) + 1,
            wanted,
        },
        Some(_) => Head::Wrong,
        None => Head::Short,
    }
}

/// A message without type.
pub enum Startup<'a> {
    /// SSLRequest or GSSENCRequest.
    Encryption,
    /// StartupMessage.
    Session(Session<'a>),
    /// CancelRequest.
    Cancel,
    /// Another one.
    Wrong,
}

/// What a StartupMessage says.
#[derive(Default)]
pub struct Session<'a> {
    /// The database; without one, it is called like the user.
    pub database: Option<&'a str>,
    /// Whether it is a replica's connection.
    pub replication: bool,
}

/// Reads a message without type, with its length.
pub fn startup(message: &[u8]) -> Startup<'_> {
    const CANCEL: u32 = 80_877_102;
    const SSL: u32 = 80_877_103;
    const GSS: u32 = 80_877_104;
    let behind_length = message.get(4..).unwrap_or_default();
    let Some((version, fields)) = behind_length.split_first_chunk() else {
        return Startup::Wrong;
    };
    match u32::from_be_bytes(*version) {
        SSL | GSS => return Startup::Encryption,
        CANCEL => return Startup::Cancel,
        version if version >> 16 == 3 => {}
        _ => return Startup::Wrong,
    }
    let mut session = Session::default();
    let mut user = None;
    let mut fields = Names(fields);
    while let (Some(name @ [_, ..]), Some(value)) = (fields.next(), fields.next()) {
        let value = std::str::from_utf8(value).ok().filter(|v| !v.is_empty());
        match name {
            b"user" => user = value,
            b"database" => session.database = value,
            b"replication" => {
                let off = ["false", "off", "no", "0"];
                session.replication = value.is_some_and(|value| !off.contains(&value));
            }
            _ => {}
        }
    }
    session.database = session.database.or(user);
    Startup::Session(session)
}

/// Strings that end with a zero, one after the other.
pub struct Names<'a>(pub &'a [u8]);

impl<'a> Names<'a> {
    /// The next whole one.
    pub fn next(&mut self) -> Option<&'a [u8]> {
        let found = string(self.0)?;
        self.0 = self.0.get(found.len() + 1..)?;
        Some(found)
    }
}

/// Bytes up to a zero.
pub fn string(data: &[u8]) -> Option<&[u8]> {
    let end = data.iter().position(|byte| *byte == 0)?;
    data.get(..end)
}

/// By which a name is found.
pub fn key(name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    hasher.finish()
}

/// SQLSTATE of an ErrorResponse.
pub fn sqlstate(body: &[u8]) -> Option<[u8; 5]> {
    let mut fields = Names(body);
    // Severity comes first, twice.
    for _ in 0..8 {
        if let [b'C', code @ ..] = fields.next()? {
            let code: [u8; 5] = code.try_into().ok()?;
            return code.iter().all(u8::is_ascii_alphanumeric).then_some(code);
        }
    }
    None
}

/// The first word and the rows of a CommandComplete (`INSERT 0 1`).
pub fn complete(body: &[u8]) -> (&str, Option<u64>) {
    let tag = string(body).unwrap_or(&[]);
    let tag = std::str::from_utf8(tag).unwrap_or("");
    let word = tag.split(' ').next().unwrap_or("");
    let rows = tag.rsplit(' ').next().and_then(|rows| rows.parse().ok());
    (word, rows)
}
