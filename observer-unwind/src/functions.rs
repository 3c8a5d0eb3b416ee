//! The functions of a file: which code is described, and where.

use std::ops::Range;

use observer_common::unwind::{FP, OTHER_STACK, Rule, SP, cfa, place};

use super::arch::Arch;
use super::cfi::Reader;
use super::entries::entries;
use super::sections::Frames;
use super::{MAX_FUNCTIONS, rule};

/// Where a function's rows come from. Of two for one address the lesser counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: it is known what it is.
    Known(Known),
    /// From a section.
    Section {
        /// Which one of those that were added.
        number: u8,
        /// Offset of the function's entry in it.
        entry: u32,
    },
    /// From its instructions: a number of [`super::code::Code`].
    Code(u32),
}

/// Functions whose rows are known better than anything says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// It ends stacks.
    Root,
    /// What signal handlers return to.
    SignalReturn,
    /// It calls others on another stack, and keeps a frame pointer to its own.
    OtherStack,
    /// It jumps on and leaves stack and registers as they are, so that its caller's address
    /// is in the link register.
    Stub,
}

impl Known {
    /// The rule of all its addresses.
    pub fn rule(self, arch: &Arch) -> Rule {
        match self {
            Self::Root => rule::END,
            Self::Stub => Rule {
                cfa: cfa::REGISTER,
                register: SP,
                places: Rule::places(place::SAME, place::SAME),
                ..rule::END
            },
            Self::SignalReturn => arch.signal_return.unwrap_or(rule::UNKNOWN),
            // The frame record of both machines: frame pointer, return address.
            Self::OtherStack => Rule {
                cfa: cfa::REGISTER,
                register: FP,
                places: Rule::places(place::AT_CFA, place::AT_CFA),
                flags: OTHER_STACK,
                cfa_offset: 16,
                ra_offset: -8,
                fp_offset: -16,
            },
        }
    }
}

/// A function, or a part of one. Addresses are relative to the table's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// First address.
    pub start: u32,
    /// Where its rows come from.
    pub origin: Origin,
    /// First address behind it.
    pub end: u32,
}

/// The functions of a file.
pub struct Functions<'a> {
    base: u64,
    code: &'a [Range<u64>],
    list: Vec<Function>,
}

impl<'a> Functions<'a> {
    /// None so far. `base` is the table's, `code` what is executable.
    pub fn new(base: u64, code: &'a [Range<u64>]) -> Self {
        Self {
            base,
            code,
            list: Vec::new(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds what a section describes. Functions outside of executable segments
    /// are passed over: linkers leave entries of code that they dropped.
    pub fn add_section(&mut self, number: usize, section: &Frames, reader: &Reader) {
        for entry in entries(section).filter(|entry| !entry.common) {
            if self.list.len() >= MAX_FUNCTIONS {
                return;
            }
            let Some(range) = reader.function(entry.offset) else {
                continue;
            };
            let origin = Origin::Section {
                number: number as u8,
                // Sections are shorter than `MAX_SECTION_BYTES`.
                entry: entry.offset as u32,
            };
            self.add(range, origin);
        }
    }

    /// Adds a function that lies in executable code; its end is cut to that.
    pub fn add(&mut self, range: Range<u64>, origin: Origin) {
        let Some(code) = self.code.iter().find(|code| code.contains(&range.start)) else {
            return;
        };
        let end = range.end.min(code.end).saturating_sub(self.base);
        let start = range.start.checked_sub(self.base);
        if let Some(start) = start.and_then(|start| u32::try_from(start).ok()) {
            let end = u32::try_from(end).unwrap_or(u32::MAX);
            if start < end {
                self.list.push(Function { start, origin, end });
            }
        }
    }

    /// Whether a function holds the address.
    pub fn contain(&self, address: u64) -> bool {
        let at = address.checked_sub(self.base);
        let Some(at) = at.and_then(|at| u32::try_from(at).ok()) else {
            return false;
        };
        self.list.iter().any(|f| f.start <= at && at < f.end)
    }

    /// Addresses of which it is known, not described, what the code is, other
    /// than that stacks end there.
    pub fn known(&self) -> Vec<Range<u64>> {
        let known = self.list.iter().filter(|f| {
            let what = [Known::SignalReturn, Known::OtherStack].map(Origin::Known);
            what.contains(&f.origin)
        });
        known
            .map(|f| self.base + u64::from(f.start)..self.base + u64::from(f.end))
            .collect()
    }

    /// Executable code that no function holds, by address: runs of at least
    /// `at_least` bytes.
    pub fn gaps(&mut self, at_least: u64) -> Vec<Range<u64>> {
        self.list.sort_unstable();
        let base = self.base;
        let mut held = self
            .list
            .iter()
            .map(|f| base + u64::from(f.start)..base + u64::from(f.end))
            .peekable();
        let mut gaps = Vec::new();
        for code in self.code {
            let mut at = code.start;
            while let Some(function) = held.next_if(|f| f.start < code.end) {
                gaps.push(at..function.start);
                at = at.max(function.end);
            }
            gaps.push(at..code.end);
        }
        gaps.retain(|gap| gap.end.saturating_sub(gap.start) >= at_least);
        gaps
    }

    /// By address, one for each; of overlapping functions the one that starts
    /// later counts.
    pub fn sorted(mut self) -> Vec<Function> {
        self.list.sort_unstable();
        self.list.dedup_by_key(|function| function.start);
        self.list
    }
}

/// Whether what lies between the end of a function and the next is padding: the
/// next is aligned to 16 bytes and nearer than that. Nothing runs there, so it
/// needs no row of its own.
pub fn is_padding(end: u32, next: u32) -> bool {
    end >= next || (next - end < 16 && next.is_multiple_of(16))
}
