//! One ELF file that was sampled, and the names found in it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::rc::Rc;

use observer_symbols::elf::ElfInfo;

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

    /// Whether its file is open.
    pub(super) fn is_open(&self) -> bool {
        self.file.borrow().is_some()
    }

    /// Opens it again with the same file, or closes it.
    pub(super) fn set_file(&self, file: Option<File>) {
        *self.file.borrow_mut() = file;
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
