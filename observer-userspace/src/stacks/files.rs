//! From a mapping to an open file: the one that the process mapped, in its own
//! mount namespace, also when it was deleted or its process ended.
//!
//! Files in another's root directory are chosen by others, so nothing is
//! opened before it is known to be a regular file.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::rc::{Rc, Weak};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::images::Map;
use super::mappings::Process;
use super::sideband::FileIdentity;
use observer_symbols::elf::ElfInfo;

/// Files kept open at once; more are opened again when needed.
const MAX_OPEN: usize = 256;

/// Names kept per file; beyond, they are looked up again.
const MAX_NAMES: usize = 16_384;

/// A process's root directory, open as a path only, with the mount namespace
/// that it is in: without that, its mounts would go with its last process. Held
/// until the interval in which that process ended is symbolized.
#[derive(Debug)]
pub struct Root {
    pub(super) fd: OwnedFd,
    pub(super) _namespace: File,
}

/// What a mapping shows, as the kernel described it.
#[derive(Debug)]
pub struct MapFile {
    /// Path as the process sees it.
    pub path: String,
    /// Which file it is.
    pub identity: FileIdentity,
    module: RefCell<Option<Rc<Module>>>,
}

impl MapFile {
    /// A file not looked at yet.
    pub fn new(path: String, identity: FileIdentity) -> Self {
        Self {
            path,
            identity,
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

/// A name and place in source code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedLine {
    /// Function name, demangled.
    pub name: Rc<str>,
    /// Name as in the symbol table, where that is another one.
    pub linkage_name: Option<Rc<str>>,
    /// Source file.
    pub file: Option<Rc<str>>,
    /// Source line, 0 when unknown.
    pub line: u32,
}

/// The lines of one place, innermost inlined function first; empty when it has
/// no name.
pub type Lines = Rc<[NamedLine]>;

/// An ELF file that was sampled: shared by all processes that map it.
#[derive(Debug)]
pub struct Module {
    /// Segments and build id.
    pub info: ElfInfo,
    /// Names found so far, by file offset.
    pub names: RefCell<HashMap<u64, Lines>>,
    file: RefCell<Option<File>>,
    /// It was looked for in vain.
    no_debug_file: Cell<bool>,
}

impl Module {
    /// A module of an open file.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            info: ElfInfo::read(&file)?,
            names: RefCell::default(),
            file: RefCell::new(Some(file)),
            no_debug_file: Cell::new(false),
        })
    }

    /// Calls `read` with the file, provided that it is open.
    pub fn with_file<T>(&self, read: impl FnOnce(&File) -> T) -> Option<T> {
        self.file.borrow().as_ref().map(read)
    }

    /// Its separate debug file as `find` finds it, unless that found nothing
    /// before: most files have none, and that doesn't change.
    pub fn debug_file<T>(&self, find: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.no_debug_file.get() {
            return None;
        }
        let found = find();
        self.no_debug_file.set(found.is_none());
        found
    }

    /// The address, in the file's own address space, of what is at `offset`.
    pub fn address(&self, offset: u64) -> Option<u64> {
        let segment = self.info.segment(offset)?;
        (offset - segment.offset).checked_add(segment.address)
    }

    /// The GNU build id, lower-case hex.
    pub fn build_id(&self) -> Option<&str> {
        self.info.build_id.as_deref()
    }
}

