//! Which of the files that a process has mapped is a runtime, by what the file says.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use observer_runtimes::cpython::RuntimeSymbols;
use observer_symbols::elf::{ElfInfo, Segment};

use crate::foreign::{self, FileId, Foreign, Subject, process};
use crate::stacks::images::parse_maps_line;
use crate::stacks::roots::{Place, open_regular};

/// The most that is read of a process's mappings, in bytes.
const MAX_MAPS: u64 = 8 << 20;
/// Files of a process that are looked at.
const MAX_MAPPED: usize = 256;
/// Files that are known.
const MAX_FILES: usize = 16_384;

/// A file's runtime, and what is needed to tell where it is loaded.
#[derive(Clone, Debug)]
struct Found {
    symbols: RuntimeSymbols,
    segments: Vec<Segment>,
}

/// Finds CPython in processes, and remembers what files are.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    files: HashMap<FileId, Option<Found>>,
}

/// An executable mapping of a file.
struct Mapped {
    start: u64,
    end: u64,
    path: String,
}

impl Finder {
    /// CPython's symbols in what a process has mapped, and how far above their addresses
    /// they are loaded there; `None` if it has none, or ended.
    pub(crate) fn cpython(&mut self, pid: u32) -> Option<(RuntimeSymbols, u64)> {
        let maps = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            process::maps(foreign, pid, MAX_MAPS).ok()
        });
        let maps = maps.ok().flatten()?;
        let mut seen = HashSet::new();
        let mut looked = 0;
        for line in String::from_utf8_lossy(&maps).lines() {
            let Some((start, end, offset, path, Some(identity))) = parse_maps_line(line) else {
                continue;
            };
            if !path.starts_with('/') || !seen.insert(identity) {
                continue;
            }
            looked += 1;
            if looked > MAX_MAPPED {
                break;
            }
            let mapped = Mapped { start, end, path };
            let device = Subject::Device(identity.0, identity.1);
            if let Some(found) = self.look(pid, device, &mapped) {
                let segment = found.segments.iter().find(|s| s.holds(offset))?;
                let bias = start
                    .wrapping_add(segment.offset.wrapping_sub(offset))
                    .wrapping_sub(segment.address);
                return Some((found.symbols, bias));
            }
        }
        None
    }

    /// What a mapped file is.
    fn look(&mut self, pid: u32, device: Subject, mapped: &Mapped) -> Option<Found> {
        let (start, end) = (mapped.start, mapped.end);
        let handle = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            process::mapped_file(foreign, pid, start, end)
        });
        let (handle, path) = (handle.ok().flatten(), mapped.path.clone());
        let opened = foreign::ask(device, foreign::A_WHILE, move |foreign| {
            let file = handle.and_then(|handle| open_regular(foreign, &handle));
            let file = file.or_else(|| Place::Now(pid).open(foreign).open(&path))?;
            let id = FileId::of(foreign, &file).ok()?;
            Some((file, id))
        });
        let (file, id) = opened.ok().flatten()?;
        if let Some(known) = self.files.get(&id) {
            return known.clone();
        }
        let read = foreign::ask(id.subject(), foreign::A_WHILE, move |foreign| {
            read(foreign, &file)
        });
        let found = read.ok()?;
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
        self.files.insert(id, found.clone());
        found
    }
}

fn read(_: &Foreign, file: &File) -> Option<Found> {
    let symbols = RuntimeSymbols::find(file).ok().flatten()?;
    let segments = ElfInfo::read(file).ok()?.segments;
    let code = segments.into_iter().filter(|segment| segment.executable);
    Some(Found {
        symbols,
        segments: code.collect(),
    })
}

/// Whether a mapping from an offset in the file on shows a segment: mappings begin at the
/// beginning of a page.
trait Holds {
    fn holds(&self, offset: u64) -> bool;
}

impl Holds for Segment {
    fn holds(&self, offset: u64) -> bool {
        const PAGE: u64 = 4096;
        let begin = self.offset & !(PAGE - 1);
        (begin..self.offset.saturating_add(self.length)).contains(&offset)
    }
}
