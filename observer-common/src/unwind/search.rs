//! From an address to its rule.

use super::table::{HEADER_WORDS, PAGE_SHIFT, Rule};
use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Steps of a search: a page has at most as many rows as addresses.
pub const SEARCH_STEPS: u32 = PAGE_SHIFT;

/// Places of the memory of recent rules, per CPU; a power of two.
pub const RECENT_RULES: usize = 512;

/// A rule that was found lately: the same callers are on most stacks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Recent {
    /// The table's name and the address relative to its base; 0 = nothing.
    pub key: u64,
    /// Rule that holds at the address.
    pub rule: Rule,
}

impl Recent {
    /// The key of an address in a table: odd, so never 0.
    #[inline(always)]
    pub const fn key(table: u32, address: u32) -> u64 {
        (table as u64) << 33 | (address as u64) << 1 | 1
    }

    /// Where a key is remembered.
    #[inline(always)]
    pub const fn place(key: u64) -> usize {
        // An odd multiplier (splitmix64's) spreads neighbours.
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize & (RECENT_RULES - 1)
    }
}

/// Finds the rule for `address` (relative to the table's base): its index in
/// the table's words. `word` reads a word of the table.
#[inline(always)]
pub fn search(address: u32, mut word: impl FnMut(u32) -> Option<u32>) -> Option<u32> {
    let page = address >> PAGE_SHIFT;
    let pages = word(0)?;
    if page >= pages {
        return None;
    }
    let rows = word(1)?;
    let rules = word(2)?;
    let mut low = word(HEADER_WORDS + page)?;
    let mut high = word(HEADER_WORDS + page + 1)?;
    // Invariant: the row at `low` is not behind the address.
    let wanted = address & 0xffff;
    for _ in 0..SEARCH_STEPS {
        if high.wrapping_sub(low) <= 1 {
            break;
        }
        let middle = low + ((high - low) >> 1);
        if word(rows + middle)? >> 16 <= wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    let rule = word(rows + low)? & 0xffff;
    Some(rules + rule * Rule::WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each address finds the row that it lies in, in a table of
    /// three pages of which the middle one has no row of its own.
    #[test]
    fn rows_are_found() {
        const PAGE: u32 = 1 << PAGE_SHIFT;
        let row = |address: u32, rule: u32| address << 16 | rule;
        let mut words = [0; 64];
        words[..4].copy_from_slice(&[3, 8, 16, 4]);
        words[4..8].copy_from_slice(&[0, 3, 4, 6]);
        words[8..14].copy_from_slice(&[
            row(0, 0),
            row(0x10, 1),
            row(0x20, 2),
            row(PAGE, 2),
            row(2 * PAGE, 2),
            row(2 * PAGE + 5, 3),
        ]);
        let find = |address| {
            let at = search(address, |at| words.get(at as usize).copied())?;
            Some((at - 16) / Rule::WORDS)
        };
        for (address, rule) in [
            (0, 0),
            (0xf, 0),
            (0x10, 1),
            (0x1f, 1),
            (0x20, 2),
            (PAGE - 1, 2),
            (PAGE, 2),
            (2 * PAGE - 1, 2),
            (2 * PAGE + 4, 2),
            (2 * PAGE + 5, 3),
            (3 * PAGE - 1, 3),
        ] {
            assert_eq!(find(address), Some(rule), "{address:#x}");
        }
        assert_eq!(find(3 * PAGE), None);
        assert_eq!(find(u32::MAX), None);
        // A table that ends early has no row, and nothing else happens.
        assert_eq!(
            search(0x10, |at| (at < 9).then_some(words[at as usize])),
            None
        );
    }
}
