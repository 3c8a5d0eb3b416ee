//! Keeps what the kernel half needs to walk stacks up to date: the mappings of
//! the processes that were sampled, and which unwinding table each has.
//!
//! A process is handed over when the kernel half first asks for it. From then
//! on the side band's news keep it up to date.

mod interpreters;
mod list;
mod shares;
mod states;

use std::collections::{HashMap, HashSet};
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use observer_common::cpython::ASK_CODE;
use observer_common::unwind::{MAPPINGS, Outcome, Request, TABLE_NONE};

use super::cpython::Codes;
use super::images::Map;
use super::mappings::Processes;
use super::module::{Module, Opened};
use super::modules::Modules;
use super::process::Process;
use super::range_allocator::RangeAllocator;
use super::roots::{open_path, open_regular};
use super::sideband::Event;
use super::tables::{Tables, UnwindStats};
use crate::foreign::{self, Subject, Tenant};
use crate::kernel::unwind::{ProcessMaps, TableMaps};
use interpreters::Interpreters;
use list::{List, load_address};
use shares::Shares;
use states::{State, States};

/// Identity of a list: the address of the mappings that it holds.
type ListId = *const Vec<Map>;

/// Knows what the kernel half has of processes.
pub(super) struct Unwinder {
    maps: ProcessMaps,
    /// Which entries of the kernel's array of mappings are free.
    entries: RangeAllocator,
    interpreters: Interpreters,
    lists: HashMap<ListId, List>,
    published: HashMap<u32, ListId>,
    shares: Shares,
    states: States,
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
    pub(super) fn start(
        maps: ProcessMaps,
        tables: TableMaps,
        limit: u64,
        wake: PipeWriter,
        stats: Arc<UnwindStats>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            maps,
            entries: RangeAllocator::new(MAPPINGS),
            interpreters: Interpreters::start(wake.try_clone()?)?,
            lists: HashMap::new(),
            published: HashMap::new(),
            shares: Shares::new(),
            states: States::new(Tables::start(tables, limit, wake, stats.clone())?),
            dirty: HashSet::new(),
            lists_made: 0,
            followed: HashSet::new(),
            stats,
        })
    }

    /// Readable when the kernel half asks for something.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.maps.as_fd()
    }

    /// Takes one piece of news of the side band in.
    pub(super) fn apply(&mut self, event: &Event) {
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
                    self.shares.take_process(list.tenant);
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
    pub(super) fn update(
        &mut self,
        processes: &mut Processes,
        modules: &mut Modules,
        codes: &mut Codes,
    ) {
        let mut wanted: HashSet<u32> = std::mem::take(&mut self.dirty);
        let mut met: HashMap<u32, Vec<u64>> = HashMap::new();
        while let Some(request) = self.maps.request() {
            if request.reason == ASK_CODE {
                met.entry(request.tgid).or_default().push(request.address);
                continue;
            }
            self.answer(request, processes, modules);
            wanted.insert(request.tgid);
        }
        for (pid, addresses) in met {
            let list = self.published.get(&pid).and_then(|id| self.lists.get(id));
            if let Some((_, runtime)) = list.and_then(|list| list.cpython) {
                codes.read(pid, &runtime, addresses);
            }
        }
        for pid in wanted {
            self.publish(pid, processes, modules);
        }
        let count = self.published.len() as u64;
        self.stats.processes.store(count, Ordering::Relaxed);
    }

    /// Hands over processes before anybody asks, from now on also their
    /// children and other programs; and has the tables of `programs` built.
    pub(super) fn prepare(
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
        for program in programs {
            let program = program.clone();
            let subject = Subject::Root(std::process::id());
            let opened = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
                let handle = open_path(foreign, &program)?;
                Opened::read(foreign, open_regular(foreign, &handle)?)
            });
            if let Some(opened) = opened.ok().flatten() {
                let module = Rc::new(Module::new(opened));
                self.states.of(&module, Tenant::Host);
                self.interpreters.search.order(&module);
            }
        }
        // Our own libraries are those that most programs use.
        let own = std::process::id();
        let Some(process) = processes.get(own) else {
            return;
        };
        let maps = process.current_image().map(|image| image.maps().clone());
        for map in maps.iter().flat_map(|maps| maps.iter()) {
            let library = map.file.path.contains(".so") || &*map.file.path == "[vdso]";
            if library && let Some(module) = modules.of(own, process, map) {
                self.states.of(&module, Tenant::Host);
            }
        }
    }

    /// Processes whose Python functions have no names, since the start.
    pub(super) fn unsupported(&self) -> u64 {
        self.interpreters.unsupported
    }

    /// Whether files are still being looked into.
    pub(super) fn is_building(&self) -> bool {
        self.states.is_building() || self.interpreters.search.is_busy()
    }

    /// Takes in what became of tables, and where interpreters are.
    pub(super) fn hear(&mut self) {
        self.hear_of_interpreters();
        while let Some((files, state)) = self.states.hear() {
            for list in self.lists.values() {
                let mapped = list.maps.iter().zip(&list.files);
                for (i, (map, file)) in mapped.enumerate() {
                    if let Some((file, start)) = file
                        && files.contains(file)
                    {
                        let entry = list.entry(map, state, *start);
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
        if let Some(module) = modules.of(request.tgid, process, &map) {
            self.states.renew(&module, Tenant::of(request.tgid));
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
        let tenant = list.tenant;
        if before.is_none() && !self.shares.admits_process(tenant) {
            self.stats.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Err(error) = self.maps.insert(pid, list.known()) {
            tracing::debug!("{error:#}");
            self.stats.no_room.fetch_add(1, Ordering::Relaxed);
        }
        if before != Some(id) {
            list.users += 1;
            self.shares.take_process(tenant);
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
        self.shares.give_process_back(list.tenant);
        if list.users == 0 {
            let count = list.maps.len() as u32;
            self.shares.give_mappings_back(list.tenant, count);
            self.entries.free(list.first, count, Instant::now());
            if let Some((number, _)) = list.cpython {
                self.interpreters.free(number);
            }
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
        let (count, tenant) = (maps.len() as u32, Tenant::of(pid));
        let has_room =
            self.shares.admits_mappings(tenant, count) && self.shares.admits_process(tenant);
        let allocate = || self.entries.allocate(count, Instant::now());
        let Some(first) = has_room.then(allocate).flatten() else {
            return false;
        };
        self.shares.take_mappings(tenant, count);
        self.lists_made = self.lists_made.wrapping_add(1).max(1);
        let mut list = List {
            number: self.lists_made,
            first,
            files: Vec::with_capacity(maps.len()),
            maps,
            users: 0,
            tenant,
            cpython: None,
        };
        for (i, map) in Rc::clone(&list.maps).iter().enumerate() {
            let in_memory = !map.file.is_file() && &*map.file.path != "[vdso]";
            let module = if in_memory {
                None
            } else {
                modules.of(pid, process, map)
            };
            let place = module
                .as_ref()
                .and_then(|module| Some((module, load_address(module, map)?)));
            let (file, state) = match place {
                Some((module, start)) => match self.states.of(module, tenant) {
                    Some((key, state)) => (Some((key, start)), state),
                    None => (None, State::Failed),
                },
                // Code made at run time may be mapped from a file, too.
                None if in_memory || module.is_some() => (None, State::Empty),
                None => (None, State::Failed),
            };
            let start = file.as_ref().map_or(0, |(_, start)| *start);
            if let Some((module, bias)) = place.filter(|_| list.cpython.is_none()) {
                let of = (pid, list.number, &map.file.path);
                let layouts = &mut self.maps.cpython;
                list.cpython = self.interpreters.of(layouts, of, module, bias);
            }
            list.files.push(file);
            let mut mapping = list.entry(map, state, start);
            if in_memory {
                mapping.table = TABLE_NONE;
            }
            self.maps.mappings.set(first as usize + i, mapping);
        }
        self.lists.insert(Rc::as_ptr(&list.maps), list);
        true
    }
}
