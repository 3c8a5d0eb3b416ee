//! Recognises a protocol by the first bytes of a piece.
//!
//! Runs in the kernel half for each message of a connection that isn't
//! recognised yet, so it decides by a few words, without loops. What looks
//! right and isn't fails in the daemon's parser, which costs a count.

use super::Protocol;

/// Bytes that are looked at.
pub const SNIFFED: usize = 24;

/// What a piece looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sniffed {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Whether it comes from the side that asks.
    pub request: bool,
}

const fn is(protocol: Protocol, request: bool) -> Option<Sniffed> {
    Some(Sniffed { protocol, request })
}

const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

const fn long(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// Of a piece of `length` bytes, which begins with `first` (zeroes behind its
/// end). `datagram` says that it is a message of its own.
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32, datagram: bool) -> Option<Sniffed> {
    if datagram {
        return dns(first, 0, length);
    }
    if length < 4 {
        return None;
    }
    if let Some(found) = http1(first) {
        return Some(found);
    }
    if let Some(found) = postgres(first, length) {
        return Some(found);
    }
    if let Some(found) = http2(first, length) {
        return Some(found);
    }
    if let Some(found) = redis(first, length) {
        return Some(found);
    }
    if let Some(found) = mysql(first, length) {
        return Some(found);
    }
    // Over streams a message is preceded by its length (RFC 1035, 4.2.2).
    // Several may come together.
    if big16(first, 0) + 2 <= length {
        return dns(first, 2, big16(first, 0));
    }
    None
}

#[inline(always)]
fn little32(first: &[u8; SNIFFED], at: usize) -> u32 {
    u32::from_le_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]])
}

#[inline(always)]
fn big32(first: &[u8; SNIFFED], at: usize) -> u32 {
    u32::from_be_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]])
}

#[inline(always)]
fn big16(first: &[u8; SNIFFED], at: usize) -> u32 {
    ((first[at] as u32) << 8) | first[at + 1] as u32
}

/// RFC 9110, 9.3, and the beginning of a status line (RFC 9112, 4).
#[inline(always)]
pub(super) fn http1(first: &[u8; SNIFFED]) -> Option<Sniffed> {
    let four = little32(first, 0);
    if four == word(b"HTTP") {
        return if first[4] == b'/' && first[5] == b'1' && first[6] == b'.' {
            is(Protocol::Http1, false)
        } else {
            None
        };
    }
    // One way for each method: BPF has no conditions but branches, so to have
    // each of them first and combine them later makes a thousand.
    let request = if four == word(b"GET ") || four == word(b"PUT ") {
        true
    } else if four == word(b"POST") || four == word(b"HEAD") {
        first[4] == b' '
    } else if four == word(b"DELE") {
        first[4] == b'T' && first[5] == b'E' && first[6] == b' '
    } else if four == word(b"OPTI") {
        first[4] == b'O' && first[6] == b'S' && first[7] == b' '
    } else if four == word(b"PATC") {
        first[4] == b'H' && first[5] == b' '
    } else if four == word(b"CONN") {
        first[4] == b'E' && first[7] == b' '
    } else {
        four == word(b"TRAC") && first[4] == b'E' && first[5] == b' '
    };
    if request {
        is(Protocol::Http1, true)
    } else {
        None
    }
}

/// The connection preface, or a frame of headers (RFC 9113, 3.4, 4.1 and 6.2)
/// that opens or answers a stream.
#[inline(always)]
fn http2(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    let eight = u64::from_le_bytes([
        first[0], first[1], first[2], first[3], first[4], first[5], first[6], first[7],
    ]);
    if eight == long(b"PRI * HT") {
        return is(Protocol::Http2, true);
    }
    // HEADERS, with END_HEADERS and no undefined flags, on a client's stream.
    const HEADERS: u8 = 1;
    let payload = ((first[0] as u32) << 16) | big16(first, 1);
    let flags = first[4];
    let stream = big32(first, 5);
    if length < 12
        || first[3] != HEADERS
        || payload == 0
        || payload > 16384
        || payload + 9 > length
        || flags & 0x04 == 0
        || flags & !0x2d != 0
        || stream & 0x8000_0001 != 1
    {
        return None;
    }
    // Where the block of headers begins: behind padding and priority.
    let block = if flags & 0x08 != 0 {
        first[10]
    } else {
        first[9]
    };
    let block = if flags & 0x20 != 0 { first[14] } else { block };
    // A dynamic table size update may come first (RFC 7541, 6.3).
    let block = if block & 0xe0 == 0x20 {
        first[10]
    } else {
        block
    };
    // Indexed or literal `:status` is 8..14 of the static table (RFC 7541,
    // appendix A); what asks begins with another pseudo-header, 1..7.
    let index = block & 0x3f;
    match block {
        0x81..=0x87 => is(Protocol::Http2, true),
        0x88..=0x8e => is(Protocol::Http2, false),
        // Literal, with incremental indexing.
        0x41..=0x7f if index <= 7 => is(Protocol::Http2, true),
        0x48..=0x4e => is(Protocol::Http2, false),
        // Of the dynamic table: in mid-stream nobody knows what it is.
        _ => None,
    }
}

