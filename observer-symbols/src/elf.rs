//! The little that Observer reads of an ELF file itself: segments, sections,
//! build id. Everything is read piece by piece, never mapped: a file that
//! somebody cuts short must not end the daemon with a SIGBUS, and its numbers
//! are its author's, so every size has a limit.
//!
//! Layout: System V ABI, "ELF header", "Program header", "Sections", "Note
//! section"; little-endian files of either class.

mod contents;
mod notes;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use contents::Unread;
use notes::read_note;
pub use notes::{build_id_in_notes, hex};

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `PF_X`: the segment is executable.
const PF_X: u32 = 1;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;
const SHF_EXECINSTR: u64 = 4;
const SHF_COMPRESSED: u64 = 0x800;
/// More program headers than any real file has.
const MAX_HEADERS: usize = 256;
/// More sections than any linked file has.
const MAX_SECTIONS: u64 = 65_536;
/// Longest table of sections, and of their names.
const MAX_SECTION_TABLE: u64 = 8 << 20;
const MAX_SECTION_NAMES: u64 = 4 << 20;
/// Longest name of a section.
const MAX_SECTION_NAME: usize = 64;

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

/// What the ELF header says.
#[derive(Clone, Copy, Debug)]
struct Header {
    is_64: bool,
    machine: u16,
    segments: (u64, usize, usize),
    sections: (u64, usize, usize),
    names: u32,
}

impl Header {
    /// `None` when it isn't a little-endian ELF file.
    fn read(file: &File) -> io::Result<Option<Self>> {
        let mut h = [0_u8; 64];
        let mut got = 0;
        while let Some(rest) = h.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, got as u64)? {
                0 => break,
                more => got += more,
            }
        }
        let is_64 = match h.get(..6) {
            Some(b"\x7fELF\x02\x01") if got == 64 => true,
            Some(b"\x7fELF\x01\x01") if got >= 52 => false,
            _ => return Ok(None),
        };
        Ok(Self::parse(&h, is_64))
    }

    fn parse(h: &[u8], is_64: bool) -> Option<Self> {
        let half = |at| u16_at(h, at).map(usize::from);
        let word = |at| u32_at(h, at).map(u64::from);
        let (segments, sections, names) = if is_64 {
            (
                (u64_at(h, 32)?, half(54)?, half(56)?),
                (u64_at(h, 40)?, half(58)?, half(60)?),
                u16_at(h, 62)?,
            )
        } else {
            (
                (word(28)?, half(42)?, half(44)?),
                (word(32)?, half(46)?, half(48)?),
                u16_at(h, 50)?,
            )
        };
        Some(Self {
            is_64,
            machine: u16_at(h, 18)?,
            segments,
            sections,
            names: names.into(),
        })
    }
}

