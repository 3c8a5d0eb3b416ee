//! Programs in memory: which file is executable at which address.

use std::cell::RefCell;
use std::rc::Rc;

use super::module::Module;
use super::roots::Root;
use super::sideband::FileIdentity;

/// Executable mappings kept per process; a JVM has some hundreds.
const MAX_MAPS: usize = 8_192;

/// What a mapping shows, as the kernel described it.
#[derive(Debug)]
pub struct MapFile {
    /// Path as the process sees it.
    pub path: Rc<str>,
    /// Which file it is.
    pub identity: FileIdentity,
    /// The root directory of who mapped it, where its debug files may be.
    pub(super) root: Option<Rc<Root>>,
    /// What it was when somebody else had mapped it; it may have been written to since.
    pub(super) earlier: RefCell<Option<Rc<Module>>>,
    /// What is known of its contents, once they were looked at.
    pub(super) module: RefCell<Option<Rc<Module>>>,
}

impl MapFile {
    /// A file not looked at yet.
    pub(super) fn new(path: Rc<str>, identity: FileIdentity, root: Option<Rc<Root>>) -> Self {
        Self {
            path,
            identity,
            root,
            earlier: RefCell::default(),
            module: RefCell::new(None),
        }
    }

    /// Whether there is a file behind it (else it is anonymous memory, a
    /// kernel page…).
    pub fn is_file(&self) -> bool {
        let is_memory = ["//", "/dev/zero", "/anon_hugepage"];
        self.path.starts_with('/') && !is_memory.iter().any(|name| self.path.starts_with(name))
    }
}

/// One executable mapping.
#[derive(Clone, Debug)]
pub struct Map {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// What is mapped.
    pub file: Rc<MapFile>,
}

/// One program in one process.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The name of the process while it ran this.
    pub comm: String,
    /// Sorted by address, never overlapping.
    maps: Rc<Vec<Map>>,
}

impl Image {
    /// A program of which nothing is mapped yet.
    pub fn new(comm: String) -> Self {
        Self {
            comm,
            maps: Rc::default(),
        }
    }

    /// All mappings, sorted by address. As long as nothing changes, and in
    /// children that didn't change anything, it is the same list.
    pub fn maps(&self) -> &Rc<Vec<Map>> {
        &self.maps
    }

    /// The mapping that holds `address`.
    pub fn find(&self, address: u64) -> Option<&Map> {
        let behind = self.maps.partition_point(|m| m.start <= address);
        let map = self.maps.get(behind.checked_sub(1)?)?;
        (address < map.end).then_some(map)
    }

    /// Adds `map`, which replaces whatever was there. False when full.
    pub(super) fn insert(&mut self, map: Map) -> bool {
        let maps = Rc::make_mut(&mut self.maps);
        let first = maps.partition_point(|m| m.end <= map.start);
        let last = maps.partition_point(|m| m.start < map.end);
        let mut replacement = Vec::with_capacity(3);
        if let Some(old) = maps.get(first).filter(|m| m.start < map.start) {
            replacement.push(Map {
                end: map.start,
                ..old.clone()
            });
        }
        let behind = last.checked_sub(1).and_then(|l| maps.get(l));
        let tail = behind.filter(|m| m.end > map.end).map(|old| Map {
            start: map.end,
            offset: old.offset.wrapping_add(map.end - old.start),
            ..old.clone()
        });
        replacement.push(map);
        replacement.extend(tail);
        if maps.len() + replacement.len() > MAX_MAPS {
            return false;
        }
        maps.splice(first..last.max(first), replacement);
        true
    }
}

/// Start, end, offset in the file, path, and which file it is.
pub(crate) type MapsLine = (u64, u64, u64, String, FileIdentity);

/// An executable mapping of `/proc/PID/maps` (proc_pid_maps(5)).
pub(crate) fn parse_maps_line(line: &str) -> Option<MapsLine> {
    let mut rest = line;
    let mut field = || {
        let (field, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        field
    };
    let (start, end) = field().split_once('-')?;
    if field().as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = u64::from_str_radix(field(), 16).ok()?;
    let (major, minor) = field().split_once(':')?;
    let inode: u64 = field().parse().ok()?;
    let path = rest.trim_start();
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    let identity = match inode {
        0 => None,
        inode => Some((hex(major)?, hex(minor)?, inode)),
    };
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
        offset,
        if path.is_empty() { "//anon" } else { path }.to_owned(),
        identity,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a new mapping cuts what it covers and nothing else, against
    /// a page-by-page model.
    #[test]
    fn overlaps_are_replaced() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut image = Image::default();
        let mut model: Vec<Option<(String, u64)>> = vec![None; 64];
        for turn in 0..500 {
            let start = random.u64(0..60);
            let end = random.u64(start + 1..=64);
            let offset = random.u64(0..100);
            image.insert(Map {
                start,
                end,
                offset,
                file: Rc::new(MapFile::new(format!("{turn}").into(), None, None)),
            });
            for page in start..end {
                model[page as usize] = Some((format!("{turn}"), offset + page - start));
            }
            for page in 0..64 {
                let found = image
                    .find(page)
                    .map(|m| (m.file.path.to_string(), m.offset + page - m.start));
                assert_eq!(found, model[page as usize], "page {page}, turn {turn}");
            }
        }
    }
}
