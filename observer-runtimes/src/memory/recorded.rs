//! Memory that was recorded, or made up.

use std::collections::BTreeMap;

use super::{Memory, Unread};

/// Pieces of memory by their addresses; nothing lies between them.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Recorded {
    /// Puts `bytes` at `address`. Pieces don't overlap: a later one is read first where it
    /// begins later.
    pub fn put(&mut self, address: u64, bytes: impl Into<Vec<u8>>) {
        self.pieces.insert(address, bytes.into());
    }

    /// Writes over a part of a piece that is there; nothing happens where there is none.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        if let Some((start, piece)) = self.pieces.range_mut(..=address).next_back() {
            let to = usize::try_from(address - start).ok();
            let to = to.and_then(|at| piece.get_mut(at..)?.get_mut(..bytes.len()));
            if let Some(to) = to {
                to.copy_from_slice(bytes);
            }
        }
    }
}

impl Memory for Recorded {
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Unread> {
        let not_there = Unread::NotThere(address);
        let piece = self.pieces.range(..=address).next_back();
        let (start, bytes) = piece.ok_or(not_there)?;
        let at = usize::try_from(address - start).map_err(|_| not_there)?;
        let from = bytes.get(at..).and_then(|bytes| bytes.get(..to.len()));
        to.copy_from_slice(from.ok_or(not_there)?);
        Ok(())
    }
}
