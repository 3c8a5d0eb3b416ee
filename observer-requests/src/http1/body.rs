//! Where a message's body ends (RFC 9112, 6 and 7): its bytes are counted, none
//! is kept.

use crate::input::Input;

/// How a head says that its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After so many bytes (6.2).
    Length(u64),
    /// With its last chunk (7.1).
    Chunked,
    /// With its connection (6.3, 8).
    UntilClose,
    /// It contradicts itself, or says something unknown.
    Unknown,
}

/// A body under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    /// Its bytes so far, without chunk sizes and trailers.
    pub size: u64,
    rest: Rest,
}

/// What comes next in a body.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// So many bytes.
    Length(u64),
    /// A chunk's size, of which some digits were read.
    Size { value: u64, digits: u8 },
    /// Extensions of a chunk's size, up to the line's end.
    Extension { size: u64 },
    /// So many bytes of a chunk, with the line's end behind them.
    Data(u64),
    /// Trailers; in a line, so many bytes into it but for its end.
    Trailers { line: u32 },
}

/// How far a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It goes on.
    More,
    /// It is over.
    Over,
    /// Its end, if it was there, is in bytes that nobody saw.
    Lost,
    /// It isn't one.
    Invalid,
}

/// The line's end behind a chunk.
const LINE_END: u64 = 2;
/// Length of what ends most bodies in chunks: `0`, and two lines' ends.
const LAST_CHUNK: u64 = 5;

impl Body {
    /// A body of so many bytes.
    pub fn of_length(length: u64) -> Self {
        Self {
            size: 0,
            rest: Rest::Length(length),
        }
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self {
            size: 0,
            rest: Rest::Size {
                value: 0,
                digits: 0,
            },
        }
    }

    /// Takes what belongs to the body.
    pub fn take(&mut self, input: &mut Input<'_>) -> Taken {
        loop {
            match &mut self.rest {
                Rest::Length(left) => {
                    let skipped = input.skip(*left);
                    *left -= skipped;
                    self.size = self.size.saturating_add(skipped);
                    return if *left == 0 { Taken::Over } else { Taken::More };
                }
                Rest::Data(left) => {
                    let skipped = input.skip(*left);
                    // The line's end is no part of the body.
                    let end = LINE_END.saturating_sub(*left - skipped);
                    self.size = self
                        .size
                        .saturating_add(skipped.saturating_sub(end.min(skipped)));
                    *left -= skipped;
                    if *left > 0 {
                        return Taken::More;
                    }
                    self.rest = Rest::Size {
                        value: 0,
                        digits: 0,
                    };
                }
                rest => {
                    let Some((&byte, more)) = input.data.split_first() else {
                        return unseen(rest, input);
                    };
                    input.data = more;
                    match step(*rest, byte) {
                        Some(next) => *rest = next,
                        None if matches!(rest, Rest::Trailers { line: 0 }) => return Taken::Over,
                        None => return Taken::Invalid,
                    }
                }
            }
        }
    }
}

/// What comes after `byte`; `None` after the last one, and where there can't be
/// such a byte.
fn step(rest: Rest, byte: u8) -> Option<Rest> {
    match (rest, byte) {
        (Rest::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
            // 60 bits are enough for everybody.
            (digits < 15).then(|| Rest::Size {
                value: value << 4 | u64::from(hex(byte)),
                digits: digits + 1,
            })
        }
        (Rest::Size { digits: 0, .. }, _) => None,
        (Rest::Size { value, .. }, b';' | b' ' | b'\t' | b'\r') => {
            Some(Rest::Extension { size: value })
        }
        (Rest::Size { value: size, .. } | Rest::Extension { size }, b'\n') => Some(match size {
            0 => Rest::Trailers { line: 0 },
            size => Rest::Data(size + LINE_END),
        }),
        (Rest::Extension { .. }, _) => Some(rest),
        (Rest::Trailers { line: 0 }, b'\n') => None,
        (Rest::Trailers { .. }, b'\n') => Some(Rest::Trailers { line: 0 }),
        (Rest::Trailers { line: 0 }, b'\r') => Some(rest),
        (Rest::Trailers { line }, _) => Some(Rest::Trailers {
            line: line.saturating_add(1),
        }),
        (Rest::Size { .. } | Rest::Length(_) | Rest::Data(_), _) => None,
    }
}

