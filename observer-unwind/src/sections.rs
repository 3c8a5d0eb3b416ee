//! Finds and reads the parts of an ELF file that matter.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFCOMPRESS_ZLIB, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, FileHeader64, PF_X,
    PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64, SHF_COMPRESSED, SHT_NOBITS, SectionHeader64,
};
use object::pod::{from_bytes, slice_from_all_bytes};
use observer_common::unwind::PAGE_SHIFT;

use super::arch::Arch;
use super::{BuildError, MAX_SECTION_BYTES, MAX_SECTIONS, MAX_SEGMENTS, within};

type Segment = ProgramHeader64<LE>;
type SectionHeader = SectionHeader64<LE>;

/// Something that bytes are read from.
pub trait Source {
    /// Exactly `length` bytes at `offset`.
    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
}

impl Source for File {
    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl Source for [u8] {
    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..offset.checked_add(length)?));
        part.map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Which of the two formats a section has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramesKind {
    /// `.eh_frame`.
    EhFrame,
    /// `.debug_frame`.
    DebugFrame,
}

/// A section of call frame information.
pub struct Frames {
    /// Its format.
    pub kind: FramesKind,
    /// Its bytes, decompressed.
    pub data: Vec<u8>,
    /// Its address, to which pointers in it may be relative.
    pub address: u64,
    /// Address of `.text`, likewise.
    pub text: Option<u64>,
    /// Whether it ends at a zero length: its real size isn't known.
    pub zero_ends: bool,
}

/// An ELF file.
pub struct Image<'a, S: ?Sized> {
    source: &'a S,
    /// Its machine.
    pub arch: Arch,
    /// Where it starts to run.
    pub entry: u64,
    /// Executable segments, by address.
    pub code: Vec<Range<u64>>,
    segments: Vec<Segment>,
    sections: Vec<SectionHeader>,
    names: Vec<u8>,
}

impl<'a, S: Source + ?Sized> Image<'a, S> {
    /// Reads the headers.
    ///
    /// # Errors
    /// It is no ELF file that is understood here, or can't be read.
    pub fn open(source: &'a S) -> Result<Self, BuildError> {
        let bytes = read(source, "the ELF header", 0, size_of::<FileHeader64<LE>>())?;
        let header = header(&bytes)?;
        let arch = Arch::of(header.e_machine.get(LE))
            .ok_or_else(|| BuildError::Machine(header.e_machine.get(LE)))?;
        let count = usize::from(header.e_phnum.get(LE));
        within(
            "the program header table",
            count as u64,
            MAX_SEGMENTS as u64,
        )?;
        let segments: Vec<Segment> =
            table(source, "the program headers", header.e_phoff.get(LE), count)?;
        // A program runs without section headers: they may be missing or bad.
        let sections = Self::sections(source, header).unwrap_or_default();
        let mut image = Self {
            source,
            arch,
            entry: header.e_entry.get(LE),
            code: executable(&segments),
            segments,
            sections,
            names: Vec::new(),
        };
        let names = image.sections.get(usize::from(header.e_shstrndx.get(LE)));
        image.names = match names {
            Some(names) => image.bytes("section names", names).unwrap_or_default(),
            None => Vec::new(),
        };
        Ok(image)
    }

    fn sections(source: &S, header: &FileHeader64<LE>) -> Result<Vec<SectionHeader>, BuildError> {
        let count = usize::from(header.e_shnum.get(LE));
        within(
            "the section header table",
            count as u64,
            MAX_SECTIONS as u64,
        )?;
        table(source, "the section headers", header.e_shoff.get(LE), count)
    }

    /// What tables' addresses are relative to.
    pub fn base(&self) -> Option<u64> {
        let first = self.code.first()?;
        Some(first.start >> PAGE_SHIFT << PAGE_SHIFT)
    }

