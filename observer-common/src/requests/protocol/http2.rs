//! HTTP/2.

use super::Beginning;
use super::Protocol;
use super::first::{SNIFFED, Sniffed, big16, big32, is, long};

/// The connection preface, or a frame of headers (RFC 9113, 3.4, 4.1 and 6.2)
/// that opens or answers a stream.
#[inline(always)]
pub fn sniff(first: &[u8; SNIFFED], length: u32) -> Option<Sniffed> {
    let eight = u64::from_le_bytes([
        first[0], first[1], first[2], first[3], first[4], first[5], first[6], first[7],
    ]);
    if eight == long(b"PRI * HT") {
        return is(Protocol::Http2, true);
    }
    // With END_HEADERS and no undefined flags, on a client's stream.
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
        // Of the dynamic table: in mid-stream nobody knows what it is. But an answer has
        // no other pseudo-header behind it.
        _ if flags & 0x28 == 0 && asks_behind(first) => is(Protocol::Http2, true),
        _ => None,
    }
}

/// Where a block of fields begins that has neither padding nor priority before it.
const BLOCK: usize = 9;

/// Whether a block begins with one to three fields of the dynamic table and has a
/// pseudo-header of requests out of the static one behind them, as gRPC's clients write
/// `:path`, `:authority`, `:method`.
#[inline(always)]
fn asks_behind(first: &[u8; SNIFFED]) -> bool {
    let dynamic = |at: usize| (0xbe..=0xfe).contains(&first[at]);
    let asks = |at: usize| (0x82..=0x87).contains(&first[at]);
    dynamic(BLOCK)
        && (asks(BLOCK + 1)
            || (dynamic(BLOCK + 1) && (asks(BLOCK + 2) || (dynamic(BLOCK + 2) && asks(BLOCK + 3)))))
}

/// What begins a connection of HTTP/2 and is longer has a request behind it,
/// most likely: 24 bytes, settings, a window update.
const PREFACE: u32 = 100;

/// HTTP/2's frame type HEADERS (RFC 9113, 6.2).
const HEADERS: u8 = 1;

/// Streams begin with headers.
#[inline(always)]
pub fn beginning(first: u64, length: u32, _pieces: u32) -> Beginning {
    let preface = first == long(b"PRI * HT");
    Beginning {
        counted: first.to_le_bytes()[3] == HEADERS || (preface && length > PREFACE),
        ..Beginning::EXCHANGE
    }
}
