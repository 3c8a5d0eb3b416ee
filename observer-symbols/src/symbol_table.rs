//! Names from a file's symbol tables.
//!
//! A table is read once, piece by piece, and only what may name one of the
//! wanted addresses is kept: a browser's 10 MB of symbols need no memory, no
//! sorting, and no cache that would have to be dropped again.
//!
//! Layout: System V ABI, "Symbol Table".

mod by_name;

use std::fs::File;
use std::os::unix::fs::FileExt;

pub use by_name::{Defined, addresses_of, definitions_of};

use super::elf::{Section, Sections, u16_at, u32_at, u64_at};

const STT_NOTYPE: u8 = 0;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;
const STB_LOCAL: u8 = 0;
const STB_WEAK: u8 = 2;
/// Section numbers from here on aren't sections.
const SHN_LORESERVE: u16 = 0xff00;
/// How much of a table is read at once.
const PIECE: usize = 128 * 1024;
/// Largest table read, in bytes: ten times a browser's.
const MAX_TABLE: u64 = 256 << 20;
/// Names of one address that are looked at to choose the best.
const MAX_ALIASES: usize = 16;
/// Longest name.
const MAX_NAME: usize = 32 * 1024;
/// Steps taken for the sake of symbols that overlap each other.
const MAX_OVERLAPS: u64 = 20_000_000;

/// Which symbols without a length count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsized {
    /// They reach up to the next symbol: the table is known to be complete.
    UntilNext,
    /// Only at their very address: where a table lists but the exported
    /// functions, what follows one may be any other.
    Exact,
}

/// One symbol.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: u64,
    size: u64,
    name: u32,
    kind: u8,
    binding: u8,
    section: u16,
}

/// The candidates for one address: all begin at the same place.
#[derive(Clone, Debug, Default)]
struct Candidates(Vec<Symbol>);

impl Candidates {
    fn offer(&mut self, symbol: Symbol) {
        match self.0.first() {
            Some(known) if known.start > symbol.start => return,
            Some(known) if known.start < symbol.start => self.0.clear(),
            _ => {}
        }
        if self.0.len() < MAX_ALIASES {
            self.0.push(symbol);
        }
    }
}

/// Names of `addresses` (in the file's own address space, sorted) that the
/// symbol table `table` (`.symtab`, `.dynsym`) knows, as they are in the table.
/// Of several for one place, the one that `is_known` of the address is taken.
pub fn look_up(
    file: &File,
    sections: &Sections,
    table: &str,
    unsized_symbols: Unsized,
    addresses: &[u64],
    is_known: impl Fn(u64, &str) -> bool,
) -> Vec<Option<String>> {
    let mut names = vec![None; addresses.len()];
    let Some(section) = sections.named(table) else {
        return names;
    };
    let Some(texts) = sections.list.get(section.link as usize) else {
        return names;
    };
    if !section.has_contents() || !texts.has_contents() || addresses.is_empty() {
        return names;
    }
    let found = scan(file, sections, section, unsized_symbols, addresses);
    for ((name, candidates), address) in names.iter_mut().zip(found).zip(addresses) {
        let named = candidates.0.iter().filter_map(|symbol| {
            let text = read_name(file, texts, symbol.name)?;
            Some(((is_known(*address, &text), rank(symbol, &text)), text))
        });
        *name = named
            .max_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, name)| name);
    }
    names
}

/// What may name an address.
#[derive(Clone, Default)]
struct Place {
    /// Symbols that it is in.
    inside: Candidates,
    /// The nearest beginning before it, and what has no length there. Held at the
    /// first address behind it only, and passed on at the end.
    nearest: Option<u64>,
    lengthless: Candidates,
}

/// The symbols that may name each of `addresses`.
fn scan(
    file: &File,
    sections: &Sections,
    table: &Section,
    unsized_symbols: Unsized,
    addresses: &[u64],
) -> Vec<Candidates> {
    let mut places = vec![Place::default(); addresses.len()];
    let mut overlaps = 0_u64;
    for_each(file, sections, table, |symbol| {
        let is_code = matches!(symbol.kind, STT_FUNC | STT_GNU_IFUNC | STT_NOTYPE);
        let home = sections.list.get(usize::from(symbol.section));
        if !is_code
            || symbol.section == 0
            || symbol.section >= SHN_LORESERVE
            || !home.is_some_and(Section::is_code)
        {
            return;
        }
        let first = addresses.partition_point(|a| *a < symbol.start);
        let Some(place) = places.get_mut(first) else {
            return;
        };
        place.nearest = place.nearest.max(Some(symbol.start));
        if symbol.size == 0 {
            place.lengthless.offer(symbol);
            return;
        }
        let end = symbol.start.saturating_add(symbol.size);
        for (place, address) in places.iter_mut().zip(addresses).skip(first) {
            overlaps += 1;
            if *address >= end || overlaps > MAX_OVERLAPS {
                break;
            }
            place.inside.offer(symbol);
        }
    });
    let mut latest: Option<u64> = None;
    let mut open = Candidates::default();
    for (place, address) in places.iter_mut().zip(addresses) {
        latest = latest.max(place.nearest);
        let begun = std::mem::take(&mut place.lengthless);
        if begun.0.first().map(|s| s.start) >= open.0.first().map(|s| s.start) {
            open = begun;
        }
        let Some(symbol) = open.0.first().filter(|s| Some(s.start) == latest) else {
            continue;
        };
        let home = sections.list.get(usize::from(symbol.section));
        let reaches = match unsized_symbols {
            Unsized::UntilNext => home.is_some_and(|s| s.holds(*address)),
            Unsized::Exact => symbol.start == *address,
        };
        if reaches && place.inside.0.is_empty() {
            place.inside = open.clone();
        }
    }
    places.into_iter().map(|place| place.inside).collect()
}

