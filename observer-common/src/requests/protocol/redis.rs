//! Redis.

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, is, little32, long, word};

/// RESP: a command is an array of bulk strings. What comes back is too short
/// to tell from other things.
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
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

/// Bytes of a SELECT of Redis with a database of one digit.
pub const REDIS_SELECT: u32 = 23;

/// Pieces of a Redis connection at whose beginning databases are chosen.
pub const REDIS_START: u32 = 8;

/// A SELECT (with a database of one or two digits) matters later.
#[inline(always)]
pub fn beginning(first: u64, length: u32, pieces: u32) -> Beginning {
    let select = first == long(b"*2\r\n$6\r\n") && length <= REDIS_SELECT + 1;
    Beginning {
        needed: select || pieces < REDIS_START,
        ..Beginning::EXCHANGE
    }
}
