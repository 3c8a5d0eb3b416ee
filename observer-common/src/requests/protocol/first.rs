//! The first bytes of a piece, and what they may look like.

use super::Protocol;

/// Bytes that are looked at.
pub const SNIFFED: usize = 24;

/// What a piece looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sniffed {
    /// Of which protocol.
    pub protocol: Protocol,
    /// Whether it comes from the side that asks.
    pub request: bool,
}

pub(super) const fn is(protocol: Protocol, request: bool) -> Option<Sniffed> {
    Some(Sniffed { protocol, request })
}

pub(super) const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

pub(super) const fn long(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

#[inline(always)]
pub(super) fn little32(first: &[u8; SNIFFED], at: usize) -> u32 {
    u32::from_le_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]])
}

#[inline(always)]
pub(super) fn big32(first: &[u8; SNIFFED], at: usize) -> u32 {
    u32::from_be_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]])
}

#[inline(always)]
pub(super) fn big16(first: &[u8; SNIFFED], at: usize) -> u32 {
    ((first[at] as u32) << 8) | first[at + 1] as u32
}
