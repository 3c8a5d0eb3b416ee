//! Heads of requests and answers (RFC 9112, 2 to 6; RFC 9110).

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::body::Framing;
use crate::call::{HttpVersion, Method};
use crate::protocol::RemoteContext;
use crate::trace_context;

/// Longest head that is kept while it comes in several chunks.
pub(super) const MAX_HEAD: usize = 4096;
/// Header fields of one head; with more it isn't understood.
const MAX_FIELDS: usize = 128;

/// What bytes say about a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    /// It is complete, and as long as that.
    Whole(T, usize),
    /// So far it is one.
    Partial,
    /// It isn't one.
    Invalid,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestHead<'a> {
    pub method: Method,
    pub target: &'a str,
    pub version: HttpVersion,
    pub host: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub framing: Framing,
    pub context: Option<RemoteContext>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct AnswerHead {
    pub status: u16,
    pub framing: Framing,
}

/// What the body's framing follows from.
#[derive(Default)]
struct Sizes {
    length: Option<u64>,
    /// Lengths contradict each other, or are none.
    unknown: bool,
    /// Whether the last transfer coding is in chunks.
    chunked: Option<bool>,
}

impl Sizes {
    fn content_length(&mut self, value: &[u8]) {
        let length = length(value);
        // Two that differ are an attack (RFC 9112, 6.3, 5).
        self.unknown |= length.is_none() || (self.length.is_some() && self.length != length);
        self.length = length;
    }

    fn transfer_encoding(&mut self, value: &[u8]) {
        let value = value.trim_ascii_end();
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or(value);
        self.chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    }

    /// RFC 9112, 6.3, 3 to 8. `coded` is how a message in another transfer coding
    /// ends, `otherwise` one that says nothing.
    fn framing(&self, coded: Framing, otherwise: Framing) -> Framing {
        match (self.chunked, self.length) {
            (Some(true), _) => Framing::Chunked,
            (Some(false), _) => coded,
            _ if self.unknown => Framing::Unknown,
            (None, Some(0)) => Framing::None,
            (None, Some(length)) => Framing::Length(length),
            (None, None) => otherwise,
        }
    }
}

/// A length in decimal digits; the same one may stand there twice.
fn length(value: &[u8]) -> Option<u64> {
    let mut numbers = value.split(|byte| *byte == b',').map(|number| {
        let digits = number.trim_ascii();
        if digits.is_empty() || digits.len() > 18 {
            return None;
        }
        digits.iter().try_fold(0, |length, digit| {
            digit
                .is_ascii_digit()
                .then(|| length * 10 + u64::from(digit - b'0'))
        })
    });
    let first = numbers.next()??;
    numbers.all(|number| number == Some(first)).then_some(first)
}

/// Forgiving where programs are.
fn config() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    config
}

/// A request's head at the beginning of `data`.
pub(super) fn request(data: &[u8]) -> Parsed<RequestHead<'_>> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match config().parse_request_with_uninit_headers(&mut parsed, data, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Invalid,
    };
    let mut sizes = Sizes::default();
    let mut trace = trace_context::Headers::default();
    let (mut host, mut user_agent) = (None, None);
    for Header { name, value } in parsed.headers.iter() {
        let name = name.as_bytes();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => host = Some(*value),
            10 if name.eq_ignore_ascii_case(b"user-agent") => user_agent = Some(*value),
            14 if name.eq_ignore_ascii_case(b"content-length") => sizes.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => sizes.transfer_encoding(value),
            2 | 10..=12 => trace.read(name, value),
            _ => {}
        }
    }
    let head = RequestHead {
        method: parsed.method.map_or(Method::Other, method),
        target: parsed.path.unwrap_or_default(),
        version: version(parsed.version),
        host,
        user_agent,
        framing: sizes.framing(Framing::Unknown, Framing::None),
        context: trace.context(),
    };
    Parsed::Whole(head, length)
}

/// The head of an answer to a request with this method, at the beginning of
/// `data`.
pub(super) fn answer(data: &[u8], method: Method) -> Parsed<AnswerHead> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let length = match config().parse_response_with_uninit_headers(&mut parsed, data, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Invalid,
    };
    let status = parsed.code.unwrap_or_default();
    // RFC 9112, 6.3, 1.
    if method == Method::Head || status < 200 || matches!(status, 204 | 304) {
        let framing = Framing::None;
        return Parsed::Whole(AnswerHead { status, framing }, length);
    }
    let mut sizes = Sizes::default();
    for Header { name, value } in parsed.headers.iter() {
        let name = name.as_bytes();
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => sizes.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => sizes.transfer_encoding(value),
            _ => {}
        }
    }
    let framing = sizes.framing(Framing::UntilClose, Framing::UntilClose);
    Parsed::Whole(AnswerHead { status, framing }, length)
}

/// The lines that are whole in a head's beginning, as a head of its own: what
/// can be known where the rest wasn't captured. `None` if there are none.
pub(super) fn whole_lines(data: &[u8]) -> Option<Vec<u8>> {
    let end = data.iter().rposition(|byte| *byte == b'\n')?;
    let mut lines = data.get(..=end)?.to_vec();
    lines.extend(b"\r\n");
    Some(lines)
}

/// Whether a head's end, an empty line, is in `data` at `from` or later.
pub(super) fn has_end(data: &[u8], from: usize) -> bool {
    let mut lines = data.iter().enumerate().skip(from);
    lines.any(|(at, byte)| {
        let ends_line = |before: &[u8]| before.ends_with(b"\n") || before.ends_with(b"\n\r");
        *byte == b'\n' && data.get(..at).is_some_and(ends_line)
    })
}

/// The method of a request that `data` begins with, if it is a known one.
pub(super) fn begins_request(data: &[u8]) -> Option<Method> {
    let end = data.iter().take(8).position(|byte| *byte == b' ')?;
    let name = std::str::from_utf8(data.get(..end)?).ok()?;
    Some(method(name)).filter(|method| *method != Method::Other)
}

/// Whether `data` is the beginning of an answer, as far as it goes.
pub(super) fn begins_answer(data: &[u8]) -> bool {
    const VERSION: &[u8] = b"HTTP/1.";
    VERSION.iter().zip(data).all(|(due, byte)| due == byte)
}

/// A method by its name, which is case-sensitive (RFC 9110, 9.1).
pub(crate) fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        _ => Method::Other,
    }
}

fn version(minor: Option<u8>) -> HttpVersion {
    match minor {
        Some(0) => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}
