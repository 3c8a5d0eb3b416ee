//! The map that JIT compilers write of their code: one `START SIZE NAME` per
//! line, numbers in hex (Linux, `tools/perf/Documentation/jit-interface.txt`).
//!
//! Maps grow to tens of megabytes while their program runs. So what is kept of
//! one is an index of 16 bytes per function, and only what was added is read
//! again; names stay in the file until they are asked for.

use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::jitdump;

/// Longest map read; a busy JVM's has some ten MiB.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Longest line; names behind it are cut.
const MAX_LINE: usize = 4096;
/// Functions of one map (8 MiB of index).
const MAX_RANGES: usize = 512 * 1024;
/// Names given to addresses at most while a map is read as a stream. A JIT
/// names an address a few times, as it makes code anew; a map in which each
/// line covers everything could keep its reader busy for hours.
const MAX_MATCHES: usize = 1 << 22;

/// One line of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// First address.
    pub start: u64,
    /// Length of the code.
    pub size: u64,
    /// The function's name, perhaps cut.
    pub name: &'a [u8],
    /// Where the line begins in the map.
    pub at: u64,
    /// Whether the line has its end: the last one may still be written.
    pub is_whole: bool,
}

/// What reading a map came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes up to the end of the last whole line.
    pub complete: u64,
    /// Whole lines that are no entries, nor empty.
    pub malformed: u64,
}

/// Calls `each` with every entry of a map; lines that are none are passed over
/// and counted. Never keeps more than a line, however long lines are.
pub fn parse(mut map: impl BufRead, mut each: impl FnMut(Entry<'_>)) -> Parsed {
    let mut line = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let mut parsed = Parsed::default();
    loop {
        let piece = match map.fill_buf() {
            Ok([]) | Err(_) => break,
            Ok(piece) => piece,
        };
        let part = piece.split(|b| *b == b'\n').next().unwrap_or(piece);
        let ends = part.len() < piece.len();
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(ends);
        map.consume(used);
        at += used as u64;
        if ends {
            match entry(&line, begin, true) {
                Some(entry) => each(entry),
                None => parsed.malformed += u64::from(!line.trim_ascii().is_empty()),
            }
            line.clear();
            begin = at;
            parsed.complete = at;
        }
    }
    if let Some(entry) = entry(&line, begin, false) {
        each(entry);
    }
    parsed
}

fn entry(line: &[u8], at: u64, is_whole: bool) -> Option<Entry<'_>> {
    let line = line.trim_ascii_end();
    let mut parts = line.splitn(3, |b| *b == b' ');
    let mut number = || {
        let text = std::str::from_utf8(parts.next()?).ok()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = parts.next().filter(|name| !name.is_empty())?;
    Some(Entry {
        start,
        size,
        name,
        at,
        is_whole,
    })
}

/// Names of those of `addresses` that a map knows. It is read as a stream:
/// however long it is, only answers take memory.
pub fn names_in(map: impl BufRead, addresses: &mut Vec<u64>) -> HashMap<u64, String> {
    stream(map, addresses).0
}

/// Names of those of `addresses` that a map knows, and what reading it came to.
fn stream(map: impl BufRead, addresses: &mut Vec<u64>) -> (HashMap<u64, String>, Parsed) {
    addresses.sort_unstable();
    addresses.dedup();
    let mut found = HashMap::new();
    let mut matches = 0;
    let parsed = parse(map, |entry| {
        if matches >= MAX_MATCHES {
            return;
        }
        let from = addresses.partition_point(|a| *a < entry.start);
        let end = entry.start.saturating_add(entry.size);
        let within = addresses.iter().skip(from).take_while(|a| **a < end);
        for address in within {
            // Code is moved and memory reused: the last line is the newest.
            let name = String::from_utf8_lossy(entry.name).into_owned();
            found.insert(*address, name);
            matches += 1;
        }
    });
    (found, parsed)
}

/// Where the newest line about some code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u64,
    length: u32,
    at: u32,
}

/// What is known of one map, or of one jitdump file.
#[derive(Debug, Default)]
pub struct Index {
    /// Sorted, never overlapping.
    ranges: Vec<Range>,
    /// How far it was read.
    read: u64,
    /// Which file it was: device, inode.
    file: (u64, u64),
    /// Lines of it that are no entries, as far as it was read, and how many of
    /// them were told of.
    malformed: u64,
    told: u64,
}

