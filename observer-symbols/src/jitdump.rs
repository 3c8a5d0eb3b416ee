//! The other way in which JIT compilers tell of their code: a file of records,
//! one for each function that was made (Linux,
//! `tools/perf/Documentation/jitdump-specification.txt`). It has the code, too,
//! which is passed over. So are functions that are moved: of the compilers that
//! write such files none moves any while it does.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::elf::{u32_at, u64_at};

/// The header's first bytes where numbers are little-endian.
const MAGIC: &[u8; 4] = b"DTiJ";
const HEADER: u64 = 40;
/// Identifier, length, time.
const PREFIX: u64 = 16;
const CODE_LOAD: u32 = 0;
/// Numbers of a `CODE_LOAD` record before the name.
const LOAD: u64 = PREFIX + 40;
/// Longest name.
const MAX_NAME: usize = 4096;

/// A function that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// First address.
    pub start: u64,
    /// Length of the code.
    pub size: u64,
    /// Where the record begins in the file.
    pub at: u64,
}

/// Calls `each` with every function told of between `from` (0, or what this
/// returned before) and `end`. Returns how far whole records reach.
pub fn parse(file: &File, from: u64, end: u64, mut each: impl FnMut(Function)) -> u64 {
    let mut at = from;
    if at == 0 {
        let mut header = [0; HEADER as usize];
        if file.read_exact_at(&mut header, 0).is_err() || header[..4] != *MAGIC {
            return 0;
        }
        let length = u32_at(&header, 8).map_or(HEADER, u64::from);
        at = length.max(HEADER);
        if at > end {
            return 0;
        }
    }
    let mut record = [0; LOAD as usize];
    loop {
        let length = record.len().min(end.saturating_sub(at) as usize);
        let Some(record) = record.get_mut(..length) else {
            return at;
        };
        if length < PREFIX as usize || file.read_exact_at(record, at).is_err() {
            return at;
        }
        let Some(size) = u32_at(record, 4).map(u64::from) else {
            return at;
        };
        let Some(next) = at.checked_add(size).filter(|next| *next <= end) else {
            return at;
        };
        if size < PREFIX {
            return at;
        }
        if u32_at(record, 0) == Some(CODE_LOAD)
            && size > LOAD
            && let (Some(start), Some(size)) = (u64_at(record, 32), u64_at(record, 40))
        {
            each(Function { start, size, at });
        }
        at = next;
    }
}

/// The name in the `CODE_LOAD` record at `at`.
pub fn name(file: &File, at: u64) -> Option<String> {
    let mut name = vec![0; MAX_NAME];
    let length = file.read_at(&mut name, at.checked_add(LOAD)?).ok()?;
    let name = name.get(..length)?.split(|b| *b == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, numbers: &[u64], tail: &[u8]) -> Vec<u8> {
        let length = 16 + 8 * numbers.len() + tail.len();
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend(77_u64.to_le_bytes());
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(tail);
        bytes
    }

    /// Checks a file with a function made, other kinds of records and a record
    /// that isn't whole, cut at every byte.
    #[test]
    fn records() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(40_u32.to_le_bytes());
        bytes.resize(40, 0);
        // pid and tid, vma, address, length, index.
        bytes.extend(record(0, &[1, 0, 0x1000, 0x20, 1], b"answer\0code"));
        bytes.extend(record(2, &[0x1000], b"lines"));
        bytes.extend(record(1, &[1, 0, 0x1000, 0x3000, 0x20, 1], b""));
        let whole = bytes.len() as u64;
        bytes.extend(record(0, &[1, 0, 0x5000, 0x20, 2], b"late\0code"));
        let file = tempfile::tempfile().expect("file");
        file.write_all_at(&bytes, 0).expect("written");
        for end in 0..bytes.len() as u64 {
            let mut found = Vec::new();
            let read = parse(&file, 0, end, |f| found.push(f));
            assert!(read <= end);
            if end >= whole {
                assert_eq!((read, found.len()), (whole, 1));
                assert_eq!((found[0].start, found[0].size), (0x1000, 0x20));
                assert_eq!(name(&file, found[0].at).as_deref(), Some("answer"));
            }
        }
        let mut late = Vec::new();
        parse(&file, whole, bytes.len() as u64, |f| late.push(f.start));
        assert_eq!(late, [0x5000]);
    }
}
