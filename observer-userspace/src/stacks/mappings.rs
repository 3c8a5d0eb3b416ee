//! What is mapped executable in each process, kept up to date by the kernel's
//! side band and read from `/proc/PID/maps` only for processes that were there
//! before (and as a last resort after a loss).
//!
//! A process has a list of *images*, one per program it ran since the last
//! [`Processes::forget_ended`]: a sample from before an exec must not be named
//! with the mappings from after it.

use std::collections::HashMap;
use std::rc::{Rc, Weak};

use super::images::{Image, Map, MapFile, parse_maps_line};
use super::process::Process;
use super::roots::{Root, RootId};
use super::sideband::{Event, FileIdentity};
use crate::foreign::process as of_others;
use crate::foreign::{self, Subject};

/// More processes than this at once are not tracked (their user frames show as
/// addresses); bounds memory against fork bombs.
const MAX_PROCESSES: usize = 32_768;

/// The most that is read of a process's mappings, in bytes.
const MAX_MAPS: u64 = 32 << 20;

/// What the symbolizer could not keep or read, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappingLosses {
    /// Side-band records that the kernel had no room for.
    pub records: u64,
    /// Processes and mappings beyond the limits.
    pub limits: u64,
    /// Lines of perf maps that are no entries.
    pub perf_map_lines: u64,
    /// Python functions that had no name in a profile.
    pub code_unread: u64,
    /// Programs whose interpreter isn't known.
    pub interpreters: u64,
}

impl MappingLosses {
    /// `(cause, what it means, count)` of each.
    pub fn causes(&self) -> [(&'static str, &'static str, u64); 5] {
        [
            (
                "side_band_ring_full",
                "News of mappings were missed; some frames may lack a symbol.",
                self.records,
            ),
            (
                "mapping_table_full",
                "More processes or mappings than are kept; their frames lack symbols.",
                self.limits,
            ),
            (
                "perf_map_malformed",
                "Lines of perf maps that are not `START SIZE NAME`; the code that they were to name may lack a symbol.",
                self.perf_map_lines,
            ),
            (
                "cpython_code_unread",
                "Python functions, one each for a profile, that could not be read, or of which others took the place meanwhile: their frames have no name.",
                self.code_unread,
            ),
            (
                "cpython_unsupported",
                "Programs with a CPython whose version or build is not supported, or that may not be read: the interpreter's own functions are shown.",
                self.interpreters,
            ),
        ]
    }
}

#[derive(Debug, Default)]
pub(super) struct Processes {
    table: HashMap<u32, Process>,
    files: HashMap<(Rc<str>, FileIdentity, usize), Weak<MapFile>>,
    roots: HashMap<RootId, Weak<Root>>,
    losses: MappingLosses,
    /// Whether the side band tells of every new mapping.
    pub(super) side_band: bool,
    /// It lost something in this interval.
    doubtful: bool,
}

impl Processes {
    /// Reads what every process has mapped now. Call it after the side band
    /// was opened, so that nothing falls between.
    pub(super) fn scan(&mut self) {
        for pid in of_others::all() {
            self.read_maps(pid);
        }
    }

    /// What was lost since the start.
    pub(super) fn losses(&self) -> MappingLosses {
        self.losses
    }

    /// The process `pid`, read from `/proc` if the side band never told of it.
    pub(super) fn get(&mut self, pid: u32) -> Option<&Process> {
        if !self.table.contains_key(&pid) {
            self.read_maps(pid);
        }
        self.table.get(&pid)
    }

    /// Reads `/proc/PID/maps` again, once per interval, because an address
    /// was in no known mapping.
    pub(super) fn refresh(&mut self, pid: u32) {
        if let Some(process) = self.table.get_mut(&pid) {
            if process.refreshed || process.ended {
                return;
            }
            process.refreshed = true;
            self.read_maps(pid);
        }
    }

