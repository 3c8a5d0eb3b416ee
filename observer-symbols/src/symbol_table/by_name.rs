//! Where in a file something is that has a name.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{PIECE, SHN_LORESERVE, STT_FUNC, STT_NOTYPE, Symbol, for_each};
use crate::elf::{Section, Sections};

const STT_OBJECT: u8 = 1;
/// Largest table of names searched for one of them, in bytes.
const MAX_NAMES: u64 = 256 << 20;
/// Places of one name that are remembered.
const MAX_PLACES: usize = 64;

/// Where the functions called `names` (at most 64 bytes each) begin, in the
/// file's own address space, as the symbol table `table` says.
///
/// Most files have none of them, so the names are searched for first: that is
/// faster than reading the symbols.
pub fn addresses_of(
    file: &File,
    sections: &Sections,
    table: &str,
    names: &[&str],
) -> Vec<Option<u64>> {
    let is_code = |symbol: &Symbol| {
        let home = sections.list.get(usize::from(symbol.section));
        matches!(symbol.kind, STT_FUNC | STT_NOTYPE) && home.is_some_and(|s| s.holds(symbol.start))
    };
    let found = named(file, sections, table, names, is_code);
    let found = found.into_iter();
    found.map(|symbol| Some(symbol?.address)).collect()
}

/// What a file defines under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defined {
    /// First address, in the file's own address space.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// Where the functions and variables called `names` (at most 64 bytes each) lie, as the
/// symbol table `table` says.
pub fn definitions_of(
    file: &File,
    sections: &Sections,
    table: &str,
    names: &[&str],
) -> Vec<Option<Defined>> {
    let is_kind = |symbol: &Symbol| matches!(symbol.kind, STT_FUNC | STT_OBJECT);
    named(file, sections, table, names, is_kind)
}

/// The first symbol of each name that is defined in the file and is `wanted`.
fn named(
    file: &File,
    sections: &Sections,
    table: &str,
    names: &[&str],
    wanted: impl Fn(&Symbol) -> bool,
) -> Vec<Option<Defined>> {
    let mut defined = vec![None; names.len()];
    let Some(section) = sections.named(table).filter(|s| s.has_contents()) else {
        return defined;
    };
    let texts = sections.list.get(section.link as usize);
    let Some(texts) = texts.filter(|s| s.has_contents()) else {
        return defined;
    };
    let places = places_of(file, texts, names);
    if places.is_empty() {
        return defined;
    }
    for_each(file, sections, section, |symbol| {
        let is_here = symbol.section != 0 && symbol.section < SHN_LORESERVE && wanted(&symbol);
        let name = places.get(&symbol.name).filter(|_| is_here);
        if let Some(place) = name.and_then(|name| defined.get_mut(*name)) {
            place.get_or_insert(Defined {
                address: symbol.start,
                size: symbol.size,
            });
        }
    });
    defined
}

/// The places in the table of texts at which one of `names` stands (also as the
/// end of a longer one, which linkers don't store twice), with its number.
fn places_of(file: &File, texts: &Section, names: &[&str]) -> HashMap<u32, usize> {
    /// A name and what ends it.
    const OVERLAP: usize = 65;
    let mut places = HashMap::new();
    let end = texts.size.min(MAX_NAMES);
    let mut piece = vec![0; PIECE + OVERLAP];
    let mut at = 0;
    while at < end {
        let wanted = piece.len().min((end - at) as usize);
        let (Some(piece), Some(from)) = (piece.get_mut(..wanted), texts.offset.checked_add(at))
        else {
            break;
        };
        if file.read_exact_at(piece, from).is_err() {
            break;
        }
        for (number, name) in names.iter().enumerate() {
            for start in occurrences(piece, name.as_bytes()) {
                // Where the linker notes versions in the name: SSL_read@@OPENSSL_3.
                let ends = matches!(piece.get(start + name.len()), Some(0 | b'@'));
                if ends && places.len() < MAX_PLACES * names.len() {
                    places.insert((at as usize + start) as u32, number);
                }
            }
        }
        at += PIECE as u64;
    }
    places
}

/// Where `needle` begins in `text`.
fn occurrences<'a>(text: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..)?;
        // SAFETY: both pointers are of slices that live through the call, with
        // their lengths.
        let found = unsafe {
            libc::memmem(
                rest.as_ptr().cast(),
                rest.len(),
                needle.as_ptr().cast(),
                needle.len(),
            )
        };
        if found.is_null() {
            return None;
        }
        let start = from + (found as usize - rest.as_ptr() as usize);
        from = start + 1;
        Some(start)
    })
}
