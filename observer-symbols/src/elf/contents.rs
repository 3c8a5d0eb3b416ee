//! What is in a section, decompressed, and no more of it than may be kept.
//!
//! 2 MB of a file can stand for a gigabyte: compressed, or as a hole that takes no room
//! on the disk. So what is made of little has a limit of its own, and it is what comes out
//! that counts, whatever the section's header says.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use nix::unistd::{Whence, lseek};
use ruzstd::decoding::StreamingDecoder;

use super::{SHF_COMPRESSED, Section, Sections, read_piece, u32_at, u64_at};

const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// Longest section that is kept of what is compressed, or has holes, in bytes.
pub const MAX_INFLATED: u64 = 32 << 20;

/// Why there are no contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no such section, or it can't be read.
    Absent,
    /// There is more than may be kept.
    TooLarge,
}

impl Sections {
    /// The contents of the section called `name`, decompressed: `limit` bytes at most, and
    /// [`MAX_INFLATED`] of what takes less room in the file.
    ///
    /// # Errors
    /// Why there are none.
    pub fn contents(&self, file: &File, name: &str, limit: u64) -> Result<Vec<u8>, Unread> {
        let section = self.named(name).filter(|s| s.has_contents());
        let section = section.ok_or(Unread::Absent)?;
        let compressed = section.flags & SHF_COMPRESSED != 0;
        let limit = match compressed || has_holes(file, section) {
            true => limit.min(MAX_INFLATED),
            false => limit,
        };
        if section.size > limit {
            return Err(Unread::TooLarge);
        }
        let data = read_piece(file, section.offset, section.size).map_err(|_| Unread::Absent)?;
        match compressed {
            true => self.decompressed(&data, limit),
            false => Ok(data),
        }
    }

    /// Layout of the header: System V ABI, "Section Compression".
    fn decompressed(&self, data: &[u8], limit: u64) -> Result<Vec<u8>, Unread> {
        let (size, header) = match self.is_64 {
            true => (u64_at(data, 8), 24),
            false => (u32_at(data, 4).map(u64::from), 12),
        };
        let size = size.ok_or(Unread::Absent)?;
        if size > limit {
            return Err(Unread::TooLarge);
        }
        let stream = data.get(header..).ok_or(Unread::Absent)?;
        let inflated = match u32_at(data, 0) {
            Some(ELFCOMPRESS_ZLIB) => read_at_most(flate2::read::ZlibDecoder::new(stream), size),
            Some(ELFCOMPRESS_ZSTD) => {
                let decoder = StreamingDecoder::new(stream).map_err(|_| Unread::Absent)?;
                read_at_most(decoder, size)
            }
            _ => return Err(Unread::Absent),
        };
        // One that isn't as long as it says is broken.
        inflated
            .filter(|bytes| bytes.len() as u64 == size)
            .ok_or(Unread::Absent)
    }
}

/// What comes out of `from`; `None` if that is more than `size` bytes, or fails.
fn read_at_most(from: impl Read, size: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size).ok()?).ok()?;
    from.take(size.checked_add(1)?)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// Whether a part of the section is a hole: zeros that aren't on the disk. File systems
/// that don't know say that there is none.
fn has_holes(file: &File, section: &Section) -> bool {
    let (Ok(begin), Some(end)) = (
        i64::try_from(section.offset),
        section.offset.checked_add(section.size),
    ) else {
        return true;
    };
    let hole = lseek(file.as_fd(), begin, Whence::SeekHole);
    hole.is_ok_and(|hole| u64::try_from(hole).is_ok_and(|hole| hole < end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    /// A file whose only section is `data`, with these flags.
    fn file_with(data: &[u8], size: u64, flags: u64) -> (tempfile::NamedTempFile, Sections) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(data).expect("written");
        let sections = Sections {
            list: vec![Section {
                name: ".debug_info".to_owned(),
                kind: 1,
                flags,
                address: 0,
                offset: 0,
                size,
                link: 0,
            }],
            is_64: true,
            machine: 62,
        };
        (file, sections)
    }

    /// A section compressed by zlib that says to be of `size` bytes.
    fn zlib(zeros: usize, size: u64) -> Vec<u8> {
        let mut data = vec![1, 0, 0, 0, 0, 0, 0, 0];
        data.extend(size.to_le_bytes());
        data.extend([0; 8]);
        let mut to = flate2::write::ZlibEncoder::new(data, flate2::Compression::fast());
        let block = vec![0_u8; 1 << 20];
        for _ in 0..zeros >> 20 {
            to.write_all(&block).expect("compressed");
        }
        to.finish().expect("compressed")
    }

    fn read(data: &[u8], size: u64, flags: u64, limit: u64) -> Result<usize, Unread> {
        let (file, sections) = file_with(data, size, flags);
        let contents = sections.contents(file.as_file(), ".debug_info", limit);
        contents.map(|bytes| bytes.len())
    }

    /// Checks that what is compressed is kept up to its limit, and that a header that
    /// says less than there is doesn't help.
    #[test]
    fn compressed_sections_are_bounded() {
        let all = u64::MAX;
        let of = |data: &[u8]| read(data, data.len() as u64, SHF_COMPRESSED, all);
        assert_eq!(of(&zlib(4 << 20, 4 << 20)), Ok(4 << 20));
        assert_eq!(of(&zlib(64 << 20, 64 << 20)), Err(Unread::TooLarge));
        assert_eq!(of(&zlib(64 << 20, 1 << 20)), Err(Unread::Absent));
        assert_eq!(of(&zlib(1 << 20, 2 << 20)), Err(Unread::Absent));
        let broken = &zlib(1 << 20, 1 << 20)[..200];
        assert_eq!(of(broken), Err(Unread::Absent));
    }

    /// Checks that a hole of a gigabyte isn't read, and that what is on the disk is, up to
    /// the caller's limit.
    #[test]
    fn holes_are_bounded() {
        let data = vec![7; 40 << 20];
        assert_eq!(read(&data, 40 << 20, 0, u64::MAX), Ok(40 << 20));
        assert_eq!(read(&data, 40 << 20, 0, 1 << 20), Err(Unread::TooLarge));
        let (file, sections) = file_with(b"begin", 1 << 30, 0);
        let file = file.as_file();
        file.write_all_at(b"end", (1 << 30) - 3).expect("written");
        let contents = sections.contents(file, ".debug_info", u64::MAX);
        assert_eq!(contents.map(|bytes| bytes.len()), Err(Unread::TooLarge));
    }
}
