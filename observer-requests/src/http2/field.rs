//! Fields of heads and trailers, as far as they matter.

use std::sync::{Arc, LazyLock};

use super::string::{Broken, Text};
use crate::call::Method;
use crate::grpc;
use crate::text::cut;
use crate::trace_context::{self, Part};

/// Longest path that is kept.
pub(super) const MAX_PATH: usize = 2048;
/// Longest other text that is kept.
const MAX_TEXT: usize = 512;
/// Longest name that matters.
const MAX_NAME: usize = 32;

/// A field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:authority`.
    Authority,
    /// `:status`.
    Status,
    /// Another pseudo-header field (RFC 9113, 8.3).
    Pseudo,
    /// `host`.
    Host,
    /// `user-agent`.
    UserAgent,
    /// `content-length`.
    ContentLength,
    /// `content-type`.
    ContentType,
    /// `grpc-status`.
    GrpcStatus,
    /// A caller's context.
    Trace(trace_context::Name),
    /// It doesn't matter.
    Other,
    /// It was added to the table when nobody looked.
    Unknown,
}

/// A field's value; what can't be one of its name is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Not kept, or not known.
    None,
    /// Of [`Name::Method`].
    Method(Method),
    /// Of a path, an authority, a host, a user agent.
    Text(Arc<str>),
    /// Of a status, a length, gRPC's status.
    Number(u64),
    /// Of a content type: whether it is gRPC's.
    Grpc(bool),
    /// Of a caller's context.
    Part(Part),
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: Name,
    pub value: Value,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" => Self::Authority,
            b":status" => Self::Status,
            [b':', ..] => Self::Pseudo,
            b"host" => Self::Host,
            b"user-agent" => Self::UserAgent,
            b"content-length" => Self::ContentLength,
            b"content-type" => Self::ContentType,
            b"grpc-status" => Self::GrpcStatus,
            _ => trace_context::Name::of(name).map_or(Self::Other, Self::Trace),
        }
    }
}

impl Field {
    pub const UNKNOWN: Self = Self::new(Name::Unknown, Value::None);

    const fn new(name: Name, value: Value) -> Self {
        Self { name, value }
    }

    /// The static table (RFC 7541, appendix A), from 1.
    pub fn of_static(index: u8) -> Self {
        static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| "/".into());
        static INDEX: LazyLock<Arc<str>> = LazyLock::new(|| "/index.html".into());
        let status = |status| Self::new(Name::Status, Value::Number(status));
        match index {
            1 => Self::new(Name::Authority, Value::None),
            2 => Self::new(Name::Method, Value::Method(Method::Get)),
            3 => Self::new(Name::Method, Value::Method(Method::Post)),
            4 => Self::new(Name::Path, Value::Text(ROOT.clone())),
            5 => Self::new(Name::Path, Value::Text(INDEX.clone())),
            6 | 7 => Self::new(Name::Pseudo, Value::None),
            8 => status(200),
            9 => status(204),
            10 => status(206),
            11 => status(304),
            12 => status(400),
            13 => status(404),
            14 => status(500),
            28 => Self::new(Name::ContentLength, Value::None),
            31 => Self::new(Name::ContentType, Value::Grpc(false)),
            38 => Self::new(Name::Host, Value::None),
            58 => Self::new(Name::UserAgent, Value::None),
            _ => Self::new(Name::Other, Value::None),
        }
    }

    /// Bytes of its text.
    pub fn text_len(&self) -> usize {
        match &self.value {
            Value::Text(text) => text.len(),
            _ => 0,
        }
    }
}

/// Makes fields of strings.
#[derive(Debug, Default)]
pub(super) struct Reader {
    scratch: Vec<u8>,
    /// The last host and user agent, which come again mostly.
    host: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
}

impl Reader {
    /// The name that `text` is.
    pub fn name(&mut self, text: &Text<'_>) -> Result<Name, Broken> {
        text.decode(&mut self.scratch, MAX_NAME)?;
        Ok(Name::of(&self.scratch))
    }

    /// The field of this name with this value.
    pub fn field(&mut self, name: Name, text: &Text<'_>) -> Result<Field, Broken> {
        let limit = match name {
            Name::Pseudo | Name::Other | Name::Unknown => {
                return Ok(Field::new(name, Value::None));
            }
            Name::Path => MAX_PATH,
            _ => MAX_TEXT,
        };
        text.decode(&mut self.scratch, limit)?;
        let text = self.scratch.as_slice();
        let value = match name {
            Name::Method => {
                let name = std::str::from_utf8(text).unwrap_or_default();
                match Method::named(name) {
                    Method::Other if !name.is_empty() => {
                        Value::Text(cut(name, Method::LONGEST).into())
                    }
                    method => Value::Method(method),
                }
            }
            Name::Path => Value::Text(String::from_utf8_lossy(text).into()),
            Name::Authority | Name::Host => again(&mut self.host, text),
            Name::UserAgent => again(&mut self.user_agent, text),
            Name::Status | Name::ContentLength => number(text).map_or(Value::None, Value::Number),
            Name::GrpcStatus => {
                grpc::status(text).map_or(Value::None, |status| Value::Number(status.into()))
            }
            Name::ContentType => Value::Grpc(grpc::is_grpc(text)),
            Name::Trace(name) => Part::read(name, text).map_or(Value::None, Value::Part),
            Name::Pseudo | Name::Other | Name::Unknown => Value::None,
        };
        Ok(Field::new(name, value))
    }
}

/// The same string as before, where it is the same.
fn again(last: &mut Option<Arc<str>>, text: &[u8]) -> Value {
    if let Some(last) = last
        && last.as_bytes() == text
    {
        return Value::Text(last.clone());
    }
    let new: Arc<str> = String::from_utf8_lossy(text).into();
    *last = Some(new.clone());
    Value::Text(new)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}
