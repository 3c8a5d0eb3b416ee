//! Unwinding tables: how they lie in memory.
//!
//! # Layout of a table
//!
//! A table is an array of 32-bit words, cut into [`Chunk`]s because a BPF array
//! has values of one size. Code addresses are relative to the table's base (the
//! file's lowest executable address, rounded down to a page), so
//! that a row is one word: the low 16 bits of the address and the number of a
//! rule. Files have millions of rows but only hundreds of different rules.
//!
//! | words | |
//! |---|---|
//! | [`HEADER_WORDS`] | pages, first word of the rows, first word of the rules, number of rules |
//! | pages + 1 | for each page of code, its first row; at last, how many rows there are |
//! | rows | low half of the address << 16 \| rule; sorted within a page; every page begins with a row for its first address |
//! | rules | [`Rule::WORDS`] each, at a multiple of that |

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Bits of an address within a page of code. Small pages: the index of pages
/// costs a thousandth of the code, and saves half of a search's steps.
pub const PAGE_SHIFT: u32 = 12;
/// Words of a chunk: 4 KiB.
pub const CHUNK_WORDS: usize = 1 << CHUNK_SHIFT;
/// Bits of a word's number within its chunk.
pub const CHUNK_SHIFT: u32 = 10;
/// The unit in which tables are handed to the kernel.
pub type Chunk = [u32; CHUNK_WORDS];
/// Words before the page index.
pub const HEADER_WORDS: u32 = 4;
/// Rules of one table at most, as a row has 16 bits for it.
pub const MAX_RULES: usize = 1 << 16;

/// How the canonical frame address (the caller's stack pointer) is found.
pub mod cfa {
    /// Nothing is known about this code.
    pub const UNKNOWN: u8 = 0;
    /// This is the outermost frame: the return address is undefined.
    pub const END: u8 = 1;
    /// Register + offset.
    pub const REGISTER: u8 = 2;
    /// The word at register + offset, + 8 times [`super::Rule::parameter`].
    pub const DEREFERENCE: u8 = 3;
    /// Stack pointer + offset, + 8 when the low 4 bits of the address reach
    /// [`super::Rule::parameter`]: the expression of x86_64's PLT.
    pub const PLT: u8 = 4;
    /// A rule that this table can't express.
    pub const UNSUPPORTED: u8 = 5;
}

/// Where the caller's value of a register is.
pub mod place {
    /// In the register itself. For the return address: in the link register.
    pub const SAME: u8 = 0;
    /// At CFA + offset.
    pub const AT_CFA: u8 = 1;
    /// At stack pointer + offset (signal frames).
    pub const AT_SP: u8 = 2;
    /// At frame pointer + offset (frames with a realigned stack).
    pub const AT_FP: u8 = 3;
    /// In the register whose DWARF number the offset is, known in the innermost
    /// frame only. Return addresses only (glibc's `vfork`, while it has no stack
    /// of its own).
    pub const REGISTER: u8 = 4;
}

/// [`Rule::register`]: the stack pointer.
pub const SP: u8 = 0xf0;
/// [`Rule::register`]: the frame pointer. Other values are DWARF numbers, known
/// in the innermost frame only.
pub const FP: u8 = 0xf1;

/// [`Rule::flags`]: a signal's frame, so the caller's address is not one behind
/// a call.
pub const SIGNAL: u8 = 1;
/// [`Rule::flags`]: the function runs on another stack than its caller, which
/// may lie anywhere.
pub const OTHER_STACK: u8 = 2;
/// [`Rule::flags`]: behind the caller's frame pointer lies its link register, which is
/// needed where it was interrupted before it saved that one (signal frames of arm64).
pub const LINK: u8 = 4;

/// How to get from a frame to its caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct Rule {
    /// One of [`cfa`].
    pub cfa: u8,
    /// Base register of the CFA: [`SP`], [`FP`] or a DWARF number.
    pub register: u8,
    /// [`place`] of the return address (bits 0..4) and of the frame pointer
    /// (bits 4..8).
    pub places: u8,
    /// [`SIGNAL`], [`OTHER_STACK`], [`LINK`]; for [`cfa::PLT`] and [`cfa::DEREFERENCE`] the parameter in
    /// bits 4..8.
    pub flags: u8,
    /// Offset of the CFA in bytes.
    pub cfa_offset: i32,
    /// Offset of the return address.
    pub ra_offset: i32,
    /// Offset of the saved frame pointer.
    pub fp_offset: i32,
}

impl Rule {
    /// Words that a rule takes in a table.
    pub const WORDS: u32 = 4;

    /// [`place`] of the return address.
    #[inline(always)]
    pub const fn ra(&self) -> u8 {
        self.places & 0xf
    }

    /// [`place`] of the frame pointer.
    #[inline(always)]
    pub const fn fp(&self) -> u8 {
        self.places >> 4
    }

    /// Value for [`Self::places`].
    pub const fn places(ra: u8, fp: u8) -> u8 {
        ra | fp << 4
    }

    /// For [`cfa::PLT`]: from which low 4 bits of the address a word more lies
    /// on the stack. For [`cfa::DEREFERENCE`]: how many words the frame lies
    /// above the address that is read.
    #[inline(always)]
    pub const fn parameter(&self) -> u8 {
        self.flags >> 4
    }

    /// As the words of a table.
    pub const fn to_words(self) -> [u32; 4] {
        [
            self.cfa as u32
                | (self.register as u32) << 8
                | (self.places as u32) << 16
                | (self.flags as u32) << 24,
            self.cfa_offset as u32,
            self.ra_offset as u32,
            self.fp_offset as u32,
        ]
    }

    /// From the words of a table.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self {
            cfa: words[0] as u8,
            register: (words[0] >> 8) as u8,
            places: (words[0] >> 16) as u8,
            flags: (words[0] >> 24) as u8,
            cfa_offset: words[1] as i32,
            ra_offset: words[2] as i32,
            fp_offset: words[3] as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that rules survive being written as words.
    #[test]
    fn rules_are_words() {
        let rule = Rule {
            flags: SIGNAL | 11 << 4,
            cfa: cfa::REGISTER,
            register: SP,
            places: Rule::places(place::AT_CFA, place::AT_CFA),
            cfa_offset: 32,
            ra_offset: -8,
            fp_offset: -16,
        };
        assert_eq!(Rule::from_words(rule.to_words()), rule);
        assert_eq!((rule.ra(), rule.fp()), (place::AT_CFA, place::AT_CFA));
        assert_eq!(rule.parameter(), 11);
    }
}
