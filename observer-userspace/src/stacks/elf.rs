//! The little that Observer reads of an ELF file itself: where its segments
//! lie and its build id. Symbols are blazesym's business.
//!
//! Layout: System V ABI, "ELF header", "Program header", "Note section";
//! 64-bit little-endian files only (others are still symbolized, but shown by
//! file offset and without a build id).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `PF_X`: the segment is executable.
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;
/// More program headers than any real file has.
const MAX_HEADERS: usize = 256;
/// Longest note segment looked at.
const MAX_NOTE: usize = 64 * 1024;

/// A loaded part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Address in the file's own address space.
    pub address: u64,
    /// Length in the file.
    pub length: u64,
    /// Whether it holds code.
    pub executable: bool,
}

/// What was read of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfInfo {
    /// Loaded segments, in the file's order.
    pub segments: Vec<Segment>,
    /// GNU build id, lower-case hex.
    pub build_id: Option<String>,
}

impl ElfInfo {
    /// Reads what there is; empty for files that aren't 64-bit ELF.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut info = Self::default();
        let mut header = [0_u8; 64];
        let got = file.read_at(&mut header, 0)?;
        if got < 64 || header[..6] != *b"\x7fELF\x02\x01" {
            return Ok(info);
        }
        let table = u64_at(&header, 32);
        let entry = usize::from(u16_at(&header, 54));
        let count = usize::from(u16_at(&header, 56)).min(MAX_HEADERS);
        if entry < 56 {
            return Ok(info);
        }
        let mut headers = vec![0_u8; entry * count];
        if file.read_exact_at(&mut headers, table).is_err() {
            return Ok(info);
        }
        for h in headers.chunks_exact(entry) {
            let (offset, address, length) = (u64_at(h, 8), u64_at(h, 16), u64_at(h, 32));
            match u32_at(h, 0) {
                PT_LOAD => info.segments.push(Segment {
                    offset,
                    address,
                    length,
                    executable: u32_at(h, 4) & PF_X != 0,
                }),
                PT_NOTE if info.build_id.is_none() => {
                    let length = usize::try_from(length).unwrap_or(MAX_NOTE).min(MAX_NOTE);
                    let mut notes = vec![0_u8; length];
                    if file.read_exact_at(&mut notes, offset).is_ok() {
                        info.build_id = build_id_in_notes(&notes);
                    }
                }
                _ => {}
            }
        }
        Ok(info)
    }

    /// The segment that holds `offset` of the file.
    pub fn segment(&self, offset: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|s| (s.offset..s.offset.saturating_add(s.length)).contains(&offset))
    }
}

/// The GNU build id in a run of notes (a PT_NOTE segment, `/sys/kernel/notes`),
/// lower-case hex.
pub fn build_id_in_notes(mut notes: &[u8]) -> Option<String> {
    while notes.len() >= 12 {
        let name_length = u32_at(notes, 0) as usize;
        let value_length = u32_at(notes, 4) as usize;
        let kind = u32_at(notes, 8);
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
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from(u16_at(b, at)) | u32::from(u16_at(b, at + 2)) << 16
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the segments of this very program contain its own code
    /// where the kernel mapped it, and that `[vdso]`-like short files are fine.
    #[test]
    fn own_segments() {
        let file = File::open("/proc/self/exe").expect("own program");
        let info = ElfInfo::read(&file).expect("readable");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let exe = std::fs::read_link("/proc/self/exe").expect("link");
        let exe = exe.to_str().expect("UTF-8");
        let code = maps
            .lines()
            .find(|l| l.contains(" r-xp ") && l.ends_with(exe))
            .expect("mapped code");
        let offset = code.split_whitespace().nth(2).expect("offset");
        let offset = u64::from_str_radix(offset, 16).expect("hex");
        assert!(info.segment(offset + 4096).is_some());
        let short = tempfile::tempfile().expect("file");
        assert_eq!(ElfInfo::read(&short).expect("readable"), ElfInfo::default());
    }

    /// Checks that the running kernel's build id is found in its notes, and
    /// that cut-off notes end the search.
    #[test]
    fn kernel_build_id() {
        let mut notes = vec![4, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
        notes.extend(b"XXX\0\x01\x02\0\0");
        notes.extend([4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend(b"GNU\0\xab\xcd\x01\0");
        assert_eq!(build_id_in_notes(&notes).as_deref(), Some("abcd01"));
        for cut in 0..notes.len() - 2 {
            assert_eq!(build_id_in_notes(&notes[..cut]), None);
        }
    }
}
