//! What is left of a chunk while a parser goes through it.

use super::protocol::Chunk;

/// The rest of a chunk: bytes that were captured, then some that were not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'a> {
    /// Captured bytes.
    pub data: &'a [u8],
    /// Bytes behind them that nobody saw.
    pub hidden: u64,
}

impl<'a> Input<'a> {
    /// All of `chunk`.
    pub fn of(chunk: &Chunk<'a>) -> Self {
        let captured = chunk.data.len() as u64;
        Self {
            data: chunk.data,
            hidden: chunk.length.saturating_sub(captured),
        }
    }

    /// Bytes that are left, seen or not.
    pub fn left(&self) -> u64 {
        self.hidden.saturating_add(self.data.len() as u64)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.hidden == 0
    }

    /// The first `count` captured bytes, or as many as there are.
    pub fn first(&self, count: usize) -> &'a [u8] {
        self.data.get(..count).unwrap_or(self.data)
    }

    /// Takes the first `count` captured bytes off, or as many as there are.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (first, rest) = self
            .data
            .split_at_checked(count)
            .unwrap_or((self.data, &[]));
        self.data = rest;
        first
    }

    /// Skips `count` bytes or as many as there are, and says how many.
    pub fn skip(&mut self, count: u64) -> u64 {
        let captured = self.data.len() as u64;
        let within = usize::try_from(count).ok();
        if let Some(rest) = within.and_then(|count| self.data.get(count..)) {
            self.data = rest;
            return count;
        }
        self.data = &[];
        let hidden = (count - captured).min(self.hidden);
        self.hidden -= hidden;
        captured + hidden
    }
}
