//! The debug sections of a file.

use std::fs::File;

use gimli::{DwarfSections, SectionId};

use crate::elf::Sections;

/// Debug information read of one file, decompressed.
const MAX_BYTES: u64 = 1 << 30;

/// The contents of a file's debug sections.
pub struct DebugSections(DwarfSections<Vec<u8>>);

impl DebugSections {
    /// Reads them; `None` when there is no debug information, or too much.
    pub fn read(file: &File) -> Option<Self> {
        let sections = Sections::read(file).ok()?;
        sections
            .named(".debug_info")
            .filter(|s| s.has_contents() && s.size > 0)?;
        let mut left = MAX_BYTES;
        let read = |id: SectionId| -> Result<Vec<u8>, ()> {
            // Where variables live is of no interest here.
            let wanted = !matches!(
                id,
                SectionId::DebugLoc
                    | SectionId::DebugLocLists
                    | SectionId::DebugMacinfo
                    | SectionId::DebugMacro
                    | SectionId::DebugNames
                    | SectionId::DebugTypes
            );
            if !wanted || sections.named(id.name()).is_none() {
                return Ok(Vec::new());
            }
            let contents = sections.contents(file, id.name(), left).ok_or(())?;
            left -= contents.len() as u64;
            Ok(contents)
        };
        DwarfSections::load(read).ok().map(Self)
    }

    /// The sections, as gimli takes them.
    pub(super) fn contents(&self) -> &DwarfSections<Vec<u8>> {
        &self.0
    }
}
