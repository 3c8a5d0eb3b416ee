//! Names of code made at run time: which process's map is where, and whether to
//! trust it. The map itself is `perf_map`'s business, a jitdump file `jitdump`'s.
//!
//! A map is called `/tmp/perf-PID.map` in the process's own file system, after
//! its id in its own PID namespace. `/tmp` is everybody's, so a map counts only
//! if it belongs to the process's user or to root, as perf demands, and links
//! are not followed. Both can be asked only while the process lives; so they
//! are noted when it maps memory to execute.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use observer_common::workload::has_share;
use observer_symbols::perf_map::Index;

use super::process::Process;
use super::roots::Place;
use super::sideband::Event;
use crate::foreign::{self, Foreign, Subject, Tenant, process as of_others};

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
    /// Whose it is; unknown if it ended before anybody looked.
    tenant: Option<Tenant>,
    ended: bool,
    index: Index,
    /// A jitdump file that it maps, which is how such a file announces itself.
    dump: Option<PathBuf>,
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
            tenant: Some(Tenant::of(pid)),
            dump: mapped_dump(foreign, pid),
            ..Self::default()
        })
    }

    /// Functions that are kept of its maps.
    fn functions(&self) -> usize {
        self.index.functions() + self.dumped.functions()
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
        let open = |path: &Path| {
            let file = roots.open_itself(path)?;
            let owner = file.metadata().ok()?.uid();
            let is_trusted = owner == 0 || owner == self.user;
            if !is_trusted {
                let path = path.display();
                tracing::debug!("{path} of process {pid} belongs to somebody else");
            }
            is_trusted.then_some(file)
        };
        let map = open(Path::new(&format!("/tmp/perf-{}.map", self.inner_pid)));
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
                let whole = mapped_path(*pid, path);
                self.note(*pid);
                if let Some(maker) = self.makers.get_mut(pid) {
                    maker.dump = whole;
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

    /// Lets go of processes that ended, and, when there is too much, of what wasn't asked
    /// for longest of who has most.
    pub(super) fn trim(&mut self) {
        self.makers.retain(|_, maker| !maker.ended);
        self.interval += 1;
        while let Some(most) = self.greediest() {
            let theirs = self.makers.values_mut().filter(|m| m.tenant == most);
            let used = theirs.filter(|m| m.functions() > 0);
            let Some(oldest) = used.min_by_key(|m| m.asked) else {
                return;
            };
            oldest.index = Index::default();
            oldest.dumped = Index::default();
        }
    }

    /// Who has most functions, if there are too many.
    fn greediest(&self) -> Option<Option<Tenant>> {
        let mut of: HashMap<Option<Tenant>, usize> = HashMap::new();
        for maker in self.makers.values() {
            *of.entry(maker.tenant).or_default() += maker.functions();
        }
        let is_full = of.values().sum::<usize>() > MAX_FUNCTIONS;
        let most = of.into_iter().max_by_key(|(_, functions)| *functions);
        most.filter(|_| is_full).map(|(tenant, _)| tenant)
    }

    fn note(&mut self, pid: u32) {
        if !self.makers.contains_key(&pid) && self.makers.len() < MAX_PROCESSES {
            let maker = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
                Maker::read(foreign, pid)
            });
            let maker = maker.ok().flatten();
            let maker = maker.filter(|maker| self.admits(maker));
            self.makers.extend(maker.map(|maker| (pid, maker)));
        }
    }

    /// Whether one more of its tenant is kept; else says so.
    fn admits(&self, maker: &Maker) -> bool {
        let free = MAX_PROCESSES.saturating_sub(self.makers.len());
        let theirs = self.makers.values().filter(|m| m.tenant == maker.tenant);
        let (held, limit) = (theirs.count() as u64, MAX_PROCESSES as u64);
        if has_share(held, free as u64, limit) {
            return true;
        }
        let tenant = maker.tenant.map_or_else(String::new, |t| t.to_string());
        if foreign::refused("perf_maps", &tenant) {
            tracing::warn!(
                "no room for more processes of {tenant} that make code at run time: names of that code aren't known in its other processes"
            );
        }
        false
    }
}

/// Whether a mapping is of a jitdump file.
fn is_dump(path: impl AsRef<[u8]>) -> bool {
    let path = path.as_ref();
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    path.starts_with(b"/") && name.starts_with(b"jit-") && name.ends_with(b".dump")
}

/// The path of a jitdump file, of which news say what is UTF-8: the rest only the process
/// itself tells.
fn mapped_path(pid: u32, path: &str) -> Option<PathBuf> {
    if !path.contains(char::REPLACEMENT_CHARACTER) {
        return Some(path.into());
    }
    let dump = foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
        mapped_dump(foreign, pid)
    });
    dump.ok().flatten()
}

/// The jitdump file that a process has mapped already.
fn mapped_dump(foreign: &Foreign, pid: u32) -> Option<PathBuf> {
    let maps = of_others::maps(foreign, pid, MAX_MAPS).ok()?;
    let from_path = |line: &'_ [u8]| line.iter().position(|b| *b == b'/');
    let mut paths = maps
        .split(|b| *b == b'\n')
        .filter_map(|line| line.get(from_path(line)?..));
    let dump = paths.find(|path| is_dump(path))?;
    Some(Path::new(OsStr::from_bytes(dump)).to_path_buf())
}

/// Whether a mapping can hold code made at run time, by what the kernel calls
/// it.
pub fn is_anonymous(path: &str) -> bool {
    ["//anon", "[anon", "/memfd:", "/dev/zero", "/anon_hugepage"]
        .iter()
        .any(|name| path.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(jits: &mut Jits, tenant: Tenant, from: u32) -> u32 {
        let mut pid = from;
        loop {
            let maker = Maker {
                tenant: Some(tenant),
                ..Maker::default()
            };
            if jits.makers.len() >= MAX_PROCESSES || !jits.admits(&maker) {
                return pid - from;
            }
            jits.makers.insert(pid, maker);
            pid += 1;
        }
    }

    /// Checks that who makes code in thousands of processes leaves room for others.
    #[test]
    fn floods_leave_room() {
        let mut jits = Jits::default();
        let flood = fill(&mut jits, Tenant::User(60_003), 1);
        assert!(flood as usize >= MAX_PROCESSES / 8 * 7, "{flood}");
        assert!(fill(&mut jits, Tenant::User(60_004), 1_000_000) >= 64);
    }

    /// Checks that the path of a jitdump file is known as it is, also where it isn't UTF-8.
    #[test]
    fn dumps_are_found() {
        assert!(is_dump(b"/h\xf6me/jit-7.dump") && is_dump("/jit-7.dump"));
        assert!(!is_dump("jit-7.dump") && !is_dump("/jit-7.dump/x"));
        let known = mapped_path(1, "/tmp/jit-1.dump");
        assert_eq!(known.as_deref(), Some(Path::new("/tmp/jit-1.dump")));
    }
}
