//! Whose turn it is on a connection.

use observer_common::requests::{Protocol, sniff};

use super::protocol::Chunk;

/// Bytes that [`sniff`] looks at.
const SNIFFED: usize = 24;

/// Which side the last chunk came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Nobody knows.
    #[default]
    Unknown,
    /// The one that asks.
    Asks,
    /// The one that answers.
    Answers,
}

/// Whether a chunk of the side that asks looks like the beginning of a message,
/// by itself.
pub fn begins(chunk: &Chunk<'_>, protocol: Protocol) -> bool {
    let first = chunk.data.first_chunk().copied().unwrap_or_else(|| {
        let mut first = [0; SNIFFED];
        for (to, byte) in first.iter_mut().zip(chunk.data) {
            *to = *byte;
        }
        first
    });
    let length = u32::try_from(chunk.length).unwrap_or(u32::MAX);
    sniff(&first, length, false).is_some_and(|found| found.protocol == protocol && found.request)
}
