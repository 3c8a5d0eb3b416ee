//! Keeps what the kernel half needs to walk stacks up to date: the mappings of
//! the processes that were sampled, and which unwinding table each has.
//!
//! A process is handed over when the kernel half first asks for it. From then
//! on the side band's news keep it up to date.

use std::collections::{HashMap, HashSet};
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use observer_common::unwind::{
    MAPPINGS, Mapping, Outcome, Process as KernelProcess, Request, TABLE_ABSENT, TABLE_EMPTY,
    TABLE_NONE,
};

use super::extents::Extents;
use super::files::{Module, Modules, open_regular};
use super::images::Map;
use super::mappings::{Process, Processes};
use super::sideband::Event;
use super::tables::{FileKey, News, Tables, UnwindStats};
use crate::kernel::unwind::{ProcessMaps, TableMaps};

/// Files whose table's state is remembered, beyond those in use.
const MAX_STATES: usize = 16 * 1024;

/// How often the table of one file is built at most.
const ORDER_AGAIN: Duration = Duration::from_secs(10);

/// What is known of a file's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ordered,
    Ready { id: u32, base: u64 },
    Empty,
    Failed,
    Evicted,
}

/// The mappings of a program, as the kernel half has them.
#[derive(Debug)]
struct List {
    number: u32,
    first: u32,
    maps: Rc<Vec<Map>>,
    /// The file of each, and where it begins in the file's own addresses.
    files: Vec<Option<(Rc<FileKey>, u64)>>,
    /// Processes that have it.
    users: u32,
}

/// Identity of a list: the address of the mappings that it holds.
type ListId = *const Vec<Map>;

/// See the module.
pub struct Unwinder {
    maps: ProcessMaps,
    tables: Tables,
    extents: Extents,
    lists: HashMap<ListId, List>,
    published: HashMap<u32, ListId>,
    states: HashMap<Rc<FileKey>, State>,
    /// When tables were ordered lately.
    ordered: HashMap<Rc<FileKey>, Instant>,
    /// Processes whose mappings changed.
    dirty: HashSet<u32>,
    lists_made: u32,
    /// Processes whose new programs are handed over before they are sampled,
    /// and their children.
    followed: HashSet<u32>,
    stats: Arc<UnwindStats>,
}

