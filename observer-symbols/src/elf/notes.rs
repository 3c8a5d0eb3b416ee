//! Notes, of which one is the build id.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::u32_at;

pub(super) const NT_GNU_BUILD_ID: u32 = 3;

/// Longest note segment looked at.
const MAX_NOTE: usize = 64 * 1024;

/// The build id in the notes of `length` bytes at `offset`.
pub(super) fn read_note(file: &File, offset: u64, length: u64) -> Option<String> {
    let length = usize::try_from(length).unwrap_or(MAX_NOTE).min(MAX_NOTE);
    let mut notes = vec![0_u8; length];
    file.read_exact_at(&mut notes, offset).ok()?;
    build_id_in_notes(&notes)
}

/// The GNU build id in a run of notes (a PT_NOTE segment, `/sys/kernel/notes`),
/// lower-case hex.
pub fn build_id_in_notes(mut notes: &[u8]) -> Option<String> {
    while notes.len() >= 12 {
        let name_length = u32_at(notes, 0)? as usize;
        let value_length = u32_at(notes, 4)? as usize;
        let kind = u32_at(notes, 8)?;
        let value_at = 12_usize.checked_add(name_length.checked_next_multiple_of(4)?)?;
        let next = value_at.checked_add(value_length.checked_next_multiple_of(4)?)?;
        let value = notes.get(value_at..value_at.checked_add(value_length)?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
            return Some(hex(value));
        }
        notes = notes.get(next..)?;
    }
    None
}

/// Lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
