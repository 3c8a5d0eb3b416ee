//! Functions without unwinding information, from their instructions.
//!
//! Debian's musl has none at all, and `main` of each Rust program that aborts on
//! panics has none: both lie on every stack of the program, and neither keeps a
//! frame pointer. So what compilers left out is derived from the code itself.
//!
//! Functions are found by the symbol table, and by being called, jumped to or
//! loaded by others that were found.

mod flow;
pub mod instruction;
mod operands;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use observer_common::unwind::Rule;

use super::arch::X86_64;
use super::functions::{Functions, Origin};
use super::sections::{Image, Source};
use flow::{BEGIN, State, follow};

/// Bytes of code that are followed in one file.
const MAX_CODE_BYTES: u64 = 4 << 20;
/// Functions that are followed in one file.
const MAX_FUNCTIONS: usize = 1 << 16;
/// How V8 calls the code that its own compiler made: it keeps frame pointers, and
/// the parts of its interpreter jump to each other in one frame, which isn't
/// theirs, so they look like functions that have just begun.
const V8_BUILTIN: &[u8] = b"Builtins_";
/// What is shorter isn't looked for: padding, and the linker's `_init`.
pub const MIN_GAP_BYTES: u64 = 8;

/// Rows of functions, by the number in [`Origin::Code`]. Offsets are relative
/// to the function's start.
#[derive(Default)]
pub struct Code {
    functions: Vec<Vec<(u32, Rule)>>,
}

impl Code {
    /// Finds functions in `gaps`, executable code that nothing describes, and adds
    /// them.
    pub fn add<S: Source + ?Sized>(
        image: &Image<S>,
        gaps: Vec<Range<u64>>,
        functions: &mut Functions,
    ) -> Self {
        // Go's assembler functions are known by name, if at all.
        if image.arch != X86_64 || image.is_go() {
            return Self::default();
        }
        let mut search = Search {
            image,
            starts: starts(image, &gaps),
            gaps,
            bytes_left: MAX_CODE_BYTES,
            found: HashMap::new(),
            jumps: Vec::new(),
        };
        search.all();
        let mut code = Self::default();
        let known = functions.known();
        for (start, (end, rows)) in search.found {
            if known.iter().any(|known| known.contains(&start)) {
                continue;
            }
            let number = code.functions.len() as u32;
            code.functions.push(rows);
            functions.add(start..end, Origin::Code(number));
        }
        code
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Rows of a function: offsets and rules.
    pub fn rows(&self, number: u32) -> &[(u32, Rule)] {
        let rows = self.functions.get(number as usize);
        rows.map_or(&[], Vec::as_slice)
    }
}

/// Where functions in the gaps begin, and where they end if that is known.
fn starts<S: Source + ?Sized>(image: &Image<S>, gaps: &[Range<u64>]) -> BTreeMap<u64, Option<u64>> {
    let mut starts = BTreeMap::new();
    if !gaps.is_empty() {
        image.function_symbols(|name, range| {
            let is_ordinary = !name.starts_with(V8_BUILTIN);
            if is_ordinary && starts.len() < MAX_FUNCTIONS && gap(gaps, range.start).is_some() {
                let end = (!range.is_empty()).then_some(range.end);
                let known = starts.entry(range.start).or_insert(end);
                *known = (*known).max(end);
            }
        });
        starts.entry(image.entry).or_insert(None);
    }
    starts
}

/// The gap in which an address lies.
fn gap(gaps: &[Range<u64>], address: u64) -> Option<&Range<u64>> {
    let after = gaps.partition_point(|gap| gap.start <= address);
    let gap = gaps.get(after.checked_sub(1)?)?;
    gap.contains(&address).then_some(gap)
}

/// A search under way.
struct Search<'a, S: ?Sized> {
    image: &'a Image<'a, S>,
    gaps: Vec<Range<u64>>,
    starts: BTreeMap<u64, Option<u64>>,
    bytes_left: u64,
    /// End and rows of each function, by its start.
    found: HashMap<u64, (u64, Vec<(u32, Rule)>)>,
    /// Where functions jump to others, and what is known then.
    jumps: Vec<(u64, State)>,
}

impl<S: Source + ?Sized> Search<'_, S> {
    fn all(&mut self) {
        let mut waiting: Vec<u64> = self.starts.keys().rev().copied().collect();
        while let Some(start) = waiting.pop() {
            if self.found.contains_key(&start) {
                continue;
            }
            for (other, state) in self.follow(start, BEGIN) {
                if gap(&self.gaps, other).is_none() {
                    continue;
                }
                if state != BEGIN {
                    self.jumps.push((other, state));
                } else if self.is_new(other) {
                    self.starts.insert(other, None);
                    waiting.push(other);
                }
            }
        }
        // A jump with a frame leads to a part of the same function that was
        // moved away because it seldom runs.
        for (part, state) in std::mem::take(&mut self.jumps) {
            if self.starts.contains_key(&part) {
                self.follow(part, state);
            }
        }
    }

    /// Whether an address is in none of the functions known so far.
    fn is_new(&self, address: u64) -> bool {
        if self.starts.len() >= MAX_FUNCTIONS {
            return false;
        }
        let before = self.starts.range(..=address).next_back();
        before.is_none_or(|(start, end)| *start != address && end.is_none_or(|end| end <= address))
    }

    /// Follows one function; what it leads to.
    fn follow(&mut self, start: u64, begin: State) -> Vec<(u64, State)> {
        let Some(gap) = gap(&self.gaps, start) else {
            return Vec::new();
        };
        let next = self.starts.range(start + 1..).next().map(|(next, _)| *next);
        let known = self.starts.get(&start).copied().flatten();
        let end = known.or(next).map_or(gap.end, |end| end.min(gap.end));
        let Some(left) = self.bytes_left.checked_sub(end.saturating_sub(start)) else {
            return Vec::new();
        };
        self.bytes_left = left;
        let Some(code) = self.image.code_bytes(start..end) else {
            return Vec::new();
        };
        let followed = follow(&code, start, begin);
        let rows = followed.rows.iter();
        // Offsets are below `MAX_CODE_BYTES`.
        let rows = rows.map(|(at, rule)| (*at as u32, *rule)).collect();
        self.found.insert(start, (end, rows));
        followed.others
    }
}

#[cfg(test)]
mod tests;