/// Device, inode, modification time (s, ns): what makes two paths one file.
type Key = (u64, u64, i64, i64);

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
        if let Some(module) = known {
            if module.file.borrow().is_none()
                && let Some(file) = find(pid, process, map)
            {
                *module.file.borrow_mut() = Some(file);
            }
            return Some(module);
        }
        let module = if map.file.path == "[vdso]" {
            self.vdso()?
        } else if map.file.is_file() {
            self.intern(find(pid, process, map)?)?
        } else {
            return None;
        };
        *map.file.module.borrow_mut() = Some(module.clone());
        Some(module)
    }

    /// Closes files beyond the limit and forgets those of ended processes.
    pub fn trim(&mut self) {
        self.by_key.retain(|_, module| module.strong_count() > 0);
        let modules = self.by_key.values().filter_map(Weak::upgrade);
        for (n, module) in modules.enumerate() {
            if n >= MAX_OPEN {
                *module.file.borrow_mut() = None;
            }
            if module.names.borrow().len() > MAX_NAMES {
                module.names.borrow_mut().clear();
            }
        }
    }

    fn intern(&mut self, file: File) -> Option<Rc<Module>> {
        let meta = file.metadata().ok()?;
        let key = (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        if let Some(module) = self.by_key.get(&key).and_then(Weak::upgrade) {
            return Some(module);
        }
        let module = Rc::new(Module::new(file).ok()?);
        self.by_key.insert(key, Rc::downgrade(&module));
        Some(module)
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
            self.vdso = Some(Rc::new(Module::new(copy).ok()?));
        }
        self.vdso.clone()
    }
}

/// Opens `path`, provided that it is a regular file.
pub(crate) fn open_regular(path: &str) -> Option<File> {
    let handle = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(path)
        .ok()?;
    reopen_regular(handle)
}

/// The root directories in which a process's files may lie: its own first, then
/// the host's.
#[derive(Debug, Default)]
pub struct Roots(Vec<OwnedFd>);

impl Roots {
    /// Of the process `pid`, with the host's.
    pub(super) fn of(pid: u32, process: &Process) -> Self {
        let mut roots = Self::own(pid, process);
        roots.0.extend(open_directory("/"));
        roots
    }

    /// Only the process's own.
    pub(super) fn own(pid: u32, process: &Process) -> Self {
        let held = process.root.as_ref().and_then(|r| r.fd.try_clone().ok());
        let now = || match process.ended {
            true => None,
            false => open_directory(&format!("/proc/{pid}/root")),
        };
        Self(held.or_else(now).into_iter().collect())
    }

    /// The root directory of process `pid`, which isn't known otherwise.
    pub(crate) fn now(pid: u32) -> Self {
        Self(
            open_directory(&format!("/proc/{pid}/root"))
                .into_iter()
                .collect(),
        )
    }

    /// Opens the first regular file called `path`. Links lead nowhere out of
    /// the root directory: who owns it may have made them.
    pub fn open(&self, path: &str) -> Option<File> {
        let follow = OFlag::empty();
        self.0
            .iter()
            .find_map(|root| open_within(root, path, follow))
    }

    /// Opens the first regular file called `path` that isn't a link itself.
    pub fn open_itself(&self, path: &str) -> Option<File> {
        let refuse = OFlag::O_NOFOLLOW;
        self.0
            .iter()
            .find_map(|root| open_within(root, path, refuse))
    }
}

fn open_directory(path: &str) -> Option<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).ok()
}

fn open_within(root: &OwnedFd, path: &str, links: OFlag) -> Option<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | links)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    reopen_regular(File::from(openat2(root, path, how).ok()?))
}

/// Opens what `handle`, a path only, stands for, if it is a regular file.
fn reopen_regular(handle: File) -> Option<File> {
    if !handle.metadata().ok()?.is_file() {
        return None;
    }
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok()
}

fn find(pid: u32, process: &Process, map: &Map) -> Option<File> {
    let is_it = |file: &File| same_file(file, map.file.identity);
    let mapped = || {
        // Exact even for deleted files, but takes CAP_SYS_ADMIN (or
        // CAP_CHECKPOINT_RESTORE since 5.9).
        let (start, end) = (map.start, map.end);
        open_regular(&format!("/proc/{pid}/map_files/{start:x}-{end:x}")).filter(is_it)
    };
    let in_root = || Roots::own(pid, process).open(&map.file.path).filter(is_it);
    match process.ended {
        true => in_root(),
        false => mapped().or_else(in_root),
    }
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