/// When captured bytes end where a chunk's size or a trailer goes on.
fn unseen(rest: &Rest, input: &mut Input<'_>) -> Taken {
    let hidden = input.hidden;
    input.hidden = 0;
    match rest {
        _ if hidden == 0 => Taken::More,
        // As long as the last chunk: hardly anything else is.
        Rest::Size { digits: 0, .. } if hidden == LAST_CHUNK => Taken::Over,
        Rest::Trailers { line: 0 } if hidden == LINE_END => Taken::Over,
        _ => Taken::Lost,
    }
}

/// A hexadecimal digit's value.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bytes` in pieces of `step`; the rest, the size and how far it came.
    fn take(mut body: Body, bytes: &[u8], step: usize) -> (Taken, u64, Vec<u8>) {
        let mut pieces = bytes.chunks(step);
        while let Some(data) = pieces.next() {
            let mut input = Input { data, hidden: 0 };
            let taken = body.take(&mut input);
            if taken != Taken::More {
                let mut rest = input.data.to_vec();
                rest.extend(pieces.flatten());
                return (taken, body.size, rest);
            }
        }
        (Taken::More, body.size, Vec::new())
    }

    /// Checks chunked bodies with extensions and trailers (RFC 9112, 7.1), in
    /// pieces of any length.
    #[test]
    fn chunked() {
        let cases: &[(&[u8], u64)] = &[
            (b"0\r\n\r\n", 0),
            (b"5\r\nhello\r\n0\r\n\r\n", 5),
            (
                b"5;a=\"b\"\r\nhello\r\n00A \r\n0123456789\r\n000\r\n\r\n",
                15,
            ),
            (b"1\r\nx\r\n0\r\nExpires: never\r\nX: y\r\n\r\n", 1),
            (b"2\nab\r\n0\n\n", 2),
        ];
        for (bytes, size) in cases {
            for step in 1..=bytes.len() + 4 {
                let mut all = bytes.to_vec();
                all.extend(b"next");
                let over = take(Body::chunked(), &all, step);
                assert_eq!(over, (Taken::Over, *size, b"next".to_vec()), "{step}");
            }
        }
        for wrong in [
            &b"x\r\n"[..],
            b"\r\n",
            b"5x",
            b"1234567890abcdef\r\n",
            b"-1\r\n",
        ] {
            assert_eq!(take(Body::chunked(), wrong, 1).0, Taken::Invalid);
        }
        assert_eq!(take(Body::chunked(), b"5\r\nhel", 9).0, Taken::More);
    }

    /// Checks that chunks are counted also where their bytes weren't captured,
    /// and that the last one is recognised by its length.
    #[test]
    fn hidden_chunks() {
        let taken = |data: &[u8], hidden| {
            let mut body = Body::chunked();
            let mut input = Input { data, hidden };
            let taken = body.take(&mut input);
            assert!(input.is_empty());
            (taken, body.size)
        };
        assert_eq!(taken(b"1000\r\nabc", 4093), (Taken::More, 4096));
        assert_eq!(taken(b"1000\r\nabc", 4095), (Taken::More, 4096));
        assert_eq!(taken(b"1000\r\nabc", 4095 + 5), (Taken::Over, 4096));
        assert_eq!(taken(b"1000\r\nabc", 4095 + 9), (Taken::Lost, 4096));
        assert_eq!(taken(b"10", 4), (Taken::Lost, 0));
        assert_eq!(taken(b"0\r\n", 2), (Taken::Over, 0));
    }

    /// Checks bodies of known length (RFC 9112, 6.2).
    #[test]
    fn of_length() {
        let over = take(Body::of_length(5), b"hellonext", 2);
        assert_eq!(over, (Taken::Over, 5, b"next".to_vec()));
        assert_eq!(take(Body::of_length(9), b"hello", 2).0, Taken::More);
        let mut input = Input {
            data: b"a",
            hidden: 1 << 40,
        };
        let mut body = Body::of_length(u64::MAX);
        assert_eq!(body.take(&mut input), Taken::More);
        assert_eq!((body.size, input.left()), ((1 << 40) + 1, 0));
    }
}
