//! One ELF file that was sampled, and the names found in it. Only readers look into it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_runtimes::cpython::RuntimeSymbols;
use observer_symbols::elf::ElfInfo;

use crate::foreign::{FileId, Foreign};

/// A name and place in source code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedLine {
    /// Function name, demangled.
    pub name: Rc<str>,
    /// Name as in the symbol table, where that is another one.
    pub linkage_name: Option<Rc<str>>,
    /// Source file.
    pub file: Option<Arc<str>>,
    /// Source line, 0 when unknown.
    pub line: u32,
}

/// The lines of one place, innermost inlined function first; empty when it has
/// no name.
pub type Lines = Rc<[NamedLine]>;

/// A file, open, and what it says about itself.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub file: File,
    /// Which it is.
    pub(super) id: FileId,
    /// Segments and build id.
    pub info: ElfInfo,
}

impl Opened {
    /// Looks at a file; `None` if it can't be read.
    pub(super) fn read(foreign: &Foreign, file: File) -> Option<Self> {
        Some(Self {
            id: FileId::of(foreign, &file).ok()?,
            info: ElfInfo::read(&file).ok()?,
            file,
        })
    }
}

/// An ELF file that was sampled: shared by the processes that see it under the same path
/// in the same root directory, since that is where its names are looked for, too.
#[derive(Debug)]
pub struct Module {
    /// Segments and build id.
    pub info: ElfInfo,
    /// Names found so far, by file offset.
    pub names: RefCell<HashMap<u64, Lines>>,
    /// Which file it is.
    pub(super) id: FileId,
    file: RefCell<Option<File>>,
    /// When it was looked last whether the file was written to.
    looked: Cell<Instant>,
    /// It was looked for in vain.
    no_debug_file: Cell<bool>,
    /// Where CPython is in it, once it was looked for.
    cpython: OnceCell<Option<RuntimeSymbols>>,
}

impl Module {
    /// A module of an open file.
    pub fn new(opened: Opened) -> Self {
        Self {
            info: opened.info,
            names: RefCell::default(),
            id: opened.id,
            file: RefCell::new(Some(opened.file)),
            looked: Cell::new(Instant::now()),
            no_debug_file: Cell::new(false),
            cpython: OnceCell::new(),
        }
    }

    /// Whether the last look at the file is so long ago; if so, this is the next.
    pub(super) fn may_look_again(&self, pause: Duration) -> bool {
        let may = self.looked.get().elapsed() >= pause;
        if may {
            self.looked.set(Instant::now());
        }
        may
    }

    /// Whether its file is open.
    pub(super) fn is_open(&self) -> bool {
        self.file.borrow().is_some()
    }

    /// Opens it again with the same file, or closes it.
    pub(super) fn set_file(&self, file: Option<File>) {
        *self.file.borrow_mut() = file;
    }

    /// The file, for a reader to look into; `None` if it isn't open.
    pub(super) fn file(&self) -> Option<File> {
        self.file.borrow().as_ref()?.try_clone().ok()
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

    /// Where CPython is in it; `None` if nobody has looked yet.
    pub(super) fn cpython(&self) -> Option<Option<RuntimeSymbols>> {
        self.cpython.get().copied()
    }

    /// Keeps where CPython is in it.
    pub(super) fn set_cpython(&self, found: Option<RuntimeSymbols>) {
        // Files don't change: who looked before found the same.
        let _ = self.cpython.set(found);
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
