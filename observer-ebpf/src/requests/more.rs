//! The rest of a request's head that is longer than one record.

use observer_common::requests::{
    CAPTURE_MAX, Connection, HEAD_MAX, Protocol, Shape, direction, flag, role,
};

use super::capture::{self, Source, requests_copy, word};
use super::head::requests_head;
use super::record;

/// Records that one call's bytes are told in at most.
const RECORDS: u32 = HEAD_MAX / CAPTURE_MAX;

/// [`requests_more`]: the head ended.
const ENDED: u32 = 0x100;

/// How many of the bytes are told by further records: those behind the first ones, of a
/// request whose head goes on behind them. 0 for most.
#[inline(always)]
pub fn rest(connection: &Connection, way: u8, length: u32, captured: u32) -> u32 {
    let asks = (connection.role == role::SERVER) == (way == direction::RECEIVED);
    if connection.head == 0
        || captured != CAPTURE_MAX
        || length <= CAPTURE_MAX
        || !asks
        || connection.protocol != Protocol::Http1 as u8
    {
        return 0;
    }
    length - CAPTURE_MAX
}

/// Tells of them; the record of the first ones was made.
#[inline(always)]
pub fn tell(context: u32, connection: &mut Connection, source: &Source, length: u32) {
    let (shape, address) = source.place();
    let made = requests_more(context, shape, address, length);
    let records = made & (ENDED - 1);
    connection.number = connection.number.wrapping_add(records);
    connection.head = if made & ENDED != 0 {
        0
    } else {
        connection.head + records * CAPTURE_MAX
    };
}

/// How many records were made, of what lies in the first buffer, and whether
/// [`ENDED`].
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_more(context: u32, shape: u32, address: u64, length: u32) -> u32 {
    let Some(scratch) = record::scratch(context) else {
        return 0;
    };
    // SAFETY: this CPU's map value, used by one program only, which doesn't nest.
    let scratch = unsafe { &mut *scratch };
    let (base, there) = if shape == Shape::Buffer as u32 {
        (address, u64::from(length))
    } else {
        let list = capture::list(shape, address);
        (word(list), word(list + 8))
    };
    scratch.piece.flags &= !(flag::TURN | flag::SKIPPED | flag::BLIND | flag::CUT);
    scratch.piece.tail = 0;
    let mut made = 0;
    for record in 1..RECORDS {
        let at = record * CAPTURE_MAX;
        if at >= length {
            break;
        }
        let left = length - at;
        let wanted = if left < CAPTURE_MAX {
            left
        } else {
            CAPTURE_MAX
        };
        let is_there = u64::from(at + wanted) <= there;
        let wanted = if is_there { wanted } else { 0 };
        let from = base + u64::from(at);
        let captured = requests_copy(context, Shape::Buffer as u32, from, wanted);
        let ends = requests_head(context, captured, 1) != 0;
        let last = ends || captured != CAPTURE_MAX || record == RECORDS - 1;
        scratch.piece.length = if last { left } else { CAPTURE_MAX };
        record::again(scratch, captured);
        made += 1;
        if last {
            return made | (ends as u32 * ENDED);
        }
    }
    made
}