impl Unwinder {
    /// Starts building tables; they may take `limit` bytes. `wake` is written to
    /// when there is news ([`Self::hear`]).
    ///
    /// # Errors
    /// When the building thread can't be started.
    pub fn start(
        maps: ProcessMaps,
        tables: TableMaps,
        limit: u64,
        wake: PipeWriter,
        stats: Arc<UnwindStats>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            maps,
            tables: Tables::start(tables, limit, wake, stats.clone())?,
            extents: Extents::new(MAPPINGS),
            lists: HashMap::new(),
            published: HashMap::new(),
            states: HashMap::new(),
            ordered: HashMap::new(),
            dirty: HashSet::new(),
            lists_made: 0,
            followed: HashSet::new(),
            stats,
        })
    }

    /// Readable when the kernel half asks for something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.maps.as_fd()
    }

    /// Takes one piece of news of the side band in.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Mmap { pid, .. } => {
                if self.published.contains_key(pid) {
                    self.dirty.insert(*pid);
                }
            }
            Event::Comm {
                pid, exec: true, ..
            } => {
                self.forget(*pid);
                if self.followed.contains(pid) {
                    self.dirty.insert(*pid);
                }
            }
            Event::Exit { pid } => {
                self.followed.remove(pid);
                self.forget(*pid);
            }
            Event::Fork { pid, parent } => {
                if self.followed.contains(parent) {
                    self.followed.insert(*pid);
                }
                self.withdraw(*pid);
                // The kernel half gave the child its parent's mappings.
                if let Some(id) = self.published.get(parent).copied()
                    && let Some(list) = self.lists.get_mut(&id)
                {
                    list.users += 1;
                    self.published.insert(*pid, id);
                    if self.dirty.contains(parent) {
                        self.dirty.insert(*pid);
                    }
                }
            }
            Event::Lost(_) => self.dirty.extend(self.published.keys()),
            Event::Comm { .. } | Event::KernelCode { .. } => {}
        }
    }

    /// Answers the kernel half's requests and hands over what changed; the side
    /// band's news must have been taken in before.
    pub fn update(&mut self, processes: &mut Processes, modules: &mut Modules) {
        let mut wanted: HashSet<u32> = std::mem::take(&mut self.dirty);
        while let Some(request) = self.maps.request() {
            self.answer(request, processes, modules);
            wanted.insert(request.tgid);
        }
        for pid in wanted {
            self.publish(pid, processes, modules);
        }
        let count = self.published.len() as u64;
        self.stats.processes.store(count, Ordering::Relaxed);
    }

    /// Hands over processes before anybody asks, from now on also their
    /// children and other programs; and has the tables of `programs` built.
    pub fn prepare(
        &mut self,
        pids: &[u32],
        programs: &[PathBuf],
        processes: &mut Processes,
        modules: &mut Modules,
    ) {
        self.followed.extend(pids);
        for pid in pids {
            self.publish(*pid, processes, modules);
        }
        let programs = programs
            .iter()
            .filter_map(|path| open_regular(path.to_str()?));
        for module in programs.filter_map(|file| Module::new(file).ok()) {
            self.state(&module);
        }
        // Our own libraries are those that most programs use.
        let own = std::process::id();
        let Some(process) = processes.get(own) else {
            return;
        };
        let maps = process.current_image().map(|image| image.maps().clone());
        for map in maps.iter().flat_map(|maps| maps.iter()) {
            let library = map.file.path.contains(".so") || map.file.path == "[vdso]";
            if library && let Some(module) = modules.of(own, process, map) {
                self.state(&module);
            }
        }
    }

    /// Whether tables are still being built.
    pub fn is_building(&self) -> bool {
        self.states.values().any(|state| *state == State::Ordered)
    }

    /// Takes in what became of tables.
    pub fn hear(&mut self) {
        while let Some((key, news)) = self.tables.news() {
            let state = match news {
                News::Ready(id, base) => State::Ready { id, base },
                News::Empty => State::Empty,
                News::Failed => State::Failed,
                News::Evicted => State::Evicted,
            };
            self.states.insert(Rc::new(key.clone()), state);
            for list in self.lists.values() {
                for (i, file) in list.files.iter().enumerate() {
                    if let Some((file, start)) = file
                        && **file == key
                    {
                        let entry = entry(list, i, state, *start);
                        self.maps.mappings.set(list.first as usize + i, entry);
                    }
                }
            }
        }
    }

    fn answer(&mut self, request: Request, processes: &mut Processes, modules: &mut Modules) {
        let reason = Outcome::from_number(request.reason as u8);
        tracing::trace!(
            "asked for process {}: {reason:?} at {:#x}",
            request.tgid,
            request.address
        );
        if reason == Some(Outcome::NoMapping) && !processes.is_complete() {
            processes.refresh(request.tgid);
        }
        if reason != Some(Outcome::NoTable) {
            return;
        }
        let Some(process) = processes.get(request.tgid) else {
            return;
        };
        let Some(map) = process
            .current_image()
            .and_then(|i| i.find(request.address))
        else {
            return;
        };
        let map = map.clone();
        if let Some(module) = modules.of(request.tgid, process, &map)
            && let Some(key) = file_key(&module)
            && self.states.get(&key) == Some(&State::Evicted)
            && self.may_order_again(&key)
        {
            self.order(Rc::new(key), &module);
        }
    }

    fn publish(&mut self, pid: u32, processes: &mut Processes, modules: &mut Modules) {
        let Some(process) = processes.get(pid) else {
            return;
        };
        let Some(image) = process.current_image() else {
            return;
        };
        if image.maps().is_empty() || process.ended {
            return;
        }
        let id: ListId = Rc::as_ptr(image.maps());
        let before = self.published.get(&pid).copied();
        if !self.lists.contains_key(&id) {
            let maps = image.maps().clone();
            if !self.make_list(pid, process, maps, modules) {
                self.stats.no_room.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let Some(list) = self.lists.get_mut(&id) else {
            return;
        };
        let known = KernelProcess {
            first: list.first,
            count: list.maps.len() as u32,
            list: list.number,
            asked: 0,
        };
        if let Err(error) = self.maps.insert(pid, known) {
            tracing::debug!("{error:#}");
            self.stats.no_room.fetch_add(1, Ordering::Relaxed);
        }
        if before != Some(id) {
            list.users += 1;
            self.withdraw(pid);
            self.published.insert(pid, id);
        }
    }

    /// Forgets a process, as the kernel half did.
    fn forget(&mut self, pid: u32) {
        self.dirty.remove(&pid);
        if self.published.contains_key(&pid) {
            self.withdraw(pid);
            // It may have been handed over after the kernel half forgot it.
            self.maps.remove(pid);
        }
    }

    /// Lets go of a process's list.
    fn withdraw(&mut self, pid: u32) {
        let Some(id) = self.published.remove(&pid) else {
            return;
        };
        let Some(list) = self.lists.get_mut(&id) else {
            return;
        };
        list.users -= 1;
        if list.users == 0 {
            let count = list.maps.len() as u32;
            self.extents.put(list.first, count, Instant::now());
            self.lists.remove(&id);
        }
    }

    fn make_list(
        &mut self,
        pid: u32,
        process: &Process,
        maps: Rc<Vec<Map>>,
        modules: &mut Modules,
    ) -> bool {
        let count = maps.len() as u32;
        let Some(first) = self.extents.take(count, Instant::now()) else {
            return false;
        };
        self.lists_made = self.lists_made.wrapping_add(1).max(1);
        let mut list = List {
            number: self.lists_made,
            first,
            files: Vec::with_capacity(maps.len()),
            maps,
            users: 0,
        };
        for i in 0..list.maps.len() {
            let map = &list.maps[i];
            let in_memory = !map.file.is_file() && map.file.path != "[vdso]";
            let module = if in_memory {
                None
            } else {
                modules.of(pid, process, map)
            };
            let place = module
                .as_ref()
                .and_then(|module| Some((module, load_address(module, map)?)));
            let (file, state) = match place {
                Some((module, start)) => match self.state(module) {
                    Some((key, state)) => (Some((key, start)), state),
                    None => (None, State::Failed),
                },
                // Code made at run time may be mapped from a file, too.
                None if in_memory || module.is_some() => (None, State::Empty),
                None => (None, State::Failed),
            };
            let start = file.as_ref().map_or(0, |(_, start)| *start);
            list.files.push(file);
            let mut mapping = entry(&list, i, state, start);
            if in_memory {
                mapping.table = TABLE_NONE;
            }
            self.maps.mappings.set(first as usize + i, mapping);
        }
        self.lists.insert(Rc::as_ptr(&list.maps), list);
        true
    }

    /// What is known of a file's table, which is ordered if nothing is.
    fn state(&mut self, module: &Module) -> Option<(Rc<FileKey>, State)> {
        let key = file_key(module)?;
        if let Some((key, state)) = self.states.get_key_value(&key) {
            let (key, state) = (key.clone(), *state);
            if state != State::Evicted || !self.may_order_again(&key) {
                return Some((key, state));
            }
        } else if self.states.len() >= MAX_STATES {
            let used = |state: &State| matches!(state, State::Ready { .. } | State::Ordered);
            self.states.retain(|_, state| used(state));
        }
        let key = Rc::new(key);
        self.order(key.clone(), module);
        Some((key, State::Ordered))
    }

    fn order(&mut self, key: Rc<FileKey>, module: &Module) {
        let file = module.with_file(|file| Some((file.try_clone().ok()?, file.metadata().ok()?)));
        let state = match file.flatten() {
            Some((file, meta)) => {
                self.tables.order((*key).clone(), file, meta.len());
                State::Ordered
            }
            None => State::Failed,
        };
        if self.ordered.len() > MAX_STATES {
            self.ordered.clear();
        }
        self.ordered.insert(key.clone(), Instant::now());
        self.states.insert(key, state);
    }

    /// Whether a table that was evicted may be built once more: not all the
    /// time, where more are needed than there is room for.
    fn may_order_again(&mut self, key: &FileKey) -> bool {
        self.ordered.retain(|_, at| at.elapsed() < ORDER_AGAIN);
        !self.ordered.contains_key(key)
    }
}

/// A mapping as the kernel half wants it; `start` is the address in memory of
/// the file's own address 0.
fn entry(list: &List, i: usize, state: State, start: u64) -> Mapping {
    let map = &list.maps[i];
    let (table, base) = match state {
        State::Ready { id, base } => (id, start.wrapping_add(base)),
        State::Empty => (TABLE_EMPTY, 0),
        State::Ordered | State::Failed | State::Evicted => (TABLE_ABSENT, 0),
    };
    Mapping {
        start: map.start,
        end: map.end,
        base,
        table,
        list: list.number,
    }
}

/// The address in memory of the file's own address 0.
fn load_address(module: &Module, map: &Map) -> Option<u64> {
    let length = map.end - map.start;
    // A mapping begins and ends at pages, segments don't.
    let segment = module.info.segments.iter().find(|s| {
        s.offset < map.offset.saturating_add(length)
            && s.offset.saturating_add(s.length) > map.offset
            && s.executable
    })?;
    let address = segment
        .address
        .wrapping_add(map.offset.wrapping_sub(segment.offset));
    Some(map.start.wrapping_sub(address))
}

fn file_key(module: &Module) -> Option<FileKey> {
    let meta = module.with_file(|file| file.metadata().ok()).flatten();
    match (module.build_id(), meta) {
        (Some(id), Some(meta)) => Some(FileKey::BuildId(id.to_owned(), meta.len())),
        (None, Some(meta)) => Some(FileKey::Inode(
            meta.dev(),
            meta.ino(),
            meta.len(),
            meta.mtime(),
        )),
        (_, None) => None,
    }
}
