//! Who asked for a request, as its head tells: W3C Trace Context's
//! `traceparent` (<https://www.w3.org/TR/trace-context/>, 3.2) and Zipkin's b3
//! (<https://github.com/openzipkin/b3-propagation>), in one header or several.

use super::protocol::RemoteContext;

/// A header that tells of a caller's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `traceparent`.
    TraceParent,
    /// `b3`.
    B3,
    /// `X-B3-TraceId`.
    B3TraceId,
    /// `X-B3-SpanId`.
    B3SpanId,
    /// `X-B3-Sampled`.
    B3Sampled,
    /// `X-B3-Flags`.
    B3Flags,
}

impl Name {
    /// The header with this name, in any case.
    pub fn of(name: &[u8]) -> Option<Self> {
        let (known, header): (&[u8], _) = match name.len() {
            2 => (b"b3", Self::B3),
            10 => (b"x-b3-flags", Self::B3Flags),
            11 if matches!(name, [b't' | b'T', ..]) => (b"traceparent", Self::TraceParent),
            11 => (b"x-b3-spanid", Self::B3SpanId),
            12 if matches!(name, [_, _, _, _, _, b't' | b'T', ..]) => {
                (b"x-b3-traceid", Self::B3TraceId)
            }
            12 => (b"x-b3-sampled", Self::B3Sampled),
            _ => return None,
        };
        name.eq_ignore_ascii_case(known).then_some(header)
    }
}

/// What one header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `traceparent`; `None` if it is malformed.
    Parent(Option<RemoteContext>),
    /// `b3`.
    Single(RemoteContext),
    /// `X-B3-TraceId`.
    TraceId([u8; 16]),
    /// `X-B3-SpanId`.
    SpanId([u8; 8]),
    /// `X-B3-Sampled`, or `X-B3-Flags` with the debug flag.
    Sampled(bool),
}

impl Part {
    /// Reads a header's value; `None` if it tells nothing.
    pub fn read(name: Name, value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        match name {
            Name::TraceParent => Some(Self::Parent(trace_parent(value))),
            Name::B3 => single(value).map(Self::Single),
            Name::B3TraceId => trace_id(value).map(Self::TraceId),
            Name::B3SpanId => hex(value).filter(|id| *id != [0; 8]).map(Self::SpanId),
            // Older senders wrote words.
            Name::B3Sampled => match value {
                b"1" | b"true" => Some(Self::Sampled(true)),
                b"0" | b"false" => Some(Self::Sampled(false)),
                _ => None,
            },
            Name::B3Flags => (value == b"1").then_some(Self::Sampled(true)),
        }
    }
}

/// What a head's headers tell together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers {
    parent: Option<Option<RemoteContext>>,
    single: Option<RemoteContext>,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
    sampled: Option<bool>,
}

impl Headers {
    /// Adds what one header told.
    pub fn add(&mut self, part: Part) {
        match part {
            // Of two nobody knows which is right.
            Part::Parent(context) => {
                self.parent = Some(context.filter(|_| self.parent.is_none()));
            }
            Part::Single(context) => self.single = Some(context),
            Part::TraceId(id) => self.trace_id = Some(id),
            Part::SpanId(id) => self.span_id = Some(id),
            // The debug flag implies a decision to sample, whatever else is said.
            Part::Sampled(sampled) => {
                self.sampled = Some(sampled || self.sampled == Some(true));
            }
        }
    }

    /// Adds a header, if it is one of these.
    pub fn read(&mut self, name: &[u8], value: &[u8]) {
        if let Some(part) = Name::of(name).and_then(|name| Part::read(name, value)) {
            self.add(part);
        }
    }

    /// The caller: by `traceparent`, else by `b3`, else by `X-B3-*`.
    pub fn context(&self) -> Option<RemoteContext> {
        self.parent.flatten().or(self.single).or_else(|| {
            Some(RemoteContext {
                trace_id: self.trace_id?,
                span_id: self.span_id?,
                sampled: self.sampled,
            })
        })
    }
}

/// W3C Trace Context, 3.2.2: `version-traceid-parentid-flags`, in lower case.
/// Later versions may have more behind a dash (3.2.4, "Versioning").
fn trace_parent(value: &[u8]) -> Option<RemoteContext> {
    const LENGTH: usize = 55;
    let head = value.get(..LENGTH)?;
    if head.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    // As long as they have to be, there are no more than these.
    let mut parts = head.split(|byte| *byte == b'-');
    let [version] = hex(parts.next()?)?;
    let more = value.get(LENGTH);
    if version == 0xff || (version == 0 && more.is_some()) || more.is_some_and(|b| *b != b'-') {
        return None;
    }
    let (trace_id, span_id) = (hex(parts.next()?)?, hex(parts.next()?)?);
    let [flags] = hex(parts.next()?)?;
    context(trace_id, span_id, Some(flags & 1 != 0))
}

