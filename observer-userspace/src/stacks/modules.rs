//! From a mapping to an open file: the one that the process mapped, in its own
//! mount namespace, also when it was deleted or its process ended.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::images::Map;
use super::module::{Module, Opened};
use super::process::Process;
use super::roots::open_regular;
use super::sideband::FileIdentity;
use crate::foreign::file_id::is_lent;
use crate::foreign::{self, FileId, Subject, process as of_others};

/// Files kept open at once; more are opened again when needed.
const MAX_OPEN: usize = 256;

/// Names kept per file; beyond, they are looked up again.
const MAX_NAMES: usize = 16_384;

/// How often it is looked whether a file that is mapped again and again was written to.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Which module: the file, and the root directory (where it lies in our memory) and path
/// by which its debug files are found. Who sees the same file in another place may have
/// put others there.
type Key = (FileId, usize, Rc<str>);

/// All modules in use.
#[derive(Debug, Default)]
pub struct Modules {
    by_key: HashMap<Key, Weak<Module>>,
    vdso: Option<Rc<Module>>,
}

impl Modules {
    /// The module behind `map`, a mapping of process `pid`.
    pub fn of(&mut self, pid: u32, process: &Process, map: &Map) -> Option<Rc<Module>> {
        let known = map.file.module.borrow().clone();
        let earlier = || map.file.earlier.take().filter(is_as_it_was);
        if let Some(module) = known.or_else(earlier) {
            *map.file.module.borrow_mut() = Some(module.clone());
            if !module.is_open()
                && let Some(opened) = find(pid, process, map)
            {
                if !opened.id.has_contents_of(&module.id) {
                    return Some(self.put(opened, map));
                }
                module.set_file(Some(opened.file));
            }
            return Some(module);
        }
        if &*map.file.path == "[vdso]" {
            let module = self.vdso()?;
            *map.file.module.borrow_mut() = Some(module.clone());
            return Some(module);
        }
        if !map.file.is_file() {
            return None;
        }
        Some(self.put(find(pid, process, map)?, map))
    }

    /// Closes files beyond the limit and forgets those of ended processes.
    pub fn trim(&mut self) {
        self.by_key.retain(|_, module| module.strong_count() > 0);
        let modules = self.by_key.values().filter_map(Weak::upgrade);
        for (n, module) in modules.enumerate() {
            if n >= MAX_OPEN {
                module.set_file(None);
            }
            if module.names.borrow().len() > MAX_NAMES {
                module.names.borrow_mut().clear();
            }
        }
    }

    /// The module of what was opened, which is `map`'s from now on.
    fn put(&mut self, opened: Opened, map: &Map) -> Rc<Module> {
        let root = map.file.root.as_ref().map_or(0, |r| Rc::as_ptr(r) as usize);
        let key = (opened.id, root, map.file.path.clone());
        let known = self.by_key.get(&key).and_then(Weak::upgrade);
        let module = known.unwrap_or_else(|| {
            let module = Rc::new(Module::new(opened));
            self.by_key.insert(key, Rc::downgrade(&module));
            module
        });
        *map.file.module.borrow_mut() = Some(module.clone());
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

/// Whether a module's file wasn't written to since it was looked at.
fn is_as_it_was(module: &Rc<Module>) -> bool {
    if !module.may_look_again(LOOK_AGAIN) {
        return true;
    }
    // What isn't open is compared when it is.
    let (Some(file), id) = (module.file(), module.id) else {
        return true;
    };
    let is_same = foreign::ask(id.subject(), foreign::A_WHILE, move |foreign| {
        let now = FileId::of(foreign, &file);
        now.is_ok_and(|now| now.has_contents_of(&id))
    });
    is_same.unwrap_or(true)
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
    let (identity, path) = (map.file.identity, map.file.path.to_string());
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
    // On overlayfs and btrfs, which have no device, the mapping names another one than
    // stat(2) does; else another device or inode is another file.
    match meta.dev() == libc::makedev(major, minor) {
        true => meta.ino() == inode,
        false => is_lent(meta.dev()),
    }
}
