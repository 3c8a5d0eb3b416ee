//! Where the task is found that a thread's asyncio loop runs.
//!
//! CPython's `_asyncio` keeps a dictionary from loop to the task that runs there now
//! (`_current_tasks`, Modules/_asynciomodule.c, `enter_task` and `leave_task`; up to
//! 3.13). The daemon finds it, the loop and the class once by thread; the kernel half
//! reads the entry whenever that thread sends something.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Of a thread that runs an asyncio loop; all addresses are of its process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct AsyncioLoop {
    /// The dictionary from loops to tasks.
    pub current_tasks: u64,
    /// The thread's loop.
    pub event_loop: u64,
    /// The class of tasks (`_asyncio.Task`): what isn't one is no task.
    pub class: u64,
    /// The process.
    pub tgid: u32,
    /// Nothing.
    pub padding: u32,
}

/// Threads with a loop that are known at once.
pub const ASYNCIO_LOOPS: u32 = 4096;

/// Value of `ASYNCIO_ON`: there are threads with a known loop.
pub const LOOPS: u32 = 1;

/// Layout of CPython's dictionaries, 3.11 to 3.13 (Include/cpython/dictobject.h,
/// Include/internal/pycore_dict.h), in bytes.
pub mod dictionary {
    /// `PyObject.ob_type`.
    pub const CLASS: u64 = 8;
    /// `PyDictObject.ma_keys`.
    pub const KEYS: u64 = 32;
    /// `PyDictKeysObject.dk_log2_index_bytes`.
    pub const INDEX_BYTES: usize = 9;
    /// `PyDictKeysObject.dk_kind`.
    pub const KIND: usize = 10;
    /// [`KIND`] of one whose keys aren't all strings (`DICT_KEYS_GENERAL`).
    pub const GENERAL: u8 = 0;
    /// `PyDictKeysObject.dk_nentries`.
    pub const ENTRIES_USED: usize = 24;
    /// `PyDictKeysObject.dk_indices`, behind which the entries are.
    pub const HEADER: usize = 32;
    /// Words of a `PyDictKeyEntry`: hash, key, value.
    pub const ENTRY_WORDS: usize = 3;
}