    /// Takes one piece of news in.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Fork { pid, parent } => self.fork(pid, parent),
            Event::Comm {
                pid,
                tid,
                name,
                exec,
            } => {
                let root = if exec { self.open_root(pid) } else { None };
                let Some(process) = self.entry(pid) else {
                    return;
                };
                if exec {
                    process.begin(Image::new(name));
                    process.root = root.or(process.root.take());
                } else if pid == tid {
                    process.current().comm = name;
                }
            }
            Event::Mmap {
                pid,
                start,
                end,
                offset,
                path,
                identity,
            } => {
                let root = self.entry(pid).and_then(|p| p.root.clone());
                let file = self.file(path, identity, root.as_ref());
                let kept = self.entry(pid).is_some_and(|process| {
                    process.current().insert(Map {
                        start,
                        end,
                        offset,
                        file,
                    })
                });
                self.losses.limits += u64::from(!kept);
            }
            Event::Exit { pid } => {
                if let Some(process) = self.table.get_mut(&pid) {
                    process.ended = true;
                }
            }
            Event::KernelCode { .. } => {} // the symbolizer's business
            Event::Lost(records) => {
                self.losses.records += records;
                self.doubtful = true;
            }
        }
    }

    /// Lets go of processes that ended and of programs that were replaced; to
    /// be called when the interval that may have sampled them is symbolized.
    pub(super) fn forget_ended(&mut self) {
        self.table.retain(|pid, process| {
            process.refreshed = false;
            process.forget_earlier();
            // A leader may end before its threads do.
            !process.ended || of_others::has_threads(*pid)
        });
        self.doubtful = false;
        self.table.shrink_to(1024);
        self.files.retain(|_, file| file.strong_count() > 0);
        self.roots.retain(|_, root| root.strong_count() > 0);
    }

    /// Whether an address in no known mapping can't be in any.
    pub(super) fn is_complete(&self) -> bool {
        self.side_band && !self.doubtful
    }

    fn entry(&mut self, pid: u32) -> Option<&mut Process> {
        if !self.table.contains_key(&pid) && self.table.len() >= MAX_PROCESSES {
            self.losses.limits += 1;
            return None;
        }
        Some(self.table.entry(pid).or_default())
    }

    fn fork(&mut self, pid: u32, parent: u32) {
        let inherited = self
            .table
            .get(&parent)
            .map(|p| (p.current_image().cloned(), p.root.clone()));
        let Some(process) = self.entry(pid) else {
            return;
        };
        // The number may have belonged to another process in this interval.
        process.ended = false;
        process.refreshed = false;
        if let Some((image, root)) = inherited {
            process.begin(image.unwrap_or_default());
            process.root = root;
        } else {
            process.begin(Image::default());
        }
    }

    fn read_maps(&mut self, pid: u32) {
        let maps = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            of_others::maps(foreign, pid, MAX_MAPS).ok()
        });
        // A kernel thread, or a process about to end, has none.
        let Some(text) = maps.ok().flatten().filter(|maps| !maps.is_empty()) else {
            return;
        };
        let text = String::from_utf8_lossy(&text);
        let root = self.open_root(pid);
        let comm = of_others::comm(pid).unwrap_or_default();
        let comm = String::from_utf8_lossy(comm.trim_ascii_end());
        let mut image = Image::new(comm.into_owned());
        let mut dropped = 0;
        for line in text.lines() {
            if let Some((start, end, offset, path, identity)) = parse_maps_line(line) {
                let file = self.file(path, identity, root.as_ref());
                dropped += u64::from(!image.insert(Map {
                    start,
                    end,
                    offset,
                    file,
                }));
            }
        }
        self.losses.limits += dropped;
        if let Some(process) = self.entry(pid) {
            if process.root.is_none() {
                process.root = root;
            }
            process.replace(image);
        }
    }

    fn file(
        &mut self,
        path: String,
        identity: FileIdentity,
        root: Option<&Rc<Root>>,
    ) -> Rc<MapFile> {
        let root_key = root.map_or(0, |r| Rc::as_ptr(r) as usize);
        let mut key = (Rc::from(path), identity, root_key);
        let known = self.files.get(&key).and_then(Weak::upgrade);
        let earlier = known
            .as_ref()
            .and_then(|known| known.module.borrow().clone());
        match (known, &earlier) {
            (Some(known), None) => return known,
            (Some(known), Some(_)) => key.0 = known.path.clone(),
            (None, _) => {}
        }
        let file = MapFile::new(key.0.clone(), identity, root.cloned());
        *file.earlier.borrow_mut() = earlier;
        let file = Rc::new(file);
        self.files.insert(key, Rc::downgrade(&file));
        file
    }

    /// The root directory of `pid`, shared by all processes with the same one.
    fn open_root(&mut self, pid: u32) -> Option<Rc<Root>> {
        let subject = Subject::Root(pid);
        let id = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
            Root::id(foreign, pid)
        });
        let id = id.ok().flatten()?;
        if let Some(root) = self.roots.get(&id).and_then(Weak::upgrade) {
            return Some(root);
        }
        let root = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
            Root::open(foreign, pid)
        });
        let root = Rc::new(root.ok().flatten()?);
        self.roots.insert(id, Rc::downgrade(&root));
        Some(root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mmap(pid: u32, start: u64, end: u64, offset: u64, path: &str) -> Event {
        Event::Mmap {
            pid,
            start,
            end,
            offset,
            path: path.to_owned(),
            identity: None,
        }
    }

    fn place(
        processes: &mut Processes,
        pid: u32,
        comm: &str,
        address: u64,
    ) -> Option<(String, u64)> {
        let process = processes.get(pid)?;
        let map = process.image(comm, &[address])?.find(address)?;
        Some((map.file.path.to_string(), address - map.start + map.offset))
    }

    const PARENT: u32 = u32::MAX - 2;
    const CHILD: u32 = u32::MAX - 1;

    /// Checks fork (inherits), exec (replaces, but the old image still
    /// explains old samples), exit (kept until forgotten).
    #[test]
    fn life_of_a_process() {
        let mut p = Processes::default();
        p.apply(mmap(PARENT, 0x1000, 0x3000, 0, "/bin/sh"));
        p.apply(Event::Fork {
            pid: CHILD,
            parent: PARENT,
        });
        p.apply(Event::Comm {
            pid: CHILD,
            tid: CHILD,
            name: "ls".into(),
            exec: true,
        });
        p.apply(mmap(CHILD, 0x2000, 0x5000, 0x100, "/bin/ls"));
        p.apply(Event::Exit { pid: CHILD });
        let at = |p: &mut Processes, a| place(p, CHILD, "ls", a);
        assert_eq!(at(&mut p, 0x4000), Some(("/bin/ls".into(), 0x2100)));
        assert_eq!(at(&mut p, 0x1800), Some(("/bin/sh".into(), 0x800)));
        // Both images have something there: the name decides.
        assert_eq!(at(&mut p, 0x2800), Some(("/bin/ls".into(), 0x900)));
        let of_shell = place(&mut p, CHILD, "sh", 0x1800);
        assert_eq!(of_shell, Some(("/bin/sh".into(), 0x800)));
        p.forget_ended();
        assert_eq!(at(&mut p, 0x4000), None);
        assert_eq!(p.table.len(), 1, "the parent lives on");
    }

    /// Checks that this process's own code is found by reading /proc.
    #[test]
    fn own_process() {
        let mut p = Processes::default();
        let here = own_process as *const () as u64;
        let exe = std::env::current_exe().expect("exe");
        let (path, _) = place(&mut p, std::process::id(), "", here).expect("mapped");
        assert_eq!(std::path::Path::new(&path), exe);
    }
}
