//! HTTP/1.

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, is, little32, word};

/// RFC 9110, 9.3, and the beginning of a status line (RFC 9112, 4).
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], _length: u32) -> Option<Sniffed> {
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
        (four == word(b"TRAC") && first[4] == b'E' && first[5] == b' ') || other_method(first)
    };
    if request {
        is(Protocol::Http1, true)
    } else {
        None
    }
}

/// Letters of a method that RFC 9110 doesn't have, and isn't a word of FTP's, whose
/// lines look the same (RFC 959: three or four).
const OTHER_METHOD: core::ops::RangeInclusive<usize> = 5..=17;

/// Eight bytes from a place on.
#[inline(always)]
fn long(first: &[u8; SNIFFED], at: usize) -> u64 {
    u64::from(little32(first, at)) | u64::from(little32(first, at + 4)) << 32
}

/// Methods of four letters of WebDAV and its kin (RFC 4918, 5842, 2068).
#[inline(always)]
fn short_method(first: &[u8; SNIFFED]) -> bool {
    let four = little32(first, 0);
    four == word(b"COPY")
        || four == word(b"MOVE")
        || four == word(b"LOCK")
        || four == word(b"BIND")
        || four == word(b"LINK")
}

/// A byte each of 1, and of its highest bit.
const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// The highest bit of each byte that is a letter of such a method: a capital, or `-`.
/// Eight at once, without branches, each of which the verifier would go both ways.
#[inline(always)]
const fn letters(word: u64) -> u64 {
    let seven = word & !HIGH;
    let from_a = seven + (0x80 - b'A' as u64) * ONES;
    let behind_z = seven + (0x7f - b'Z' as u64) * ONES;
    let no_dash = (seven ^ (b'-' as u64 * ONES)) + 0x7f * ONES;
    (from_a & !behind_z | !no_dash) & !word & HIGH
}

/// Whether these are a method of another document (WebDAV's RFC 4918, `PURGE`, …)
/// before a path or an absolute URI.
#[inline(always)]
fn other_method(first: &[u8; SNIFFED]) -> bool {
    let (low, middle, high) = (long(first, 0), long(first, 8), long(first, 16));
    let [ends_low, ends_middle, ends_high] = [low, middle, high].map(|it| !letters(it) & HIGH);
    let (word, next, ends, before) = if ends_low != 0 {
        (low, middle, ends_low, 0)
    } else if ends_middle != 0 {
        (middle, high, ends_middle, 8)
    } else {
        (high, 0, ends_high, 16)
    };
    // Bytes up to the first that is no letter, and it.
    let upto = ((ends & ends.wrapping_neg()).wrapping_sub(1) & ONES).wrapping_mul(ONES) >> 56;
    let length = before + upto as usize;
    let last = word >> (8 * (upto.wrapping_sub(1) & 7));
    let behind = last >> 8 | next << ((64 - 8 * upto) & 63);
    let target = behind as u8 == b'/' || behind as u16 == u16::from_le_bytes(*b"ht");
    let long_enough = OTHER_METHOD.contains(&(length - 1));
    last as u8 == b' ' && target && (long_enough || length == 5 && short_method(first))
}

/// What isn't a request's head is the rest of a body, or what a connection was
/// upgraded to.
#[inline(always)]
pub fn beginning(first: u64, length: u32, _pieces: u32) -> Beginning {
    let bytes = first.to_le_bytes();
    let mut message = [0; SNIFFED];
    message[0] = bytes[0];
    message[1] = bytes[1];
    message[2] = bytes[2];
    message[3] = bytes[3];
    message[4] = bytes[4];
    message[5] = bytes[5];
    message[6] = bytes[6];
    message[7] = bytes[7];
    // What is too long for these bytes can't be told from a body of capitals.
    if letters(first) | (((bytes[7] == b' ') as u64) << 63) == HIGH {
        return Beginning::EXCHANGE;
    }
    match sniff(&message, length) {
        Some(Sniffed { request: true, .. }) => Beginning::EXCHANGE,
        _ => Beginning::NONE,
    }
}
