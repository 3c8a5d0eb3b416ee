//! What the kernel half knows of processes: their mappings, and by which table
//! each is unwound.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// [`Mapping::table`]: memory without a file (code made at run time).
pub const TABLE_NONE: u32 = u32::MAX;
/// [`Mapping::table`]: not built yet, evicted, or it couldn't be built.
pub const TABLE_ABSENT: u32 = u32::MAX - 1;
/// [`Mapping::table`]: the file was read and has no unwinding information.
pub const TABLE_EMPTY: u32 = u32::MAX - 2;

/// Tables at once.
pub const TABLES: u32 = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 13;
/// How often a table's place can be used again before its names repeat.
const GENERATIONS: u32 = 1 << 18;

/// The name of the table at `index`: places are used again, names (almost) never,
/// so that whoever remembers a table's rows can tell whether they are still
/// true. Never one of `TABLE_*`.
pub const fn table(index: u32, generation: u32) -> u32 {
    (generation % GENERATIONS) << TABLE_BITS | index
}

/// The place of the table called `table`.
#[inline(always)]
pub const fn table_index(table: u32) -> u32 {
    table & (TABLES - 1)
}

/// Default number of mapping entries (32 bytes each).
pub const MAPPINGS: u32 = 128 * 1024;
/// Processes whose mappings are known to the kernel half at once.
pub const PROCESSES: u32 = 32 * 1024;
/// Bytes of the ring of [`Request`]s.
pub const REQUEST_RING_BYTES: u32 = 64 * 1024;
/// Steps of the search among the mappings of a process.
pub const MAPPING_STEPS: u32 = 14;

/// One executable mapping of a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What to subtract from an address to get one relative to the table.
    pub base: u64,
    /// A table by [`table`], or one of `TABLE_*`.
    pub table: u32,
    /// Number of the list that the entry belongs to; see [`Process::list`].
    pub list: u32,
}

/// The mappings of a process: a run of entries in the array of [`Mapping`]s.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Process {
    /// First entry.
    pub first: u32,
    /// Number of mappings.
    pub count: u32,
    /// Number of the list. Each list has another, so an entry that was reused
    /// meanwhile is noticed. 0: nothing is known, but it was asked for.
    pub list: u32,
    /// When it was asked for last: `bpf_ktime_get_ns() >> ASK_SHIFT`.
    pub asked: u32,
    /// Number of its [`cpython::Layout`](crate::cpython::Layout); 0: none.
    pub cpython: u32,
}

/// [`Process::asked`] counts units of 2^24 ns (17 ms): a process is asked for
/// at most once in each.
pub const ASK_SHIFT: u32 = 24;

/// The kernel half wants to know about a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Request {
    /// The process.
    pub tgid: u32,
    /// An [`Outcome`](super::Outcome): `NoProcess`, `NoMapping` or `NoTable`; or
    /// [`ASK_CODE`](crate::cpython::ASK_CODE).
    pub reason: u32,
    /// The address that could not be resolved.
    pub address: u64,
}
