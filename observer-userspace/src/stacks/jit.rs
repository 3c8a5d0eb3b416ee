//! Names of code made at run time: which process's map is where, and whether to
//! trust it. The map itself is `perf_map`'s business, a jitdump file `jitdump`'s.
//!
//! A map is called `/tmp/perf-PID.map` in the process's own file system, after
//! its id in its own PID namespace. `/tmp` is everybody's, so a map counts only
//! if it belongs to the process's user or to root, as perf demands, and links
//! are not followed. Both can be asked only while the process lives; so they
//! are noted when it maps memory to execute.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use observer_symbols::perf_map::Index;

use super::process::Process;
use super::roots::Place;
use super::sideband::Event;
use crate::foreign::{self, Foreign, Subject, process as of_others};

/// The most that is read of a process's mappings, in bytes.
const MAX_MAPS: u64 = 32 << 20;

/// Processes with code made at run time.
const MAX_PROCESSES: usize = 4096;
/// Functions kept of all maps together (16 bytes each).
const MAX_FUNCTIONS: usize = 1024 * 1024;

/// What of a process matters for its map.
#[derive(Debug, Default)]
struct Maker {
    /// Its id in its own PID namespace.
    inner_pid: u32,
    /// Its effective user, as the host sees it.
    user: u32,
    ended: bool,
    index: Index,
    /// A jitdump file that it maps, which is how such a file announces itself.
    dump: Option<String>,
    dumped: Index,
    /// In which interval it was asked last.
    asked: u64,
}

impl Maker {
    /// The process `pid`, if it lives.
    fn read(foreign: &Foreign, pid: u32) -> Option<Self> {
        let status = of_others::status(foreign, pid)?;
        let field = |name: &str, at: usize| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            let mut values = line.split_whitespace();
            let value = match at {
                usize::MAX => values.next_back(),
                at => values.nth(at),
            };
            value?.parse().ok()
        };
        Some(Self {
            inner_pid: field("NSpid:", usize::MAX).unwrap_or(pid),
            user: field("Uid:", 1)?,
            dump: mapped_dump(foreign, pid),
            ..Self::default()
        })
    }

    /// Names of those of `addresses` that its maps know.
    fn names(
        &mut self,
        foreign: &Foreign,
        pid: u32,
        place: Place,
        addresses: &mut Vec<u64>,
    ) -> HashMap<u64, String> {
        let roots = place.open(foreign);
        let open = |path: &str| {
            let file = roots.open_itself(path)?;
            let owner = file.metadata().ok()?.uid();
            let is_trusted = owner == 0 || owner == self.user;
            if !is_trusted {
                tracing::debug!("{path} of process {pid} belongs to somebody else");
            }
            is_trusted.then_some(file)
        };
        let map = open(&format!("/tmp/perf-{}.map", self.inner_pid));
        let dump = self.dump.as_deref().and_then(open);
        let named = map.map(|map| self.index.names(&map, addresses));
        let mut named = named.unwrap_or_default();
        if let Some(dump) = dump {
            for (address, name) in self.dumped.names_in_dump(&dump, addresses) {
                named.entry(address).or_insert(name);
            }
        }
        named
    }
}

/// All processes that make code at run time.
#[derive(Debug, Default)]
pub(super) struct Jits {
    makers: HashMap<u32, Maker>,
    interval: u64,
    malformed: u64,
}

impl Jits {
    /// Takes one piece of news in.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Mmap { pid, path, .. } if is_anonymous(path) => self.note(*pid),
            Event::Mmap { pid, path, .. } if is_dump(path) => {
                self.note(*pid);
                if let Some(maker) = self.makers.get_mut(pid) {
                    maker.dump = Some(path.clone());
                }
            }
            // A new program, perhaps with another user.
            Event::Comm {
                pid, exec: true, ..
            } => _ = self.makers.remove(pid),
            // The number was another process's before.
            Event::Fork { pid, .. } => _ = self.makers.remove(pid),
            Event::Exit { pid } => {
                if let Some(maker) = self.makers.get_mut(pid) {
                    maker.ended = true;
                }
            }
            _ => {}
        }
    }

    /// Names of those of `addresses` that the map of process `pid` knows.
    pub(super) fn names(
        &mut self,
        pid: u32,
        process: &Process,
        addresses: &mut Vec<u64>,
    ) -> HashMap<u64, String> {
        self.note(pid);
        // Of one that ended before anybody looked, only root's map is trusted.
        let unknown = Maker {
            inner_pid: pid,
            ..Maker::default()
        };
        let is_known = self.makers.contains_key(&pid);
        let mut maker = self.makers.remove(&pid).unwrap_or(unknown);
        maker.asked = self.interval;
        let (place, mut wanted) = (process.place(pid), std::mem::take(addresses));
        let named = foreign::ask(Subject::Root(pid), foreign::A_WHILE, move |foreign| {
            let named = maker.names(foreign, pid, place, &mut wanted);
            (maker, named)
        });
        // One that was lost is asked about again, when it answers.
        let Ok((mut maker, named)) = named else {
            return HashMap::new();
        };
        self.malformed += maker.index.take_malformed();
        if is_known {
            self.makers.insert(pid, maker);
        }
        named
    }

    /// Lines of perf maps that were no entries, since the start.
    pub(super) fn malformed_lines(&self) -> u64 {
        self.malformed
    }

    /// Lets go of processes that ended, and of what wasn't asked for longest
    /// when there is too much.
    pub(super) fn trim(&mut self) {
        self.makers.retain(|_, maker| !maker.ended);
        self.interval += 1;
        let functions = |maker: &Maker| maker.index.functions() + maker.dumped.functions();
        let mut all: usize = self.makers.values().map(functions).sum();
        while all > MAX_FUNCTIONS {
            let used = self.makers.values_mut().filter(|m| functions(m) > 0);
            let Some(oldest) = used.min_by_key(|m| m.asked) else {
                return;
            };
            all -= functions(oldest);
            oldest.index = Index::default();
            oldest.dumped = Index::default();
        }
    }

    fn note(&mut self, pid: u32) {
        if !self.makers.contains_key(&pid) && self.makers.len() < MAX_PROCESSES {
            let maker = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
                Maker::read(foreign, pid)
            });
            let maker = maker.ok().flatten();
            self.makers.extend(maker.map(|maker| (pid, maker)));
        }
    }
}

/// Whether a mapping is of a jitdump file.
fn is_dump(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.starts_with('/') && name.starts_with("jit-") && name.ends_with(".dump")
}

/// The jitdump file that a process has mapped already.
fn mapped_dump(foreign: &Foreign, pid: u32) -> Option<String> {
    let maps = of_others::maps(foreign, pid, MAX_MAPS).ok()?;
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let paths = maps.lines().filter_map(|l| l.get(l.find('/')?..));
    paths.into_iter().find(|p| is_dump(p)).map(str::to_owned)
}

/// Whether a mapping can hold code made at run time, by what the kernel calls
/// it.
pub fn is_anonymous(path: &str) -> bool {
    ["//anon", "[anon", "/memfd:", "/dev/zero", "/anon_hugepage"]
        .iter()
        .any(|name| path.starts_with(name))
}
