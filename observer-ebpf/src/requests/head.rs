//! Heads of HTTP/1: where they end, and what a piece is that may have none.

use observer_common::requests::{CAPTURE_MAX, HEAD_MAX};

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

/// How much is captured of the next piece of a head of which `head` bytes were; 0 if none
/// is under way, or enough is known of it.
///
/// Global to the verifier, for which each way through it would be one through all that
/// comes after.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_head_left(head: u32, asks: u32) -> u32 {
    let most = if asks != 0 { HEAD_MAX } else { CAPTURE_MAX };
    if head == 0 || head >= most {
        return 0;
    }
    let left = most - head;
    if left < CAPTURE_MAX {
        left
    } else {
        CAPTURE_MAX
    }
}

/// Whether a head ends in the scratch; 0 if it isn't seen to. Whether the
/// scratch ends with it is always looked for; further ahead only if asked to
/// `search`, or, a little way, if there is much of it. Of an answer that upgrades the connection all is
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
        let mut end = requests_head_end(context, captured, search, 0);
        // Of a request, further ahead; so that what comes then isn't taken for more.
        for window in 1..(CAPTURE_MAX / SCANNED) {
            let from = window * SCANNED - 4;
            if end != 0 || search == 0 || from + 4 >= captured {
                break;
            }
            end = requests_head_end(context, captured, 1, from);
        }
        return end;
    }
    let end = requests_head_end(context, captured, 1, 0);
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

/// See [`requests_head`]; looks from a place on, in which case the end is looked at for
/// the first one only.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_head_end(context: u32, captured: u32, search: u32, from: u32) -> u32 {
    let Some(scratch) = scratch(context) else {
        return 0;
    };
    // SAFETY: as above.
    let scratch = unsafe { &*scratch };
    let byte = |at: usize| scratch.data[at & (DATA - 1)];
    let pair = |at: usize| u16::from_le_bytes([byte(at), byte(at + 1)]);
    if captured < 4 {
        return 0;
    }
    let end = captured as usize & (DATA - 1);
    if search != 0 || captured >= SCANNED {
        // Every second pair: the four bytes begin with one of these, or a byte
        // before one. (The PROXY protocol's header begins with an empty line.)
        // With room for what is looked at behind it.
        let from = from as usize & (CAPTURE_MAX as usize - 1);
        for i in 2..(SCANNED / 2 + 2) as usize {
            let at = from + 2 * i;
            if at + 2 > end {
                break;
            }
            let behind = match pair(at) {
                CRLF if pair(at - 2) == CRLF => at + 2,
                LFCR if byte(at - 1) == b'\r' && byte(at + 2) == b'\n' => at + 3,
                _ => continue,
            };
            let another = behind < end && byte(behind).is_ascii_uppercase();
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