    /// The header of a section by name, if it has bytes in the file.
    pub fn section(&self, name: &str) -> Option<&SectionHeader> {
        self.sections.iter().find(|section| {
            let named = self.names.get(section.sh_name.get(LE) as usize..);
            let named = named.and_then(|named| named.strip_prefix(name.as_bytes()));
            named.is_some_and(|rest| rest.first() == Some(&0))
                && section.sh_type.get(LE) != SHT_NOBITS
        })
    }

    /// A section's bytes, decompressed.
    ///
    /// # Errors
    /// It can't be read or decompressed, or is larger than any real one.
    pub fn bytes(
        &self,
        what: &'static str,
        section: &SectionHeader,
    ) -> Result<Vec<u8>, BuildError> {
        let size = section.sh_size.get(LE);
        within(what, size, MAX_SECTION_BYTES)?;
        let bytes = read(self.source, what, section.sh_offset.get(LE), size as usize)?;
        if section.sh_flags.get(LE) & u64::from(SHF_COMPRESSED) == 0 {
            return Ok(bytes);
        }
        decompress(what, &bytes)
    }

    /// The sections of call frame information: `.eh_frame`, or `.debug_frame`
    /// when there is no other. Programs with parts in C and in Go have one for
    /// each language.
    ///
    /// # Errors
    /// One that is there can't be read.
    pub fn frames(&self) -> Result<Vec<Frames>, BuildError> {
        let text = self.section(".text").map(|text| text.sh_addr.get(LE));
        let mut found = Vec::new();
        if let Some(section) = self.section(".eh_frame") {
            found.push(Frames {
                kind: FramesKind::EhFrame,
                data: self.bytes(".eh_frame", section)?,
                address: section.sh_addr.get(LE),
                text,
                zero_ends: false,
            });
        } else if let Some(frames) = self.frames_by_segment()? {
            found.push(frames);
        }
        if (found.is_empty() || self.is_go())
            && let Some(section) = self.section(".debug_frame")
        {
            found.push(Frames {
                kind: FramesKind::DebugFrame,
                data: self.bytes(".debug_frame", section)?,
                address: section.sh_addr.get(LE),
                text,
                zero_ends: false,
            });
        }
        found.retain(|frames| !frames.data.is_empty());
        Ok(found)
    }

    /// Whether parts of the program are in Go.
    pub fn is_go(&self) -> bool {
        [".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo"]
            .iter()
            .any(|name| self.section(name).is_some())
    }

    /// The code at these addresses, if the file has it all.
    pub fn code_bytes(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let (offset, rest) = self.file_range(range.start)?;
        let length = range.end.checked_sub(range.start)?;
        if length > rest.min(MAX_SECTION_BYTES) {
            return None;
        }
        self.source.read(offset, length as usize).ok()
    }

    /// Calls `each` with the address of each place where `code` stands among
    /// the first `limit` bytes of each executable segment.
    pub fn find_code(&self, code: &[u8], limit: u64, mut each: impl FnMut(u64)) {
        for range in &self.code {
            let Some((offset, rest)) = self.file_range(range.start) else {
                continue;
            };
            let length = rest.min(limit) as usize;
            let Ok(bytes) = self.source.read(offset, length) else {
                continue;
            };
            for (at, window) in bytes.windows(code.len()).enumerate() {
                if window == code {
                    each(range.start.saturating_add(at as u64));
                }
            }
        }
    }

    /// `.eh_frame` of a file without section headers: the segment of its index
    /// says where it starts; it ends with a zero length.
    fn frames_by_segment(&self) -> Result<Option<Frames>, BuildError> {
        let mut segments = self.segments.iter();
        let Some(index) = segments.find(|segment| segment.p_type.get(LE) == PT_GNU_EH_FRAME) else {
            return Ok(None);
        };
        let (address, size) = (index.p_vaddr.get(LE), index.p_filesz.get(LE).min(64));
        let offset = index.p_offset.get(LE);
        let bytes = read(self.source, "the index of .eh_frame", offset, size as usize)?;
        let bases = gimli::BaseAddresses::default().set_eh_frame_hdr(address);
        let parsed = gimli::EhFrameHdr::new(&bytes, gimli::LittleEndian).parse(&bases, 8);
        let Ok(gimli::Pointer::Direct(start)) = parsed.map(|index| index.eh_frame_ptr()) else {
            return Ok(None);
        };
        let Some((offset, length)) = self.file_range(start) else {
            return Ok(None);
        };
        let length = length.min(MAX_SECTION_BYTES) as usize;
        Ok(Some(Frames {
            kind: FramesKind::EhFrame,
            data: read(self.source, ".eh_frame", offset, length)?,
            address: start,
            text: None,
            zero_ends: true,
        }))
    }