/// PostgreSQL documentation, 55.7 "Message Formats".
#[inline(always)]
fn postgres(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    if length >= 8 && big32(first, 0) == length {
        let code = big32(first, 4);
        // StartupMessage of version 3.x, with its first parameter.
        if code >> 16 == 3 && code & 0xffff <= 2 && first[8].is_ascii_lowercase() {
            return is(Protocol::Postgres, true);
        }
        // SSLRequest and GSSENCRequest; no password or cancel is worth it.
        if length == 8 && matches!(code, 80_877_103 | 80_877_104) {
            return is(Protocol::Postgres, true);
        }
    }
    let message = big32(first, 1);
    if length < 6 || message < 4 {
        return None;
    }
    let whole = message.wrapping_add(1) == length;
    match first[0] {
        // Query: text that ends with its message. (A long one may come in parts.)
        b'Q' if (whole || (message < 1 << 24 && message + 1 > length && length >= 512))
            && text(first[5]) =>
        {
            is(Protocol::Postgres, true)
        }
        // Parse or Bind, by their names' and texts' first bytes.
        b'P' | b'B'
            if message < 1 << 24 && message + 1 < length && (first[5] == 0 || text(first[5])) =>
        {
            is(Protocol::Postgres, true)
        }
        _ => None,
    }
}

#[inline(always)]
const fn text(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || byte == b'\n' || byte == b'\t' || byte == b'\r'
}

/// RESP: a command is an array of bulk strings. What comes back is too short
/// to tell from other things.
#[inline(always)]
fn redis(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    if little32(first, 0) == word(b"PING") && first[4] == b'\r' && first[5] == b'\n' {
        return is(Protocol::Redis, true);
    }
    if first[0] != b'*' || length < 7 || !first[1].is_ascii_digit() || first[1] == b'0' {
        return None;
    }
    let one =
        first[2] == b'\r' && first[3] == b'\n' && first[4] == b'$' && first[5].is_ascii_digit();
    let two = first[2].is_ascii_digit()
        && first[3] == b'\r'
        && first[4] == b'\n'
        && first[5] == b'$'
        && first[6].is_ascii_digit();
    let three = first[2].is_ascii_digit()
        && first[3].is_ascii_digit()
        && first[4] == b'\r'
        && first[5] == b'\n'
        && first[6] == b'$'
        && first[7].is_ascii_digit();
    if one || two || three {
        is(Protocol::Redis, true)
    } else {
        None
    }
}

/// MySQL's source, "Client/Server Protocol": the server's greeting, or one of
/// the commands that carry a text or a statement.
#[inline(always)]
fn mysql(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    let payload = little32(first, 0) & 0x00ff_ffff;
    if payload == 0 || payload + 4 != length || first[3] != 0 {
        return None;
    }
    match first[4] {
        // Protocol::HandshakeV10 with a version like 8.0.36 or 5.5.5-10.11.
        10 if length > 32
            && first[5].is_ascii_digit()
            && (first[6] == b'.' || (first[6].is_ascii_digit() && first[7] == b'.')) =>
        {
            is(Protocol::MySql, false)
        }
        // COM_QUERY and COM_STMT_PREPARE with a statement's first letter. (With
        // query attributes a count and a 1 come first.)
        3 | 22
            if length > 8
                && (first[5].is_ascii_alphabetic() || (first[5] == 0 && first[6] == 1)) =>
        {
            is(Protocol::MySql, true)
        }
        _ => None,
    }
}

