//! What a message of a connection that isn't recognised yet looks like, behind a header
//! of the PROXY protocol, too.

use observer_common::requests::{PROXY_HEADER, SNIFFED, proxy_header};

use super::capture::requests_copy;
use super::record;
use super::sniff::{PROXY_SEEN, requests_sniff};

/// What the first bytes of a message look like: see [`requests_sniff`]. Where the PROXY
/// protocol's header comes first, those behind it.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_look(
    context: u32,
    shape: u32,
    address: u64,
    length: u32,
    datagram: u32,
) -> u32 {
    let wanted = if length < SNIFFED as u32 {
        length
    } else {
        SNIFFED as u32
    };
    let captured = requests_copy(context, shape, address, wanted);
    let seen = requests_sniff(context, captured, length, datagram);
    if seen != PROXY_SEEN {
        return seen;
    }
    let wanted = if length < PROXY_HEADER as u32 {
        length
    } else {
        PROXY_HEADER as u32
    };
    let captured = requests_copy(context, shape, address, wanted);
    let header = requests_proxy_header(context, captured);
    if header == 0 {
        return 0;
    }
    if header >= length {
        return PROXY_SEEN;
    }
    let behind = requests_sniff(context, captured - header, length - header, 0);
    if behind == PROXY_SEEN { 0 } else { behind }
}

/// The length of the PROXY protocol's header that the scratch begins with, if it is
/// all there, or 0; what follows it has come to the scratch's beginning.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_proxy_header(context: u32, captured: u32) -> u32 {
    let Some(scratch) = record::scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &mut *scratch };
    let header = requests_proxy_length(context, captured) as usize & (2 * PROXY_HEADER - 1);
    if header == 0 || header > PROXY_HEADER {
        return 0;
    }
    for i in 0..SNIFFED {
        scratch.data[i] = scratch.data[header + i];
    }
    header as u32
}

/// The same without moving anything: of which end it is doesn't matter to what comes
/// after, which the verifier would go through for each.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_proxy_length(context: u32, captured: u32) -> u32 {
    let Some(scratch) = record::scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &*scratch };
    match scratch.data.first_chunk() {
        Some(data) => proxy_header(data, captured as usize) as u32,
        None => 0,
    }
}
