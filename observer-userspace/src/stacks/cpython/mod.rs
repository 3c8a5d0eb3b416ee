//! Python's functions: which processes have an interpreter, what the code objects that the
//! kernel half met are called, and where Python's frames belong among the native ones.
//!
//! - [`search`]: looks into files, on a thread of its own
//! - [`find`]: which files and processes have a CPython
//! - [`codes`]: names of code objects, read when the kernel half meets them first
//! - [`merge`]: one stack out of two

mod codes;
pub(super) mod find;
mod merge;
mod search;

pub(super) use codes::{Codes, PythonNames};
pub(super) use merge::{Merged, Native, merge};
pub(super) use search::Search;