/// RFC 1035, 4.1.1: a standard query, with one question, and a name.
#[inline(always)]
fn dns(first: &[u8; SNIFFED], at: usize, length: u32) -> Option<Sniffed> {
    if !(17..=65535).contains(&length) {
        return None;
    }
    let (high, low) = (first[at + 2], first[at + 3]);
    // QR, OPCODE 0, AA, TC, RD; RA, Z 0, AD, CD, RCODE.
    let response = high & 0x80 != 0;
    let opcode = high & 0x78;
    let answers = big16(first, at + 6);
    let authorities = big16(first, at + 8);
    let additional = big16(first, at + 10);
    if opcode != 0 || low & 0x40 != 0 || big16(first, at + 4) != 1 || additional > 64 {
        return None;
    }
    // The name's first label: its length and a letter, or the root.
    let (label, letter) = (first[at + 12], first[at + 13]);
    let name = label <= 63
        && (label == 0
            || letter.is_ascii_alphanumeric()
            || letter == b'_'
            || letter == b'-'
            || letter >= 0x80);
    let quiet = high & 0x06 == 0 && low & 0x8f == 0 && answers == 0 && authorities == 0;
    if !name || (!response && (!quiet || additional > 2)) || answers > 1024 {
        return None;
    }
    is(Protocol::Dns, !response)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn look(bytes: &[u8], datagram: bool) -> Option<Sniffed> {
        let mut first = [0; SNIFFED];
        let n = bytes.len().min(SNIFFED);
        first[..n].copy_from_slice(&bytes[..n]);
        sniff(&first, bytes.len() as u32, datagram)
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from([kind]);
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Checks that first messages are recognised, with the side they come from.
    #[test]
    fn recognises() {
        let mut startup = Vec::from(*b"\0\0\0\0\0\x03\0\0user\0me\0\0");
        startup[3] = startup.len() as u8;
        let query = message(b'Q', b"select 1\0");
        let mut parse = message(b'P', b"\0select $1\0\0\0");
        parse.extend(message(b'S', b""));
        let mut greeting = Vec::from(*b"\0\0\0\0\x0a8.0.36\0");
        greeting.resize(78, 7);
        greeting[0] = 74;
        let cases: &[(&[u8], Protocol, bool)] = &[
            (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"OPTIONS * HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"CONNECT a:1 HTTP/1.1\r\n\r\n", Protocol::Http1, true),
            (b"HTTP/1.0 200 OK\r\n\r\n", Protocol::Http1, false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2, true),
            (
                b"\0\0\x04\x01\x04\0\0\0\x03\x82\x86\x84\x41",
                Protocol::Http2,
                true,
            ),
            (
                b"\0\0\x04\x01\x04\0\0\0\x03\x88\x5f\x01\x61",
                Protocol::Http2,
                false,
            ),
            (&startup, Protocol::Postgres, true),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Protocol::Postgres, true),
            (&query, Protocol::Postgres, true),
            (&parse, Protocol::Postgres, true),
            (b"*1\r\n$4\r\nPING\r\n", Protocol::Redis, true),
            (b"PING\r\n", Protocol::Redis, true),
            (b"*12\r\n$4\r\nMGET\r\n", Protocol::Redis, true),
            (&greeting, Protocol::MySql, false),
            (b"\x09\0\0\0\x03select 1", Protocol::MySql, true),
        ];
        for (bytes, protocol, request) in cases {
            let expected = is(*protocol, *request);
            assert_eq!(look(bytes, false), expected, "{bytes:?}");
        }
    }

    /// Checks DNS over datagrams and streams, questions and answers.
    #[test]
    fn recognises_dns() {
        let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(look(query, true), is(Protocol::Dns, true));
        let mut stream = Vec::from([0, query.len() as u8]);
        stream.extend(query);
        assert_eq!(look(&stream, false), is(Protocol::Dns, true));
        let pair = [stream.as_slice(), stream.as_slice()].concat();
        assert_eq!(look(&pair, false), is(Protocol::Dns, true));
        let answer = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\x01\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(look(answer, true), is(Protocol::Dns, false));
    }

    /// Checks that other things are left alone.
    #[test]
    fn leaves_others_alone() {
        let cases: &[&[u8]] = &[
            b"",
            b"GET",
            b"GETX / HTTP/1.1",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            b"220 mail ESMTP\r\n",
            b"*hello\r\n",
            b"Quit now please",
            &[0; 64],
            &[0xff; 64],
        ];
        for bytes in cases {
            assert_eq!(look(bytes, false), None, "{bytes:?}");
        }
        assert_eq!(look(&[0xff; 64], true), None);
        assert_eq!(look(&[0; 64], true), None);
    }
}