impl Index {
    /// Reads what was added to `map`, then names those of `addresses` that it
    /// knows.
    pub fn names(&mut self, map: &File, addresses: &mut Vec<u64>) -> HashMap<u64, String> {
        let Some(length) = self.begin(map) else {
            return HashMap::new();
        };
        if length > self.read && !self.update(map) {
            let whole = BufReader::new(At { map, at: 0 }.take(MAX_BYTES));
            let (names, parsed) = stream(whole, addresses);
            self.malformed = parsed.malformed;
            return names;
        }
        let named = addresses.iter().filter_map(|address| {
            let range = self.find(*address)?;
            let mut line = vec![0; MAX_LINE];
            let length = map.read_at(&mut line, u64::from(range.at)).ok()?;
            let line = line.get(..length)?.split(|b| *b == b'\n').next()?;
            let name = entry(line, 0, true)?.name;
            Some((*address, String::from_utf8_lossy(name).into_owned()))
        });
        named.collect()
    }

    /// The same for a jitdump file.
    pub fn names_in_dump(&mut self, dump: &File, addresses: &[u64]) -> HashMap<u64, String> {
        let Some(length) = self.begin(dump) else {
            return HashMap::new();
        };
        let mut ranges = std::mem::take(&mut self.ranges);
        let end = length.min(u64::from(u32::MAX));
        self.read = jitdump::parse(dump, self.read, end, |function| {
            let length = u32::try_from(function.size).unwrap_or(0);
            if length > 0 && ranges.len() < MAX_RANGES {
                ranges.push(Range {
                    start: function.start,
                    length,
                    at: function.at as u32,
                });
            }
        });
        self.ranges = newest(ranges);
        let named = addresses.iter().filter_map(|address| {
            let range = self.find(*address)?;
            Some((*address, jitdump::name(dump, u64::from(range.at))?))
        });
        named.collect()
    }

    /// Begins anew if it isn't the file that was read, or not all of it is left.
    /// Its length.
    fn begin(&mut self, map: &File) -> Option<u64> {
        let meta = map.metadata().ok()?;
        let file = (meta.dev(), meta.ino());
        if file != self.file || meta.len() < self.read {
            *self = Self {
                file,
                ..Self::default()
            };
        }
        Some(meta.len())
    }

    /// Lines that are no entries, since this was asked last.
    pub fn take_malformed(&mut self) -> u64 {
        let new = self.malformed.saturating_sub(self.told);
        self.told = self.malformed;
        new
    }

    /// How many functions are known.
    pub fn functions(&self) -> usize {
        self.ranges.len()
    }

    fn find(&self, address: u64) -> Option<&Range> {
        let behind = self.ranges.partition_point(|r| r.start <= address);
        let range = self.ranges.get(behind.checked_sub(1)?)?;
        (address - range.start < u64::from(range.length)).then_some(range)
    }

    /// Takes in what was added; false when that is too much to keep.
    fn update(&mut self, map: &File) -> bool {
        let from = self.read;
        let left = MAX_BYTES.saturating_sub(from);
        let added = BufReader::new(At { map, at: from }.take(left));
        let mut ranges = std::mem::take(&mut self.ranges);
        let parsed = parse(added, |entry| {
            // A JIT's function of 4 GiB there is not.
            let length = u32::try_from(entry.size).unwrap_or(0);
            let at = u32::try_from(from + entry.at).unwrap_or(u32::MAX);
            if entry.is_whole && length > 0 && ranges.len() <= MAX_RANGES {
                ranges.push(Range {
                    start: entry.start,
                    length,
                    at,
                });
            }
        });
        if ranges.len() > MAX_RANGES {
            self.read = 0;
            return false;
        }
        self.ranges = newest(ranges);
        self.read = from + parsed.complete;
        self.malformed += parsed.malformed;
        true
    }
}

/// The same code cut so that nothing overlaps: of two lines about one address
/// the later one holds.
fn newest(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_by_key(|r| r.start);
    let mut result: Vec<Range> = Vec::with_capacity(ranges.len());
    let mut open: BinaryHeap<(u32, u64)> = BinaryHeap::new();
    let mut next = ranges.iter().peekable();
    let mut position = 0;
    loop {
        while open.peek().is_some_and(|(_, end)| *end <= position) {
            open.pop();
        }
        let start = next.peek().map(|r| r.start);
        let (Some(until), newest) = (match open.peek() {
            Some(&(at, end)) => (Some(start.map_or(end, |s| s.min(end))), Some(at)),
            None => (start, None),
        }) else {
            return result;
        };
        if let Some(at) = newest
            && until > position
        {
            let length = (until - position) as u32;
            match result.last_mut() {
                Some(last) if last.at == at && last.start + u64::from(last.length) == position => {
                    last.length += length;
                }
                _ => result.push(Range {
                    start: position,
                    length,
                    at,
                }),
            }
        }
        position = until;
        while let Some(range) = next.next_if(|r| r.start <= position) {
            open.push((
                range.at,
                range.start.saturating_add(u64::from(range.length)),
            ));
        }
    }
}

/// Reads a file from a place on, wherever its own position is.
struct At<'a> {
    map: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.map.read_at(into, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
#[path = "perf_map_tests.rs"]
mod tests;