    /// Where an address lies in the file, and how much of its segment follows.
    fn file_range(&self, address: u64) -> Option<(u64, u64)> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type.get(LE) == PT_LOAD)
            .find_map(|segment| {
                let within = address.checked_sub(segment.p_vaddr.get(LE))?;
                let rest = segment.p_filesz.get(LE).checked_sub(within)?;
                let offset = segment.p_offset.get(LE).checked_add(within)?;
                (rest > 0).then_some((offset, rest))
            })
    }
}

fn header(bytes: &[u8]) -> Result<&FileHeader64<LE>, BuildError> {
    let Ok((header, _)) = from_bytes::<FileHeader64<LE>>(bytes) else {
        return Err(BuildError::Format("the header is too short"));
    };
    let ident = &header.e_ident;
    if ident.magic != ELFMAG {
        return Err(BuildError::Format("no ELF file"));
    }
    if ident.class != ELFCLASS64 || ident.data != ELFDATA2LSB {
        return Err(BuildError::Format("not 64 bits and little-endian"));
    }
    if !matches!(header.e_type.get(LE), ET_EXEC | ET_DYN) {
        return Err(BuildError::Format("neither a program nor a library"));
    }
    if usize::from(header.e_phentsize.get(LE)) != size_of::<Segment>() {
        return Err(BuildError::Format("program headers of another size"));
    }
    Ok(header)
}

/// Executable parts of the address space, by address.
fn executable(segments: &[Segment]) -> Vec<Range<u64>> {
    let mut code: Vec<_> = segments
        .iter()
        .filter(|segment| segment.p_type.get(LE) == PT_LOAD && segment.p_flags.get(LE) & PF_X != 0)
        .map(|segment| {
            let start = segment.p_vaddr.get(LE);
            start..start.saturating_add(segment.p_memsz.get(LE))
        })
        .filter(|range| !range.is_empty())
        .collect();
    code.sort_unstable_by_key(|range| range.start);
    code
}

fn read<S: Source + ?Sized>(
    source: &S,
    what: &'static str,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, BuildError> {
    source
        .read(offset, length)
        .map_err(|source| BuildError::Read { what, source })
}

/// A table of headers.
fn table<S: Source + ?Sized, T: object::Pod + Copy>(
    source: &S,
    what: &'static str,
    offset: u64,
    count: usize,
) -> Result<Vec<T>, BuildError> {
    let bytes = read(source, what, offset, count * size_of::<T>())?;
    let table = slice_from_all_bytes(&bytes);
    Ok(table.map(<[T]>::to_vec).unwrap_or_default())
}

/// A compressed section's bytes. Only zlib: what decompresses Zstandard here
/// would not stop at the size that the section claims.
fn decompress(what: &'static str, bytes: &[u8]) -> Result<Vec<u8>, BuildError> {
    let bad = BuildError::Compression(what);
    let Ok((header, compressed)) = from_bytes::<object::elf::CompressionHeader64<LE>>(bytes) else {
        return Err(bad);
    };
    if header.ch_type.get(LE) != ELFCOMPRESS_ZLIB {
        return Err(bad);
    }
    let size = header.ch_size.get(LE);
    within(what, size, MAX_SECTION_BYTES)?;
    let mut plain = Vec::new();
    let decoder = flate2::read::ZlibDecoder::new(compressed);
    match decoder.take(size).read_to_end(&mut plain) {
        Ok(read) if read as u64 == size => Ok(plain),
        _ => Err(bad),
    }
}