/// An entry of a symbol table.
fn symbol(s: &[u8], is_64: bool) -> Option<Symbol> {
    let (info, section, start, size) = if is_64 {
        (*s.get(4)?, u16_at(s, 6)?, u64_at(s, 8)?, u64_at(s, 16)?)
    } else {
        let word = |at| u32_at(s, at).map(u64::from);
        (*s.get(12)?, u16_at(s, 14)?, word(4)?, word(8)?)
    };
    Some(Symbol {
        start,
        size,
        name: u32_at(s, 0)?,
        kind: info & 0xf,
        binding: info >> 4,
        section,
    })
}

/// Calls `each` with every symbol of `table` up to where it can't be read.
fn for_each(file: &File, sections: &Sections, table: &Section, mut each: impl FnMut(Symbol)) {
    let entry = if sections.is_64 { 24 } else { 16 };
    let end = table.offset.saturating_add(table.size.min(MAX_TABLE));
    let mut at = table.offset;
    let mut piece = vec![0; PIECE / entry * entry];
    while at < end {
        let wanted = piece.len().min((end - at) as usize / entry * entry);
        let Some(piece) = piece.get_mut(..wanted).filter(|p| !p.is_empty()) else {
            return;
        };
        if file.read_exact_at(piece, at).is_err() {
            return;
        }
        let entries = piece.chunks_exact(entry);
        entries
            .filter_map(|entry| symbol(entry, sections.is_64))
            .for_each(&mut each);
        at += wanted as u64;
    }
}

/// The name of a symbol by its number in `table`, without its version.
pub(crate) fn name_of(
    file: &File,
    sections: &Sections,
    table: &Section,
    number: u64,
) -> Option<String> {
    let entry = if sections.is_64 { 24 } else { 16 };
    let texts = sections.list.get(table.link as usize)?;
    let at = number.checked_mul(entry).filter(|at| *at < table.size)?;
    let mut name = [0; 4];
    file.read_exact_at(&mut name, table.offset.checked_add(at)?)
        .ok()?;
    read_name(file, texts, u32_at(&name, 0)?)
}

/// The text at `name` in the table of texts, without a symbol's version; `None`
/// for what isn't a function's name.
fn read_name(file: &File, texts: &Section, name: u32) -> Option<String> {
    let room = texts.size.checked_sub(u64::from(name))?;
    let at = texts.offset.checked_add(u64::from(name))?;
    let mut text = Vec::new();
    for piece in [256, MAX_NAME] {
        text.resize(piece.min(usize::try_from(room).unwrap_or(piece)), 0);
        file.read_exact_at(&mut text, at).ok()?;
        if let Some(end) = text.iter().position(|b| *b == 0) {
            text.truncate(end);
            break;
        }
    }
    // Where the linker notes versions in the name: memcpy@@GLIBC_2.14.
    let version = text.iter().position(|b| *b == b'@').filter(|at| *at > 0);
    text.truncate(version.unwrap_or(text.len()));
    // Arm's marks of where code and data begin: $x, $d, $a, $t.
    let is_mark = matches!(text.as_slice(), [b'$', b'x' | b'd' | b'a' | b't', rest @ ..]
        if rest.first().is_none_or(|b| *b == b'.'));
    (!text.is_empty() && !is_mark).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Which of several names for one place people know best; the same order as
/// perf's (`choose_best_symbol` in tools/perf/util/symbol.c).
fn rank(symbol: &Symbol, name: &str) -> (bool, bool, bool, usize, usize, String) {
    let underscores = name.bytes().take_while(|b| *b == b'_').count();
    (
        symbol.kind != STT_NOTYPE,
        symbol.binding != STB_WEAK,
        symbol.binding != STB_LOCAL,
        usize::MAX - underscores,
        name.len(),
        name.to_owned(),
    )
}
