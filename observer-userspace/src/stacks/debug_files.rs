//! Separate debug files: where distributions keep what they strip off.
//!
//! A program's debug file lies in the process's own file system (a container
//! brings its own), or else in the host's. As in gdb's manual ("Debugging
//! Information in Separate Files"): by build id, or by the name in
//! `.gnu_debuglink` next to the program, in `.debug/` and under
//! `/usr/lib/debug`. What is found must be the program's: its build id is the
//! same, or its checksum is the one that the link wants.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use observer_symbols::elf::{Sections, hex};

use super::roots::Roots;

const FOLDER: &str = "/usr/lib/debug";
/// Longest link.
const MAX_LINK: u64 = 64 * 1024;
/// Shortest build id, in bytes: the first is the name of a folder.
const MIN_BUILD_ID: usize = 2;
/// Largest file whose checksum is computed.
const MAX_SUMMED: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct DebugFile {
    /// It, open.
    pub(super) file: File,
    pub(super) sections: Sections,
    /// Its path in the file system where it was found.
    path: String,
}

/// The debug file of `file`, which is `path` to its process.
pub(super) fn find(
    roots: &Roots,
    path: &str,
    file: &File,
    sections: &Sections,
    build_id: Option<&str>,
) -> Option<DebugFile> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let build_id = build_id.filter(|id| id.len() >= 2 * MIN_BUILD_ID);
    if let Some(id) = build_id {
        let place = by_build_id(id);
        let found = roots.open(&place).filter(|f| !is_same(f, file));
        if let Some(found) = found
            && let Some(found) = with_build_id(found, id, place)
        {
            return Some(found);
        }
    }
    let link = sections.contents(file, ".gnu_debuglink", MAX_LINK).ok()?;
    let (name, sum) = parse_link(&link)?;
    let folder = Path::new(path).parent()?.to_str()?.trim_end_matches('/');
    let places = [
        format!("{folder}/{name}"),
        format!("{folder}/.debug/{name}"),
        format!("{FOLDER}{folder}/{name}"),
    ];
    places.into_iter().find_map(|place| {
        let found = roots.open(&place).filter(|f| !is_same(f, file))?;
        let sections = Sections::read(&found).ok()?;
        let is_right = match (build_id, sections.build_id(&found)) {
            (Some(wanted), Some(id)) => id == wanted,
            _ => checksum(&found) == Some(sum),
        };
        is_right.then_some(DebugFile {
            file: found,
            sections,
            path: place,
        })
    })
}

/// The supplementary file that holds what dwz(1) took out of `file`, which is
/// `path` in its file system.
pub(super) fn alternate(
    roots: &Roots,
    path: &str,
    file: &File,
    sections: &Sections,
) -> Option<DebugFile> {
    let link = sections
        .contents(file, ".gnu_debugaltlink", MAX_LINK)
        .ok()?;
    let (name, id) = parse_alternate_link(&link)?;
    let beside = Path::new(path).parent()?.join(name);
    let places = [beside.to_str()?.to_owned(), by_build_id(&id)];
    places.into_iter().find_map(|place| {
        let found = roots.open(&place)?;
        with_build_id(found, &id, place)
    })
}

impl DebugFile {
    /// Its supplementary file.
    pub(super) fn alternate(&self, roots: &Roots) -> Option<Self> {
        alternate(roots, &self.path, &self.file, &self.sections)
    }
}

/// Name and checksum of a debug file, as `.gnu_debuglink` has them: the name
/// ends with a zero byte, the checksum begins at the next multiple of four.
fn parse_link(link: &[u8]) -> Option<(&str, u32)> {
    let (name, rest) = split_name(link)?;
    let padding = (link.len() - rest.len()).next_multiple_of(4);
    let sum = link.get(padding..)?.first_chunk()?;
    // It lies beside the program or in a folder of our choice.
    let is_plain = !name.is_empty() && !name.contains('/');
    is_plain.then_some((name, u32::from_le_bytes(*sum)))
}

/// Name and build id (lower-case hex) of a supplementary file, as
/// `.gnu_debugaltlink` has them: the name ends with a zero byte, the rest is the
/// build id.
fn parse_alternate_link(link: &[u8]) -> Option<(&str, String)> {
    let (name, id) = split_name(link)?;
    (id.len() >= MIN_BUILD_ID).then(|| (name, hex(id)))
}

/// The text up to the first zero byte, and what follows that.
fn split_name(link: &[u8]) -> Option<(&str, &[u8])> {
    let end = link.iter().position(|b| *b == 0)?;
    let (name, rest) = link.split_at_checked(end)?;
    Some((std::str::from_utf8(name).ok()?, rest.get(1..)?))
}

fn by_build_id(id: &str) -> String {
    let (first, rest) = id.split_at(2);
    format!("{FOLDER}/.build-id/{first}/{rest}.debug")
}

fn with_build_id(file: File, id: &str, path: String) -> Option<DebugFile> {
    let sections = Sections::read(&file).ok()?;
    let is_right = sections.build_id(&file).as_deref() == Some(id);
    is_right.then_some(DebugFile {
        file,
        sections,
        path,
    })
}

fn is_same(a: &File, b: &File) -> bool {
    let (Ok(a), Ok(b)) = (a.metadata(), b.metadata()) else {
        return false;
    };
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// The CRC-32 of a file's contents.
fn checksum(file: &File) -> Option<u32> {
    if file.metadata().ok()?.len() > MAX_SUMMED {
        return None;
    }
    let mut sum = flate2::Crc::new();
    let mut piece = vec![0; 128 * 1024];
    let mut at = 0;
    loop {
        match file.read_at(&mut piece, at).ok()? {
            0 => return Some(sum.sum()),
            length => {
                sum.update(piece.get(..length)?);
                at += length as u64;
            }
        }
    }
}

#[cfg(test)]
#[path = "debug_files_tests.rs"]
mod tests;
