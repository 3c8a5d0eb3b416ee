//! Heads of HTTP/1: where they end, and what a piece is that may have none.

use super::record::{DATA, scratch};
use super::sniff::is_settings;

/// Bytes captured of a piece in the middle of a body: enough for the size line
/// of a chunk (RFC 9112, 7.1).
pub const BODY: u32 = 64;

/// How far the end of an answer's head is looked for; also what is captured
/// of an answer at first.
const SCANNED: u32 = 512;

const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
const LFCR: u16 = u16::from_le_bytes(*b"\n\r");

/// What a client's connection of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: u64 = u64::from_le_bytes(*b"PRI * HT");
/// Bytes before which neither it nor an answer's head is whole.
const LEAST: u32 = 16;
/// Status 101, from the 9th byte of an answer on.
const UPGRADE: u64 = u64::from_le_bytes(*b" 101\0\0\0\0");
const UPGRADE_MASK: u64 = u32::MAX as u64;

/// [`requests_head`]: a head ends.
pub const ENDS: u32 = 1;
/// [`requests_head`]: and a method may begin behind it. (Bodies of requests
/// that begin with a capital letter make no more than bytes.)
pub const ANOTHER: u32 = 2;
/// [`requests_head`]: above these bits it says where.
pub const PLACE: u32 = 8;

/// Whether a head ends in the scratch; 0 if it isn't seen to. Whether the
/// scratch ends with it is always looked for; further ahead only if asked to
/// `search`, or if there is much of it. Of an answer that upgrades the connection all is
/// its head: what follows it isn't to be cut off.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_head(context: u32, captured: u32, search: u32) -> u32 {
    let Some(scratch) = scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &mut *scratch };
    scratch.switches = 0;
    let long = captured >= LEAST;
    if search != 0 && long && scratch.word(0) == PREFACE {
        scratch.switches = 1;
        return captured << PLACE | ENDS;
    }
    let upgrade = search == 0 && long && scratch.word(1) & UPGRADE_MASK == UPGRADE;
    if !upgrade {
        return requests_head_end(context, captured, search);
    }
    let end = requests_head_end(context, captured, 1);
    if end == 0 {
        return 0;
    }
    let behind = (end >> PLACE) as usize & (DATA - 1);
    let mut next = [0; 8];
    for (i, byte) in next.iter_mut().enumerate() {
        *byte = scratch.data[(behind + i) & (DATA - 1)];
    }
    if behind + next.len() <= captured as usize && is_settings(u64::from_le_bytes(next)) {
        scratch.switches = 1;
    }
    captured << PLACE | ENDS
}

/// See [`requests_head`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_head_end(context: u32, captured: u32, search: u32) -> u32 {
    let Some(scratch) = scratch(context) else {
        return 0;
    };
    // SAFETY: as above.
    let scratch = unsafe { &*scratch };
    let pair = |at: usize| {
        u16::from_le_bytes([
            scratch.data[at & (DATA - 1)],
            scratch.data[(at + 1) & (DATA - 1)],
        ])
    };
    if captured < 4 {
        return 0;
    }
    let end = captured as usize & (DATA - 1);
    if search != 0 || captured >= SCANNED {
        // Every second pair: the four bytes begin with one of these, or a byte
        // before one. (The PROXY protocol's header begins with an empty line.)
        for i in 2..(SCANNED / 2) as usize {
            let at = 2 * i;
            if at + 2 > end {
                break;
            }
            let behind = match pair(at) {
                CRLF if pair(at - 2) == CRLF => at + 2,
                LFCR if scratch.data[at - 1] == b'\r' && scratch.data[at + 2] == b'\n' => at + 3,
                _ => continue,
            };
            let another = behind < end && scratch.data[behind].is_ascii_uppercase();
            let place = (behind as u32) << PLACE | ENDS;
            return if another { place | ANOTHER } else { place };
        }
    }
    if pair(end - 4) == CRLF && pair(end - 2) == CRLF {
        captured << PLACE | ENDS
    } else {
        0
    }
}