/// `{TraceId}-{SpanId}-{SamplingState}-{ParentSpanId}`, of which the last two
/// may be missing. (A sampling state alone names nobody.)
fn single(value: &[u8]) -> Option<RemoteContext> {
    let mut parts = value.split(|byte| *byte == b'-');
    let trace_id = trace_id(parts.next()?)?;
    let span_id = hex(parts.next()?)?;
    let sampled = match parts.next() {
        None => None,
        Some(b"1" | b"d") => Some(true),
        Some(b"0") => Some(false),
        // A parent in place of a decision, which is left open.
        Some(parent) if hex::<8>(parent).is_some() => None,
        Some(_) => return None,
    };
    context(trace_id, span_id, sampled)
}

/// 16 or 8 bytes; the shorter one is the lower half.
fn trace_id(value: &[u8]) -> Option<[u8; 16]> {
    let id = hex(value).or_else(|| {
        let half: [u8; 8] = hex(value)?;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&half);
        Some(id)
    })?;
    (id != [0; 16]).then_some(id)
}

/// Ids of zeroes are none.
fn context(trace_id: [u8; 16], span_id: [u8; 8], sampled: Option<bool>) -> Option<RemoteContext> {
    (trace_id != [0; 16] && span_id != [0; 8]).then_some(RemoteContext {
        trace_id,
        span_id,
        sampled,
    })
}

/// Exactly `N` bytes in hexadecimal.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = text.as_chunks() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: [u8; 16] = [
        0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31,
        0x9c,
    ];
    const SPAN: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

    fn read(headers: &[(&str, &str)]) -> Option<RemoteContext> {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.read(name.as_bytes(), value.as_bytes());
        }
        all.context()
    }

    fn told(sampled: Option<bool>) -> Option<RemoteContext> {
        Some(RemoteContext {
            trace_id: TRACE,
            span_id: SPAN,
            sampled,
        })
    }

    /// Checks traceparent by the rules of W3C Trace Context, 3.2.2 and 3.2.4.
    #[test]
    fn traceparent() {
        let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        let of = |value: &str| read(&[("TraceParent", value)]);
        assert_eq!(of(&format!("00-{ids}-01")), told(Some(true)));
        assert_eq!(of(&format!(" 00-{ids}-00 ")), told(Some(false)));
        // Only the lowest flag is known.
        assert_eq!(of(&format!("00-{ids}-fe")), told(Some(false)));
        // Later versions: as far as this one goes.
        assert_eq!(of(&format!("cc-{ids}-01")), told(Some(true)));
        assert_eq!(of(&format!("cc-{ids}-01-what")), told(Some(true)));
        for wrong in [
            format!("ff-{ids}-01"),
            format!("00-{ids}-01-what"),
            format!("00-{ids}-01-"),
            format!("cc-{ids}-01what"),
            format!("00-{ids}-0"),
            format!("00-{ids}"),
            format!("0g-{ids}-01"),
            format!("00-{}-01", ids.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16)),
            format!("00_{ids}-01"),
            String::new(),
        ] {
            assert_eq!(of(&wrong), None, "{wrong:?}");
        }
        // Two of them are none, but b3 may still tell.
        let value = format!("00-{ids}-01");
        let twice = [("traceparent", value.as_str()), ("traceparent", &value)];
        assert_eq!(read(&twice), None);
        let other = format!("{ids}-0");
        assert_eq!(
            read(&[twice[0], twice[1], ("b3", &other)]),
            told(Some(false))
        );
        assert_eq!(read(&[("b3", &other), twice[0]]), told(Some(true)));
    }

    /// Checks b3 in one header.
    #[test]
    fn b3_single() {
        let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        let of = |value: &str| read(&[("b3", value)]);
        assert_eq!(of(ids), told(None));
        assert_eq!(of(&format!("{ids}-1")), told(Some(true)));
        assert_eq!(of(&format!("{ids}-d")), told(Some(true)));
        assert_eq!(of(&format!("{ids}-0-05e3ac9a4f6e3b90")), told(Some(false)));
        assert_eq!(of(&format!("{ids}-x")), None);
        assert_eq!(of("0"), None);
        assert_eq!(of(""), None);
        let short = of("8448eb211c80319c-b7ad6b7169203331-1").map(|c| c.trace_id);
        let mut half = TRACE;
        half[..8].fill(0);
        assert_eq!(short, Some(half));
    }

    /// Checks b3 in several headers.
    #[test]
    fn b3_several() {
        let trace = ("X-B3-TraceId", "0af7651916cd43dd8448eb211c80319c");
        let span = ("x-b3-spanid", "b7ad6b7169203331");
        assert_eq!(read(&[trace, span]), told(None));
        assert_eq!(
            read(&[trace, ("X-B3-Sampled", "0"), span]),
            told(Some(false))
        );
        let debug = [
            trace,
            span,
            ("X-B3-Flags", "1"),
            ("X-B3-ParentSpanId", "05e3"),
        ];
        assert_eq!(read(&debug), told(Some(true)));
        assert_eq!(read(&[trace]), None);
        assert_eq!(read(&[span, ("X-B3-TraceId", "12")]), None);
        assert_eq!(read(&[trace, ("X-B3-SpanId", "0000000000000000")]), None);
    }
}
