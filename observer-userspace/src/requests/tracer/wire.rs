//! Records as they come out of the ring, read without trusting their length.

use std::mem::offset_of;

use observer_common::requests::{Closed, Opened, Piece, Tag, ThreadClock};

/// A record.
#[derive(Debug)]
pub enum Record {
    /// A connection was recognised.
    Opened(Opened),
    /// A piece of it; the captured bytes begin [`PIECE`] bytes behind its start.
    Piece {
        /// Kernel time when its call began.
        began: u64,
        /// Kernel time when it ended.
        ended: u64,
        /// Which connection's.
        connection: u64,
        /// Its number there.
        number: u32,
        /// Which way.
        direction: u8,
        /// Who asks there.
        role: u8,
    },
    /// It ended.
    Closed(Closed),
    /// Something that isn't the tracer's.
    Other,
}

/// Bytes of a [`Piece`] without what was captured.
pub const PIECE: usize = size_of::<Piece>();

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

/// What a record is; `None` if it is too short for what it says to be.
pub fn record(bytes: &[u8]) -> Option<Record> {
    const OPENED: u32 = Tag::Opened as u32;
    const A_PIECE: u32 = Tag::Piece as u32;
    const CLOSED: u32 = Tag::Closed as u32;
    const EXECUTED: u32 = Tag::Executed as u32;
    if bytes.len() < 4 {
        return None;
    }
    match u32_at(bytes, 0) {
        OPENED => opened(bytes).map(Record::Opened),
        A_PIECE => {
            let bytes = bytes.first_chunk::<PIECE>()?;
            Some(Record::Piece {
                began: u64_at(bytes, offset_of!(Piece, began)),
                ended: u64_at(bytes, offset_of!(Piece, ended)),
                connection: u64_at(bytes, offset_of!(Piece, connection)),
                number: u32_at(bytes, offset_of!(Piece, number)),
                direction: bytes[offset_of!(Piece, direction)],
                role: bytes[offset_of!(Piece, role)],
            })
        }
        CLOSED => closed(bytes).map(Record::Closed),
        EXECUTED => Some(Record::Other),
        _ => None,
    }
}

fn opened(bytes: &[u8]) -> Option<Opened> {
    let bytes = bytes.first_chunk::<{ size_of::<Opened>() }>()?;
    let pair = |at| [u64_at(bytes, at), u64_at(bytes, at + 8)];
    Some(Opened {
        tag: u32_at(bytes, offset_of!(Opened, tag)),
        tgid: u32_at(bytes, offset_of!(Opened, tgid)),
        connection: u64_at(bytes, offset_of!(Opened, connection)),
        at: u64_at(bytes, offset_of!(Opened, at)),
        workload: u32_at(bytes, offset_of!(Opened, workload)),
        netns: u32_at(bytes, offset_of!(Opened, netns)),
        local: pair(offset_of!(Opened, local)),
        peer: pair(offset_of!(Opened, peer)),
        local_port: u16_at(bytes, offset_of!(Opened, local_port)),
        peer_port: u16_at(bytes, offset_of!(Opened, peer_port)),
        family: bytes[offset_of!(Opened, family)],
        transport: bytes[offset_of!(Opened, transport)],
        protocol: bytes[offset_of!(Opened, protocol)],
        role: bytes[offset_of!(Opened, role)],
        flags: bytes[offset_of!(Opened, flags)],
        padding: [0; 7],
    })
}

fn closed(bytes: &[u8]) -> Option<Closed> {
    let bytes = bytes.first_chunk::<{ size_of::<Closed>() }>()?;
    Some(Closed {
        tag: u32_at(bytes, offset_of!(Closed, tag)),
        error: u32_at(bytes, offset_of!(Closed, error)),
        connection: u64_at(bytes, offset_of!(Closed, connection)),
        at: u64_at(bytes, offset_of!(Closed, at)),
    })
}

/// The piece at the beginning of `bytes`, and what was captured of it.
pub fn piece(bytes: &[u8]) -> Option<(Piece, &[u8])> {
    let (head, data) = bytes.split_first_chunk::<PIECE>()?;
    let bytes = head;
    let clock = offset_of!(Piece, clock);
    let mut thread = ThreadClock {
        syscalls: u32_at(bytes, clock + offset_of!(ThreadClock, syscalls)),
        switches: u32_at(bytes, clock + offset_of!(ThreadClock, switches)),
        major_faults: u32_at(bytes, clock + offset_of!(ThreadClock, major_faults)),
        ..ThreadClock::default()
    };
    for (i, to) in thread.time.iter_mut().enumerate() {
        *to = u64_at(bytes, clock + offset_of!(ThreadClock, time) + 8 * i);
    }
    let piece = Piece {
        tag: u32_at(bytes, offset_of!(Piece, tag)),
        tgid: u32_at(bytes, offset_of!(Piece, tgid)),
        connection: u64_at(bytes, offset_of!(Piece, connection)),
        began: u64_at(bytes, offset_of!(Piece, began)),
        ended: u64_at(bytes, offset_of!(Piece, ended)),
        request: u64_at(bytes, offset_of!(Piece, request)),
        tid: u32_at(bytes, offset_of!(Piece, tid)),
        workload: u32_at(bytes, offset_of!(Piece, workload)),
        length: u32_at(bytes, offset_of!(Piece, length)),
        number: u32_at(bytes, offset_of!(Piece, number)),
        retransmits: u32_at(bytes, offset_of!(Piece, retransmits)),
        captured: u16_at(bytes, offset_of!(Piece, captured)),
        direction: bytes[offset_of!(Piece, direction)],
        flags: bytes[offset_of!(Piece, flags)],
        context: bytes[offset_of!(Piece, context)],
        protocol: bytes[offset_of!(Piece, protocol)],
        role: bytes[offset_of!(Piece, role)],
        padding: [0; 5],
        clock: thread,
    };
    // No more than the call's bytes, whatever the record says.
    let captured = usize::from(piece.captured)
        .min(data.len())
        .min(piece.length as usize);
    Some((piece, &data[..captured]))
}
