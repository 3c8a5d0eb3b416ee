//! Source lines and inlined functions from DWARF.
//!
//! Looks a set of addresses up in one file, in one pass: what it needs of the
//! file is read, used and dropped, and no index outlives it. Files are broken
//! or hostile sometimes, so the work is counted and given up beyond a limit,
//! nothing recurses, and what can't be read is left out.
//!
//! Format: DWARF 5, sections 2.17 (ranges), 3.3 (functions), 6.2 (lines);
//! supplementary files as dwz(1) makes them (`DW_FORM_GNU_ref_alt`).

mod lines;
mod search;
mod sections;
mod units;

use gimli::{EndianSlice, LittleEndian};

use lines::Place;
use search::Search;

pub use lines::SourceLine;
pub use sections::DebugSections;

/// What `addresses` (sorted, in the file's own address space) are in the
/// source, innermost function first; empty where nothing is known. `alternate`
/// is the supplementary file that dwz(1) moved common parts to. Also says whether it was
/// given up before the end, since the files take too long.
pub fn look_up(
    sections: &DebugSections,
    alternate: Option<&DebugSections>,
    addresses: &[u64],
) -> (Vec<Vec<SourceLine>>, bool) {
    let slice = |section| EndianSlice::new(section, LittleEndian);
    let mut dwarf = sections
        .contents()
        .borrow_with_sup(alternate.map(DebugSections::contents), |s| {
            slice(s.as_slice())
        });
    // Units share tables of abbreviations; each is read once.
    dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
    let mut search = Search::new(&dwarf, addresses);
    // What was found before something broken is still right.
    if let Err(error) = search.run() {
        tracing::debug!("debug information is broken: {error}");
    }
    let too_long = search.too_long();
    let lines = search.into_places().map(Place::into_lines).collect();
    (lines, too_long)
}
