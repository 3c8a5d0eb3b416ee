//! The debug sections of a file.

use std::fs::File;

use gimli::{DwarfSections, SectionId};

use crate::elf::{Sections, Unread};

/// Debug information read of one file, decompressed. (Of one section that takes less room
/// in the file, see [`crate::elf`], it is less.)
const MAX_BYTES: u64 = 128 << 20;

/// The contents of a file's debug sections.
pub struct DebugSections(DwarfSections<Vec<u8>>);

impl DebugSections {
    /// Reads them.
    ///
    /// # Errors
    /// When there is no debug information, or too much.
    pub fn read(file: &File) -> Result<Self, Unread> {
        let sections = Sections::read(file).map_err(|_| Unread::Absent)?;
        sections
            .named(".debug_info")
            .filter(|s| s.has_contents() && s.size > 0)
            .ok_or(Unread::Absent)?;
        let mut left = MAX_BYTES;
        let read = |id: SectionId| -> Result<Vec<u8>, Unread> {
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
            let contents = sections.contents(file, id.name(), left)?;
            left -= contents.len() as u64;
            Ok(contents)
        };
        DwarfSections::load(read).map(Self)
    }

    /// The sections, as gimli takes them.
    pub(super) fn contents(&self) -> &DwarfSections<Vec<u8>> {
        &self.0
    }
}
