//! The last bytes of a long answer, where they say how it went.

use observer_common::requests::{
    CAPTURE_MAX, CAPTURE_TAIL, Connection, Protocol, Shape, direction, role,
};

use super::capture::{Source, least, user};
use super::record::scratch;

/// Adds the last bytes of an answer to those at its beginning, of which there are
/// `captured`, where the end says how it went; how many. Of several buffers none.
#[inline(always)]
pub fn capture(
    context: u32,
    connection: &Connection,
    source: &Source,
    way: u8,
    length: u32,
    captured: u32,
) -> u32 {
    let (shape, address) = source.place();
    // Without branches here, which would double the ways through the rest.
    let what = u32::from(connection.protocol)
        | u32::from(connection.role) << 8
        | u32::from(way) << 16
        | shape << 24;
    requests_tail(context, what, address, length, captured) & (2 * CAPTURE_TAIL - 1)
}

/// See [`capture`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_tail(
    context: u32,
    what: u32,
    address: u64,
    length: u32,
    captured: u32,
) -> u32 {
    let [protocol, role, way, shape] = what.to_le_bytes();
    let answers = (role == role::SERVER) == (way == direction::SENT);
    if !Protocol::told_at_end(protocol)
        || !answers
        || shape != Shape::Buffer as u8
        || length <= captured
        || captured > CAPTURE_MAX - CAPTURE_TAIL
    {
        return 0;
    }
    let bytes = least(length - captured, CAPTURE_TAIL);
    let at = least(captured, CAPTURE_MAX - CAPTURE_TAIL);
    let from = address + u64::from(length - bytes);
    let Some(scratch) = scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    user(unsafe { &mut *scratch }, at, from, bytes)
}
