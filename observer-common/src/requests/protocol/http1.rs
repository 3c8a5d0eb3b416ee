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
        four == word(b"TRAC") && first[4] == b'E' && first[5] == b' '
    };
    if request {
        is(Protocol::Http1, true)
    } else {
        None
    }
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
    match sniff(&message, length) {
        Some(Sniffed { request: true, .. }) => Beginning::EXCHANGE,
        _ => Beginning::NONE,
    }
}
