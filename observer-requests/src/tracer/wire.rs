//! Records as they come out of the ring, read without trusting their length.

use observer_common::plain::prefix;
use observer_common::requests::{Closed, Opened, Piece, Tag};
use observer_common::tcp::state;

/// A record.
#[derive(Debug)]
pub enum Record {
    /// A connection was recognised.
    Opened(Opened),
    /// A piece of it; see [`piece`] for what was captured.
    Piece(Piece),
    /// It ended.
    Closed(Closed),
    /// Something that isn't the tracer's.
    Other,
}

/// What a record is; `None` if it is too short for what it says to be.
pub fn record(bytes: &[u8]) -> Option<Record> {
    const OPENED: u32 = Tag::Opened as u32;
    const PIECE: u32 = Tag::Piece as u32;
    const CLOSED: u32 = Tag::Closed as u32;
    const EXECUTED: u32 = Tag::Executed as u32;
    let (tag, _) = prefix(bytes)?;
    match tag {
        OPENED => prefix(bytes).map(|(opened, _)| Record::Opened(opened)),
        PIECE => prefix(bytes).map(|(piece, _)| Record::Piece(piece)),
        CLOSED => prefix(bytes).map(|(closed, _)| Record::Closed(closed)),
        EXECUTED => Some(Record::Other),
        _ => None,
    }
}

/// The piece at the beginning of `bytes`, what was captured of its beginning, and
/// of its end if that was captured apart.
pub fn piece(bytes: &[u8]) -> Option<(Piece, &[u8], &[u8])> {
    let (piece, data) = prefix::<Piece>(bytes)?;
    // No more than the call's bytes, whatever the record says.
    let captured = usize::from(piece.captured).min(piece.length as usize);
    let data = data.get(..captured).unwrap_or(data);
    if data.len() == piece.length as usize {
        return Some((piece, data, &[]));
    }
    let first = data.len().saturating_sub(piece.tail.into());
    let (data, tail) = data.split_at_checked(first).unwrap_or((data, &[]));
    Some((piece, data, tail))
}

/// `EPIPE` and `ECONNRESET` (include/uapi/asm-generic/errno-base.h and errno.h).
const BY_PEER: [u32; 2] = [32, 104];

/// Whether a connection's other end had closed it first, as its [`Closed`] in
/// `bytes` says.
pub fn closed_by_peer(bytes: &[u8]) -> bool {
    let closed = [state::CLOSE_WAIT, state::LAST_ACK].map(u32::from);
    prefix::<Closed>(bytes)
        .is_some_and(|(record, _)| closed.contains(&record.was) || BY_PEER.contains(&record.error))
}
