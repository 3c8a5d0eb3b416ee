//! PostgreSQL.

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, big32, is};

/// PostgreSQL documentation, 55.7 "Message Formats".
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
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

/// Documentation, 55.7 "Message Formats".
#[inline(always)]
pub fn beginning(first: u64, _length: u32, _pieces: u32) -> Beginning {
    let bytes = first.to_le_bytes();
    let named = bytes[5] != 0;
    match bytes[0] {
        // A StartupMessage or one of its kin, which have no type.
        0 => Beginning {
            counted: false,
            ..Beginning::NEEDED
        },
        b'Q' | b'F' | b'B' | b'D' | b'E' => Beginning::EXCHANGE,
        // Parse, Close: of statements that are used later.
        b'P' if !named => Beginning::EXCHANGE,
        b'P' | b'C' => Beginning::NEEDED,
        // Passwords, the data of COPY, Sync and Terminate alone.
        _ => Beginning::NONE,
    }
}
