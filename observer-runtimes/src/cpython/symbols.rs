//! Whether a file has CPython in it, and where: by its symbols, whatever it is called.

use std::fs::File;
use std::io;

use observer_symbols::elf::Sections;
use observer_symbols::symbol_table::{self, Defined};

/// Where something lies in a file's own address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// What CPython's symbols say, of a static `python3`, a `libpython3.*.so` or a program that
/// carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeSymbols {
    /// The global state, `_PyRuntime` (since 3.7).
    pub runtime: Place,
    /// `Py_Version`: an `unsigned long` that is `PY_VERSION_HEX` (since 3.11).
    pub version: Option<Place>,
    /// The interpreter's loop, `_PyEval_EvalFrameDefault`.
    pub eval: Option<Place>,
}

const NAMES: [&str; 3] = ["_PyRuntime", "Py_Version", "_PyEval_EvalFrameDefault"];

impl RuntimeSymbols {
    /// Looks for them; `None` if the file isn't of 64 bits or has no `_PyRuntime`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn find(file: &File) -> io::Result<Option<Self>> {
        let sections = Sections::read(file)?;
        if !sections.is_64 {
            return Ok(None);
        }
        // Exported, as extension modules use them; the other table has them in programs
        // that export nothing.
        let found = [".dynsym", ".symtab"].into_iter().find_map(|table| {
            let found = symbol_table::definitions_of(file, &sections, table, &NAMES);
            let [runtime, version, eval] = found.as_slice() else {
                return None;
            };
            let place = |symbol: &Defined| Place {
                address: symbol.address,
                size: symbol.size,
            };
            Some(Self {
                runtime: runtime.as_ref().map(place)?,
                version: version.as_ref().map(place),
                eval: eval.as_ref().map(place),
            })
        });
        Ok(found)
    }
}
