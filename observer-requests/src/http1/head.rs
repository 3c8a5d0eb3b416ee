//! Heads of requests and answers (RFC 9112, 2 to 6; RFC 9110).

use std::borrow::Cow;
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
    /// As it was sent.
    pub name: &'a str,
    pub target: Cow<'a, str>,
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
    /// Whether it agrees to go on in HTTP/2 (RFC 7540, 3.2).
    pub to_http2: bool,
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
    match text_request(data) {
        Parsed::Invalid => raw_request(data),
        parsed => parsed,
    }
}

/// One with a target of raw bytes that are no UTF-8 (RFC 9112, 3.2 wants them
/// escaped; servers take them).
fn raw_request(data: &[u8]) -> Parsed<RequestHead<'_>> {
    let mut words = data.splitn(3, |byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Parsed::Invalid;
    };
    let raw = !target.is_ascii() && !target.iter().any(u8::is_ascii_control);
    if !raw || begins_request(data).is_none() {
        return Parsed::Invalid;
    }
    let Some(rest) = words.next() else {
        return Parsed::Partial;
    };
    // Of the same length, for what follows to stay where it is.
    let stands_in = vec![b'x'; target.len()];
    let copy = [method, b" ", &stands_in, b" ", rest].concat();
    let (framing, context, version, length) = match text_request(&copy) {
        Parsed::Whole(head, length) => (head.framing, head.context, head.version, length),
        Parsed::Partial => return Parsed::Partial,
        Parsed::Invalid => return Parsed::Invalid,
    };
    let name = std::str::from_utf8(method).unwrap_or_default();
    let fields = rest.split(|byte| *byte == b'\n');
    let field = |wanted: &[u8]| {
        let mut values = fields.clone().filter_map(|line| {
            let (name, value) = line.split_at_checked(wanted.len())?;
            let named = name.eq_ignore_ascii_case(wanted);
            named.then(|| value.strip_prefix(b":"))?
        });
        values.next().map(<[u8]>::trim_ascii)
    };
    let head = RequestHead {
        method: Method::named(name),
        name,
        target: Cow::Owned(escaped(target)),
        version,
        host: field(b"host"),
        user_agent: field(b"user-agent"),
        framing,
        context,
    };
    Parsed::Whole(head, length)
}

/// A target with all that isn't ASCII escaped (RFC 3986, 2.1).
pub(super) fn escaped(target: &[u8]) -> String {
    let mut text = String::with_capacity(target.len());
    for byte in target {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(digit.into(), 16).unwrap_or_default();
                text.push(digit.to_ascii_uppercase());
            }
        }
    }
    text
}

/// A request's head whose target is a text.
fn text_request(data: &[u8]) -> Parsed<RequestHead<'_>> {
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
        method: parsed.method.map_or(Method::Other, Method::named),
        name: parsed.method.unwrap_or_default(),
        target: parsed.path.unwrap_or_default().into(),
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
        let upgrades = |field: &Header<'_>| {
            field.name.eq_ignore_ascii_case("upgrade")
                && field.value.trim_ascii().eq_ignore_ascii_case(b"h2c")
        };
        let head = AnswerHead {
            status,
            framing: Framing::None,
            to_http2: status == 101 && parsed.headers.iter().any(upgrades),
        };
        return Parsed::Whole(head, length);
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
    let head = AnswerHead {
        status,
        framing,
        to_http2: false,
    };
    Parsed::Whole(head, length)
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

/// The method of a request that `data` begins with: one of RFC 9110's, or another
/// one before what looks like a target.
pub(super) fn begins_request(data: &[u8]) -> Option<Method> {
    let end = data
        .iter()
        .take(Method::LONGEST + 1)
        .position(|byte| *byte == b' ')?;
    let (name, target) = data.split_at_checked(end)?;
    let other = || {
        let usual = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
        let target = target.trim_ascii_start();
        let begins = target.starts_with(b"/") || target.starts_with(b"http");
        name.len() > 2 && name.iter().all(usual) && begins
    };
    match Method::named(std::str::from_utf8(name).ok()?) {
        Method::Other => other().then_some(Method::Other),
        known => Some(known),
    }
}

/// Whether `data` is the beginning of an answer, as far as it goes.
pub(super) fn begins_answer(data: &[u8]) -> bool {
    const VERSION: &[u8] = b"HTTP/1.";
    VERSION.iter().zip(data).all(|(due, byte)| due == byte)
}

fn version(minor: Option<u8>) -> HttpVersion {
    match minor {
        Some(0) => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}
