//! From addresses to named stacks: mappings, symbols, profiles.
//!
//! Everything here runs on one thread of its own ([`worker`]), because
//! blazesym's types can't leave theirs and because naming a stack may take
//! milliseconds that the daemon's loop doesn't have.

pub mod costly;
mod cpython;
mod debug_files;
mod file_names;
pub(crate) mod images;
mod jit;
mod kernel_code;
mod kernel_names;
mod locations;
pub mod mappings;
mod module;
mod modules;
mod process;
mod profile;
mod range_allocator;
mod raw;
pub(crate) mod roots;
mod sideband;
mod symbols;
mod tables;
mod unwinder;
mod wait_reasons;
mod worker;

#[cfg(test)]
mod tests;

pub use file_names::SymbolOptions;
pub use profile::FrameShare;
pub use raw::{RawProfile, RawSample, RawStack, Wait};
pub use tables::UnwindStats;
pub use worker::{Stacks, Symbolized, UnwindOptions};

/// Bytes that all unwinding tables may take by default.
pub const DEFAULT_TABLE_BYTES: u64 = 128 << 20;
