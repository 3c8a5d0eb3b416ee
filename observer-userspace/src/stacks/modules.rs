//! From a mapping to an open file: the one that the process mapped, in its own
//! mount namespace, also when it was deleted or its process ended.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::{Rc, Weak};

use super::images::Map;
use super::module::{FileId, Module, Opened};
use super::process::Process;
use super::roots::open_regular;
use super::sideband::FileIdentity;
use crate::foreign::{self, Subject, process as of_others};

/// Files kept open at once; more are opened again when needed.
const MAX_OPEN: usize = 256;

/// Names kept per file; beyond, they are looked up again.
const MAX_NAMES: usize = 16_384;

/// All modules in use.
#[derive(Debug, Default)]
pub struct Modules {
    by_id: HashMap<FileId, Weak<Module>>,
    vdso: Option<Rc<Module>>,
}

impl Modules {
    /// The module behind `map`, a mapping of process `pid`.
    pub fn of(&mut self, pid: u32, process: &Process, map: &Map) -> Option<Rc<Module>> {
        let known = map.file.module.borrow().clone();
        if let Some(module) = known {
            if !module.is_open()
                && let Some(opened) = find(pid, process, map)
            {
                module.set_file(Some(opened.file));
            }
            return Some(module);
        }
        let module = if map.file.path == "[vdso]" {
            self.vdso()?
        } else if map.file.is_file() {
            self.intern(find(pid, process, map)?)
        } else {
            return None;
        };
        *map.file.module.borrow_mut() = Some(module.clone());
        Some(module)
    }

    /// Closes files beyond the limit and forgets those of ended processes.
    pub fn trim(&mut self) {
        self.by_id.retain(|_, module| module.strong_count() > 0);
        let modules = self.by_id.values().filter_map(Weak::upgrade);
        for (n, module) in modules.enumerate() {
            if n >= MAX_OPEN {
                module.set_file(None);
            }
            if module.names.borrow().len() > MAX_NAMES {
                module.names.borrow_mut().clear();
            }
        }
    }

    fn intern(&mut self, opened: Opened) -> Rc<Module> {
        let id = opened.id;
        if let Some(module) = self.by_id.get(&id).and_then(Weak::upgrade) {
            return module;
        }
        let module = Rc::new(Module::new(opened));
        self.by_id.insert(id, Rc::downgrade(&module));
        module
    }

    /// The vDSO is the same code in every (64-bit) process: ours is copied.
    fn vdso(&mut self) -> Option<Rc<Module>> {
        if self.vdso.is_none() {
            let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
            let line = maps.lines().find(|l| l.ends_with("[vdso]"))?;
            let (start, rest) = line.split_once('-')?;
            let (end, _) = rest.split_once(' ')?;
            let start = u64::from_str_radix(start, 16).ok()?;
            let end = u64::from_str_radix(end, 16).ok()?;
            let mut code = vec![0; usize::try_from(end - start).ok()?];
            let memory = File::open("/proc/self/mem").ok()?;
            memory.read_exact_at(&mut code, start).ok()?;
            let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
            let copy = File::from(nix::sys::memfd::memfd_create(c"observer-vdso", flags).ok()?);
            copy.write_all_at(&code, 0).ok()?;
            let subject = Subject::Process(std::process::id());
            let opened = foreign::ask(subject, foreign::A_WHILE, |foreign| {
                Opened::read(foreign, copy)
            });
            self.vdso = Some(Rc::new(Module::new(opened.ok().flatten()?)));
        }
        self.vdso.clone()
    }
}

/// The file behind `map`. Which process keeps its map locked and which file system
/// doesn't answer are asked one after the other, so that it is known who it was.
fn find(pid: u32, process: &Process, map: &Map) -> Option<Opened> {
    let (start, end) = (map.start, map.end);
    let mapped = (!process.ended).then(|| {
        // Exact even for deleted files.
        foreign::ask(Subject::Process(pid), foreign::A_WHILE, move |foreign| {
            of_others::mapped_file(foreign, pid, start, end)
        })
    });
    let mapped = mapped.and_then(Result::ok).flatten();
    let place = process.place(pid);
    let (identity, path) = (map.file.identity, map.file.path.clone());
    let subject = identity.map_or(Subject::Root(pid), |(major, minor, _)| {
        Subject::Device(major, minor)
    });
    let opened = foreign::ask(subject, foreign::A_WHILE, move |foreign| {
        let is_it = |file: &File| same_file(file, identity);
        let mapped = mapped.and_then(|handle| open_regular(foreign, &handle));
        let file = mapped
            .filter(is_it)
            .or_else(|| place.open(foreign).open(&path).filter(is_it))?;
        Opened::read(foreign, file)
    });
    opened.ok().flatten()
}

/// Whether `file` can be the one that was mapped.
fn same_file(file: &File, identity: FileIdentity) -> bool {
    let (Some((major, minor, inode)), Ok(meta)) = (identity, file.metadata()) else {
        return true;
    };
    // On overlayfs and btrfs the mapping names another device than stat(2)
    // does; on the same device another inode is another file.
    meta.ino() == inode || meta.dev() != libc::makedev(major, minor)
}
