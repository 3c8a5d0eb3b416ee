//! Walks the entries of `.eh_frame` or `.debug_frame`: lengths and kinds only.
//!
//! Unlike the reader behind it this goes on after an entry that can't be
//! parsed, and after the zero length that ends `.eh_frame` by the letter: some
//! linkers leave one in the middle, between the parts of two objects.

use super::sections::{Frames, FramesKind};

/// Where an entry starts, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset in the section.
    pub offset: usize,
    /// Bytes, with the length itself.
    pub size: usize,
    /// A common information entry, else a function's.
    pub common: bool,
}

/// The entries of a section, up to the first whose length reaches beyond it.
pub fn entries(section: &Frames) -> impl Iterator<Item = Entry> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let (entry, next) = entry_at(section, at)?;
            at = next;
            if let Some(entry) = entry {
                return Some(entry);
            }
        }
    })
}

/// The entry at an offset (none at a zero length) and the offset behind it.
fn entry_at(section: &Frames, at: usize) -> Option<(Option<Entry>, usize)> {
    let word = |at: usize| {
        let bytes = section.data.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let short = word(at)?;
    if short == 0 {
        return (!section.zero_ends).then_some((None, at + 4));
    }
    let (body, length) = if short == u32::MAX {
        let low = u64::from(word(at + 4)?);
        let high = u64::from(word(at + 8)?);
        (at + 12, usize::try_from(high << 32 | low).ok()?)
    } else {
        (at + 4, short as usize)
    };
    let next = body.checked_add(length)?;
    if next > section.data.len() {
        return None;
    }
    let id = word(body)?;
    let common = match section.kind {
        FramesKind::EhFrame => id == 0,
        FramesKind::DebugFrame if short == u32::MAX => {
            id == u32::MAX && word(body + 4)? == u32::MAX
        }
        FramesKind::DebugFrame => id == u32::MAX,
    };
    let entry = Entry {
        offset: at,
        size: next - at,
        common,
    };
    Some((Some(entry), next))
}
