//! DNS.

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, big16, is};

/// Over streams a message is preceded by its length (RFC 1035, 4.2.2). Several
/// may come together.
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    if big16(first, 0) + 2 <= length {
        message(first, 2, big16(first, 0))
    } else {
        None
    }
}

/// A datagram is a message.
#[inline(always)]
pub fn datagram(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    message(first, 0, length)
}

/// RFC 1035, 4.1.1: a standard query, with one question, and a name.
#[inline(always)]
fn message(first: &[u8; SNIFFED], at: usize, length: u32) -> Option<Sniffed> {
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

/// Each question is an exchange.
#[inline(always)]
pub fn beginning(_first: u64, _length: u32, _pieces: u32) -> Beginning {
    Beginning::EXCHANGE
}