impl ElfInfo {
    /// Reads what there is; empty for files that aren't little-endian ELF.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut info = Self::default();
        let Some(header) = Header::read(file)? else {
            return Ok(info);
        };
        let (table, entry, count) = header.segments;
        if entry < if header.is_64 { 56 } else { 32 } {
            return Ok(info);
        }
        let mut headers = vec![0_u8; entry * count.min(MAX_HEADERS)];
        if file.read_exact_at(&mut headers, table).is_err() {
            return Ok(info);
        }
        let headers = headers.chunks_exact(entry);
        for (kind, segment) in headers.map_while(|h| program_header(h, header.is_64)) {
            match kind {
                PT_LOAD => info.segments.push(segment),
                PT_NOTE if info.build_id.is_none() => {
                    info.build_id = read_note(file, segment.offset, segment.length);
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

    /// Where in the file the code at `address`, in its own address space, is.
    pub fn offset(&self, address: u64) -> Option<u64> {
        let holds = |s: &&Segment| address.wrapping_sub(s.address) < s.length;
        let segment = self.segments.iter().filter(|s| s.executable).find(holds)?;
        segment
            .offset
            .checked_add(address.wrapping_sub(segment.address))
    }
}

/// The kind of a program header, and the segment that it describes.
fn program_header(h: &[u8], is_64: bool) -> Option<(u32, Segment)> {
    let word = |at| u32_at(h, at).map(u64::from);
    let (offset, address, length, flags) = if is_64 {
        (u64_at(h, 8)?, u64_at(h, 16)?, u64_at(h, 32)?, u32_at(h, 4)?)
    } else {
        (word(4)?, word(8)?, word(16)?, u32_at(h, 24)?)
    };
    let segment = Segment {
        offset,
        address,
        length,
        executable: flags & PF_X != 0,
    };
    Some((u32_at(h, 0)?, segment))
}

/// The place of a section header's name, and the section that it describes.
fn section_header(h: &[u8], is_64: bool) -> Option<(usize, Section)> {
    let word = |at| u32_at(h, at).map(u64::from);
    let wide = |at| u64_at(h, at);
    let (flags, address, offset, size, link) = if is_64 {
        (wide(8)?, wide(16)?, wide(24)?, wide(32)?, u32_at(h, 40)?)
    } else {
        (word(8)?, word(12)?, word(16)?, word(20)?, u32_at(h, 24)?)
    };
    let section = Section {
        name: String::new(),
        kind: u32_at(h, 4)?,
        flags,
        address,
        offset,
        size,
        link,
    };
    Some((u32_at(h, 0)? as usize, section))
}

/// A part of the file as the linker names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, such as `.text`.
    pub name: String,
    kind: u32,
    flags: u64,
    /// Address in the file's own address space.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Length in the file and in memory.
    pub size: u64,
    /// Another section's number; what for depends on the kind.
    pub link: u32,
}

impl Section {
    /// Whether the file has its contents (separate debug files only describe
    /// code and data).
    pub fn has_contents(&self) -> bool {
        self.kind != SHT_NOBITS
    }

    /// Whether it holds code.
    pub fn is_code(&self) -> bool {
        self.flags & SHF_EXECINSTR != 0
    }

    /// Whether it holds the code at an address.
    pub fn holds(&self, address: u64) -> bool {
        self.is_code() && address.wrapping_sub(self.address) < self.size
    }
}

/// All sections of a file.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    /// In the file's order: others refer to them by number.
    pub list: Vec<Section>,
    /// Whether addresses have 64 bits.
    pub is_64: bool,
    /// Processor, as `e_machine` says.
    pub machine: u16,
}

impl Sections {
    /// Reads the table of sections; an empty one when there is none, or none
    /// that makes sense.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let Some(header) = Header::read(file)? else {
            return Ok(Self::default());
        };
        let mut sections = Self {
            list: Vec::new(),
            is_64: header.is_64,
            machine: header.machine,
        };
        let (table, entry, count) = header.sections;
        if table == 0 || entry < if header.is_64 { 64 } else { 40 } {
            return Ok(sections);
        }
        let parse = |h: &[u8]| section_header(h, header.is_64);
        let mut first = vec![0; entry];
        if file.read_exact_at(&mut first, table).is_err() {
            return Ok(sections);
        }
        // Numbers that are too large for the header are in the first section.
        let Some((_, zeroth)) = parse(&first) else {
            return Ok(sections);
        };
        let count = if count == 0 {
            zeroth.size
        } else {
            count as u64
        };
        let names_in = if header.names == 0xffff {
            zeroth.link
        } else {
            header.names
        };
        let length = entry as u64 * count.min(MAX_SECTIONS);
        let Ok(mut headers) = read_piece(file, table, length.min(MAX_SECTION_TABLE)) else {
            return Ok(sections);
        };
        headers.truncate(headers.len() / entry * entry);
        let parsed = headers.chunks_exact(entry).map_while(parse);
        let parsed: Vec<(usize, Section)> = parsed.collect();
        let names = parsed.get(names_in as usize).map(|(_, s)| s);
        let names = names.filter(|s| s.has_contents() && s.size <= MAX_SECTION_NAMES);
        let names = names.and_then(|s| read_piece(file, s.offset, s.size).ok());
        let names = names.unwrap_or_default();
        sections.list = parsed
            .into_iter()
            .map(|(name, section)| Section {
                name: text_at(&names, name),
                ..section
            })
            .collect();
        Ok(sections)
    }

    /// The section of that name.
    pub fn named(&self, name: &str) -> Option<&Section> {
        self.list.iter().find(|s| s.name == name)
    }

    /// The GNU build id, lower-case hex; separate debug files have it in a
    /// section only.
    pub fn build_id(&self, file: &File) -> Option<String> {
        let notes = self.list.iter().filter(|s| s.kind == SHT_NOTE);
        notes
            .into_iter()
            .find_map(|s| read_note(file, s.offset, s.size))
    }
}

/// `length` bytes at `offset`; the file must have them, whatever it says.
fn read_piece(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let end = offset.checked_add(length);
    if end.is_none_or(|end| end > file.metadata().map_or(0, |m| m.len())) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut piece = Vec::new();
    piece
        .try_reserve_exact(length)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    piece.resize(length, 0);
    file.read_exact_at(&mut piece, offset)?;
    Ok(piece)
}

/// The name at `at`, which ends with a zero byte.
fn text_at(texts: &[u8], at: usize) -> String {
    let text = texts.get(at..).unwrap_or_default();
    let text = text.get(..MAX_SECTION_NAME).unwrap_or(text);
    let end = text.iter().position(|b| *b == 0);
    let name = end.and_then(|end| text.get(..end)).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

pub(crate) fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*b.get(at..)?.first_chunk()?))
}
pub(crate) fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*b.get(at..)?.first_chunk()?))
}
pub(crate) fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
