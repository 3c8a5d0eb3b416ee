//! What a message's first bytes look like.

use observer_common::requests::{SNIFFED, begins_proxied, sniff};

use super::record;

/// TLS's record types handshake and application data (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
const TLS_DATA: u8 = 23;

/// [`requests_sniff`]: added to the number of the protocol.
pub const REQUEST_SEEN: u32 = 0x100;
/// [`requests_sniff`]: a record of TLS.
pub const TLS_SEEN: u32 = 0x200;
/// Whether eight bytes begin a frame of HTTP/2's settings (RFC 9113, 6.5), of fewer
/// than 256 bytes, that acknowledges none.
#[inline(always)]
pub const fn is_settings(eight: u64) -> bool {
    const KIND: u64 = u64::from_le_bytes([0, 0, 0, 4, 0, 0, 0, 0]);
    const MASK: u64 = u64::from_le_bytes([0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
    eight & MASK == KIND
}

/// [`requests_sniff`]: the header of the PROXY protocol; of
/// [`super::look::requests_look`]: and nothing behind it.
pub const PROXY_SEEN: u32 = 0x400;

/// What the first bytes of the scratch look like; 0 = nothing that is known.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_sniff(context: u32, captured: u32, length: u32, datagram: u32) -> u32 {
    let Some(scratch) = record::scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &mut *scratch };
    let mut first = [0u8; SNIFFED];
    // By words, and without a branch per byte: the verifier would follow each of the
    // lengths through all that comes after.
    for (at, eight) in first.chunks_exact_mut(8).enumerate() {
        let at = 8 * at;
        let mut word = 0u64;
        for i in 0..8 {
            word |= u64::from(scratch.data[at + i]) << (8 * i);
        }
        let bits = captured.saturating_sub(at as u32).min(8) * 8;
        let missing = 64 - bits;
        // Twice half of the bits: a shift by all 64 isn't one.
        let mask = (u64::MAX >> (missing / 2)) >> (missing - missing / 2);
        eight.copy_from_slice(&(word & mask).to_le_bytes());
    }
    let datagram = datagram != 0;
    let [eight, ..] = first.as_chunks().0 else {
        return 0;
    };
    let eight = u64::from_le_bytes(*eight);
    // Of a connection of HTTP/1 only behind an upgrade's head.
    scratch.switches = is_settings(eight).into();
    if !datagram && begins_proxied(eight) {
        return PROXY_SEEN;
    }
    if !datagram && matches!(first[0], TLS_HANDSHAKE | TLS_DATA) && first[1] == 3 && first[2] <= 4 {
        return TLS_SEEN;
    }
    match sniff(&first, length, datagram) {
        Some(seen) if seen.request => seen.protocol as u32 | REQUEST_SEEN,
        Some(seen) => seen.protocol as u32,
        None => 0,
    }
}
