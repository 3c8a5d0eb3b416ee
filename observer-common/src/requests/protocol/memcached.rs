//! Memcached: text and meta commands, the binary protocol (`doc/protocol.txt`
//! and `doc/protocol-binary.txt` of its source).

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, big16, big32, is, little32, word};

/// First byte of a binary request, and of an answer.
const REQUEST: u8 = 0x80;
const ANSWER: u8 = 0x81;

/// Longest key.
const MAX_KEY: u32 = 250;

/// A command about keys, or a binary header. (Commands about the server are
/// words that other protocols have, too.)
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    if first[0] == REQUEST || first[0] == ANSWER {
        return binary(first, length);
    }
    let four = little32(first, 0);
    if four == word(b"mn\r\n") {
        return is(Protocol::Memcached, true);
    }
    // The byte behind the command's name and a space; 0 = it is none.
    let key = if four == word(b"get ")
        || four == word(b"set ")
        || four == word(b"add ")
        || four == word(b"cas ")
        || four == word(b"gat ")
    {
        first[4]
    } else if four == word(b"gets")
        || four == word(b"gats")
        || four == word(b"incr")
        || four == word(b"decr")
    {
        if first[4] == b' ' { first[5] } else { 0 }
    } else if four == word(b"repl") && little32(first, 4) == word(b"ace ")
        || four == word(b"prep") && little32(first, 4) == word(b"end ")
    {
        first[8]
    } else if four == word(b"appe") && first[4] == b'n' && first[6] == b' ' {
        first[7]
    } else if four == word(b"dele") && first[4] == b't' && first[6] == b' ' {
        not_digit(first[7])
    } else if four == word(b"touc") && first[4] == b'h' && first[5] == b' ' {
        not_digit(first[6])
    } else if first[0] == b'm' && first[2] == b' ' && meta(first[1]) {
        first[3]
    } else {
        0
    };
    if key <= b' ' || key == 0x7f || !is_line(first, length) {
        return None;
    }
    is(Protocol::Memcached, true)
}

/// `delete 1` and `touch 1` are beanstalkd's, too.
#[inline(always)]
const fn not_digit(byte: u8) -> u8 {
    if byte.is_ascii_digit() { 0 } else { byte }
}

#[inline(always)]
const fn meta(letter: u8) -> bool {
    letter == b'g' || letter == b's' || letter == b'd' || letter == b'a' || letter == b'e'
}

/// Whether a message that is seen whole ends with a line.
#[inline(always)]
fn is_line(first: &[u8; SNIFFED], length: u32) -> bool {
    let last = length as usize - 1;
    last >= SNIFFED || first[last] == b'\n'
}

#[inline(always)]
fn binary(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    const LAST_OPCODE: u8 = 0x3c;
    const LAST_STATUS: u32 = 0x86;
    let request = first[0] == REQUEST;
    let key = big16(first, 2);
    let extras = first[4] as u32;
    let body = big32(first, 8);
    // A request's partition, which memcached hasn't, or an answer's status.
    let status = big16(first, 6);
    if length < 24
        || first[1] > LAST_OPCODE
        || first[5] != 0
        || key > MAX_KEY
        || extras > 24
        || body < key + extras
        || body > 1 << 30
        || status > if request { 0 } else { LAST_STATUS }
    {
        return None;
    }
    is(Protocol::Memcached, request)
}

/// What follows an answer is a command; its data come without a turn.
#[inline(always)]
pub fn beginning(_first: u64, _length: u32, _pieces: u32) -> Beginning {
    Beginning::EXCHANGE
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::requests::sniff::sniff;

    fn look(bytes: &[u8]) -> Option<Sniffed> {
        let mut first = [0; SNIFFED];
        let n = bytes.len().min(SNIFFED);
        first[..n].copy_from_slice(&bytes[..n]);
        sniff(&first, bytes.len() as u32, false)
    }

    fn header(magic: u8, opcode: u8, key: u16, extras: u8, status: u16, body: u32) -> Vec<u8> {
        let mut bytes = Vec::from([magic, opcode]);
        bytes.extend(key.to_be_bytes());
        bytes.extend([extras, 0]);
        bytes.extend(status.to_be_bytes());
        bytes.extend(body.to_be_bytes());
        bytes.extend([0; 12]);
        bytes
    }

    /// Checks commands about keys, with data and without, and binary headers:
    /// those that come by themselves, and with all that belongs to them.
    #[test]
    fn recognises() {
        let text: &[&[u8]] = &[
            b"get a\r\n",
            b"gets user:1 user:2 user:3 user:4\r\n",
            b"gat 10 a\r\n",
            b"gats 10 a\r\n",
            b"set a 0 0 5\r\nhello\r\n",
            b"set a 0 0 5\r\n",
            b"add a 0 0 1 noreply\r\nx\r\n",
            b"replace a 0 0 1\r\nx\r\n",
            b"append a 0 0 1\r\nx\r\n",
            b"prepend a 0 0 1\r\nx\r\n",
            b"cas a 0 0 1 17\r\nx\r\n",
            b"incr a 1\r\n",
            b"decr a 1\r\n",
            b"delete a\r\n",
            b"touch a 10\r\n",
            b"mg a v\r\n",
            b"ms a 2 T0\r\nhi\r\n",
            b"md a\r\n",
            b"ma a\r\n",
            b"me a\r\n",
            b"mn\r\n",
        ];
        for bytes in text {
            assert_eq!(look(bytes), is(Protocol::Memcached, true), "{bytes:?}");
        }
        let get = header(REQUEST, 0, 1, 0, 0, 1);
        assert_eq!(look(&get), is(Protocol::Memcached, true));
        let whole = [get.as_slice(), b"a"].concat();
        assert_eq!(look(&whole), is(Protocol::Memcached, true));
        let noop = header(REQUEST, 10, 0, 0, 0, 0);
        assert_eq!(look(&noop), is(Protocol::Memcached, true));
        let missing = header(ANSWER, 0, 0, 0, 1, 9);
        assert_eq!(look(&missing), is(Protocol::Memcached, false));
    }

    /// Checks that few bytes, other protocols' words, and headers that can't be
    /// are left alone.
    #[test]
    fn leaves_others_alone() {
        let cases: &[&[u8]] = &[
            b"g",
            b"get",
            b"get ",
            b"get a",
            b"set a 0 0",
            b"get \r\n",
            b"getting there\r\n",
            b"GETS a\r\n",
            b"delete 12\r\n",
            b"touch 12\r\n",
            b"stats\r\n",
            b"version\r\n",
            b"use tube\r\n",
            b"put 0 0 60 1\r\na\r\n",
            b"me",
            b"mx a\r\n",
            b"\x80\0\0\x01",
        ];
        for bytes in cases {
            assert_eq!(look(bytes), None, "{bytes:?}");
        }
        for wrong in [
            header(REQUEST, 0x90, 1, 0, 0, 1),
            header(REQUEST, 0, 300, 0, 0, 300),
            header(REQUEST, 0, 5, 0, 0, 4),
            header(REQUEST, 0, 1, 0, 7, 1),
            header(ANSWER, 0, 0, 0, 0x200, 0),
            header(REQUEST, 0, 1, 0, 0, u32::MAX),
        ] {
            assert_eq!(look(&wrong), None, "{wrong:?}");
        }
    }
}
