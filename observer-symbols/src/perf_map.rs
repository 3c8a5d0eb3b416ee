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

/// Calls `each` with every entry of a map; lines that are none are passed over.
/// Returns how much was read up to the end of the last whole line. Never keeps
/// more than a line, however long lines are.
pub fn parse(mut map: impl BufRead, mut each: impl FnMut(Entry<'_>)) -> u64 {
    let mut line = Vec::new();
    let (mut begin, mut at, mut complete) = (0, 0, 0);
    loop {
        let piece = match map.fill_buf() {
            Ok([]) | Err(_) => break,
            Ok(piece) => piece,
        };
        let end = piece.iter().position(|b| *b == b'\n');
        let part = &piece[..end.unwrap_or(piece.len())];
        let room = MAX_LINE - line.len();
        line.extend(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        map.consume(used);
        at += used as u64;
        if end.is_some() {
            if let Some(entry) = entry(&line, begin, true) {
                each(entry);
            }
            line.clear();
            begin = at;
            complete = at;
        }
    }
    if let Some(entry) = entry(&line, begin, false) {
        each(entry);
    }
    complete
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
    addresses.sort_unstable();
    addresses.dedup();
    let mut found = HashMap::new();
    let mut matches = 0;
    parse(map, |entry| {
        if matches >= MAX_MATCHES {
            return;
        }
        let from = addresses.partition_point(|a| *a < entry.start);
        let end = entry.start.saturating_add(entry.size);
        for address in addresses[from..].iter().take_while(|a| **a < end) {
            // Code is moved and memory reused: the last line is the newest.
            let name = String::from_utf8_lossy(entry.name).into_owned();
            found.insert(*address, name);
            matches += 1;
        }
    });
    found
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
            return names_in(whole, addresses);
        }
        let named = addresses.iter().filter_map(|address| {
            let range = self.find(*address)?;
            let mut line = vec![0; MAX_LINE];
            let length = map.read_at(&mut line, u64::from(range.at)).ok()?;
            let line = line[..length].split(|b| *b == b'\n').next()?;
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
        let read = parse(added, |entry| {
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
        self.read = from + read;
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
mod tests {
    use super::*;
    use crate::testing;
    use std::io::Write as _;

    /// Checks that each address gets the newest name whose range holds it, and
    /// that lines which aren't entries are passed over.
    #[test]
    fn newest_name_wins() {
        let map = "1000 100 old\nnonsense\n\n0x1000 80 new name with spaces\n2000 10 last";
        let mut addresses = vec![0x2000, 0x1000, 0x1080, 0x10ff, 0x1100, 0x2010];
        let found = names_in(map.as_bytes(), &mut addresses);
        let name = |a: u64| found.get(&a).map(String::as_str);
        assert_eq!(name(0x1000), Some("new name with spaces"));
        assert_eq!(name(0x1080), Some("old"));
        assert_eq!(name(0x10ff), Some("old"));
        assert_eq!(name(0x1100), None);
        assert_eq!(name(0x2000), Some("last"));
        assert_eq!(name(0x2010), None);
    }

    /// Checks that a line without an end takes no more memory than a line, and
    /// that what follows it is read.
    #[test]
    fn endless_line() {
        let long = format!("1000 10 {}\n2000 10 next\n", "x".repeat(1 << 20));
        let mut found = Vec::new();
        let read = parse(long.as_bytes(), |e| found.push((e.start, e.name.len())));
        assert_eq!(found, [(0x1000, MAX_LINE - 8), (0x2000, 4)]);
        assert_eq!(read, long.len() as u64);
    }

    /// Checks that reading comes to an end when each line names everything.
    #[test]
    fn work_is_bounded() {
        let map = "0 ffffffffffff x\n".repeat(5) + "0 1 late\n";
        let mut addresses: Vec<u64> = (0..1 << 20).collect();
        assert_eq!(names_in(map.as_bytes(), &mut addresses)[&0], "x");
    }

    /// Checks an index that reads a growing map piece by piece against reading
    /// all of it at once, with functions that overlap at random.
    #[test]
    fn growing_map() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut map = tempfile::tempfile().expect("file");
        let mut index = Index::default();
        let mut text = String::new();
        for turn in 0..60 {
            let mut added = String::new();
            for n in 0..random.usize(0..20) {
                let (start, size) = (random.u32(0..400), random.u32(0..40));
                added += &format!("{start:x} {size:x} f{turn}_{n}\n");
            }
            // The last line is on its way.
            let cut = random.usize(0..=added.len());
            for part in [&added[..cut], &added[cut..]] {
                map.write_all(part.as_bytes()).expect("written");
                text += part;
                let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
                let mut addresses: Vec<u64> = (0..450).collect();
                let expected = names_in(whole.as_bytes(), &mut addresses);
                assert_eq!(index.names(&map, &mut addresses), expected, "turn {turn}");
            }
        }
        assert!(index.read > 0 && index.functions() > 10);
    }

    /// Checks that all inputs which fuzzing found worth keeping are read without
    /// a panic, and that what comes of them is well-formed.
    #[test]
    fn fuzzed_inputs() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/perf_map");
        let mut count = 0;
        for file in std::fs::read_dir(folder).expect("a corpus") {
            let map = std::fs::read(file.expect("a file").path()).expect("read");
            let mut addresses = testing::addresses(&map);
            let found = names_in(map.as_slice(), &mut addresses);
            testing::check(&map, &addresses, &found);
            count += 1;
        }
        assert!(count > 0, "{folder} is empty");
    }
}
