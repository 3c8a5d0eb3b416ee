//! The binary protocol (`doc/protocol-binary.txt` of memcached's source):
//! messages with a header, and a number by which an answer's question is found.

use super::commands::{Command, Kind};
use super::{Question, Quiet};
use crate::frames::Head;

/// First byte of a request.
pub const REQUEST: u8 = 0x80;
/// First byte of an answer.
pub const ANSWER: u8 = 0x81;

/// Bytes of a header.
const HEADER: usize = 24;
/// Nothing is longer.
const MAX_BODY: u32 = 1 << 30;

/// Operations whose answers are peculiar.
mod opcode {
    pub const STAT: u8 = 0x10;
    pub const QUIT_QUIETLY: u8 = 0x17;
}

/// Statuses that are no errors.
mod status {
    pub const OK: u16 = 0;
    pub const NOT_FOUND: u16 = 1;
    pub const EXISTS: u16 = 2;
    pub const NOT_STORED: u16 = 5;
    pub const AUTHENTICATION_GOES_ON: u16 = 0x21;
}

/// What is looked at in a message.
pub struct Header {
    /// What is to be done, or was.
    pub opcode: u8,
    /// Bytes of the key.
    key: u16,
    /// Of an answer: how it went.
    pub status: u16,
    /// What question and answer have in common.
    pub opaque: u32,
}

/// The head of a message that begins with `first`.
pub fn head(data: &[u8], first: u8) -> Head {
    if data.first().is_some_and(|byte| *byte != first) {
        return Head::Wrong;
    }
    let Some([_, _, key_high, key_low, extras, _, _, _, body @ ..]) = data.first_chunk::<12>()
    else {
        return Head::Short;
    };
    let own = u32::from(u16::from_be_bytes([*key_high, *key_low])) + u32::from(*extras);
    match u32::from_be_bytes(*body) {
        body if body < own || body > MAX_BODY => Head::Wrong,
        body => Head::Message {
            length: HEADER as u64 + u64::from(body),
            wanted: HEADER,
        },
    }
}

impl Header {
    /// Of a message; `None` if not all of it was captured.
    pub fn read(message: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = message.first_chunk()?;
        let [
            _,
            opcode,
            k1,
            k0,
            _,
            _,
            s1,
            s0,
            _,
            _,
            _,
            _,
            o3,
            o2,
            o1,
            o0,
            ..,
        ] = *header;
        Some(Self {
            opcode,
            key: u16::from_be_bytes([k1, k0]),
            status: u16::from_be_bytes([s1, s0]),
            opaque: u32::from_be_bytes([o3, o2, o1, o0]),
        })
    }

    /// Whether other answers with the same number follow.
    pub fn goes_on(&self) -> bool {
        self.opcode == opcode::STAT && self.status == status::OK && self.key > 0
    }

    /// What went wrong, if anything did.
    pub fn error(&self, kind: Kind) -> Option<String> {
        let about_key = matches!(kind, Kind::Get(_) | Kind::Store(_) | Kind::Change);
        let name = match self.status {
            status::OK | status::AUTHENTICATION_GOES_ON => return None,
            status::NOT_FOUND | status::EXISTS | status::NOT_STORED if about_key => return None,
            status::NOT_FOUND => "KEY_ENOENT",
            status::EXISTS => "KEY_EEXISTS",
            3 => "E2BIG",
            4 => "EINVAL",
            status::NOT_STORED => "NOT_STORED",
            6 => "DELTA_BADVAL",
            7 => "NOT_MY_VBUCKET",
            0x20 => "AUTH_ERROR",
            0x81 => "UNKNOWN_COMMAND",
            0x82 => "ENOMEM",
            0x83 => "NOT_SUPPORTED",
            0x84 => "EINTERNAL",
            0x85 => "EBUSY",
            0x86 => "ETMPFAIL",
            other => return Some(other.to_string()),
        };
        Some(name.to_owned())
    }

    /// The word of the text protocol that says the same of a key.
    pub fn word(&self) -> &'static [u8] {
        match self.status {
            status::OK => b"HD",
            status::NOT_FOUND => b"NF",
            status::EXISTS => b"EX",
            status::NOT_STORED => b"NS",
            _ => b"",
        }
    }

    /// The place of the question that it answers.
    pub fn place<'q>(&self, mut questions: impl Iterator<Item = &'q Question>) -> Option<usize> {
        let opaque = Some(u64::from(self.opaque));
        questions
            .position(|question| question.opcode == Some(self.opcode) && question.opaque == opaque)
    }
}

/// What an operation is called, and whether it is answered each time.
fn operation(opcode: u8) -> (&'static [u8], Quiet) {
    use Quiet::{Mostly, Never};
    match opcode {
        0x00 | 0x0c => (b"get", Never),
        0x09 | 0x0d => (b"get", Mostly),
        0x01 => (b"set", Never),
        0x11 => (b"set", Mostly),
        0x02 => (b"add", Never),
        0x12 => (b"add", Mostly),
        0x03 => (b"replace", Never),
        0x13 => (b"replace", Mostly),
        0x04 => (b"delete", Never),
        0x14 => (b"delete", Mostly),
        0x05 => (b"incr", Never),
        0x15 => (b"incr", Mostly),
        0x06 => (b"decr", Never),
        0x16 => (b"decr", Mostly),
        0x08 => (b"flush_all", Never),
        0x18 => (b"flush_all", Mostly),
        0x0a => (b"noop", Never),
        0x0b => (b"version", Never),
        0x0e => (b"append", Never),
        0x19 => (b"append", Mostly),
        0x0f => (b"prepend", Never),
        0x1a => (b"prepend", Mostly),
        opcode::STAT => (b"stats", Never),
        0x1b => (b"verbosity", Never),
        0x1c => (b"touch", Never),
        0x1d | 0x23 => (b"gat", Never),
        0x1e | 0x24 => (b"gat", Mostly),
        0x20 => (b"sasl_list_mechs", Never),
        0x21 => (b"sasl_auth", Never),
        0x22 => (b"sasl_step", Never),
        // QUIT, which is answered, and what isn't known.
        _ => (b"", Never),
    }
}

impl Question {
    /// Of a request; `None` if it is never answered.
    pub fn binary(header: &Header) -> Option<Self> {
        if header.opcode == opcode::QUIT_QUIETLY {
            return None;
        }
        let (name, quiet) = operation(header.opcode);
        let mut question = Self::new(Command::find(name));
        question.quiet = quiet;
        question.opcode = Some(header.opcode);
        question.opaque = Some(header.opaque.into());
        question.arguments = u32::from(header.key > 0);
        if matches!(question.command.kind(), Kind::Get(_)) {
            question.keys = 1;
        }
        Some(question)
    }
}
