//! Records as they come out of the ring, read without trusting their length.

use observer_common::plain::prefix;
use observer_common::requests::{Closed, Opened, Piece, Tag};

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

/// The piece at the beginning of `bytes`, and what was captured of it.
pub fn piece(bytes: &[u8]) -> Option<(Piece, &[u8])> {
    let (piece, data) = prefix::<Piece>(bytes)?;
    // No more than the call's bytes, whatever the record says.
    let captured = usize::from(piece.captured).min(piece.length as usize);
    Some((piece, data.get(..captured).unwrap_or(data)))
}
