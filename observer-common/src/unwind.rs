//! Unwinding: tables, the search in them, the step from one frame to its caller.
//!
//! The daemon compiles a file's `.eh_frame` into one table; the kernel half
//! walks stacks with it. Everything here is pure, so that it runs in the kernel
//! and in host tests alike.

mod link;
mod outcome;
mod process;
mod search;
mod step;
mod table;

pub use link::{Link, link, pushes_frame};
pub use outcome::Outcome;
pub use process::{
    ASK_SHIFT, MAPPING_STEPS, MAPPINGS, Mapping, PROCESSES, Process, REQUEST_RING_BYTES, Request,
    TABLE_ABSENT, TABLE_EMPTY, TABLE_NONE, TABLES, table, table_index,
};
pub use search::{RECENT_RULES, Recent, SEARCH_STEPS, search};
pub use step::{AT_LEAST, Machine, Registers, step, step_by_frame_pointer};
pub use table::{
    CHUNK_SHIFT, CHUNK_WORDS, Chunk, FP, HEADER_WORDS, LINK, MAX_RULES, OTHER_STACK, PAGE_SHIFT,
    Rule, SIGNAL, SP, cfa, place,
};

/// Frames walked at most in a process.
pub const MAX_USER_FRAMES: usize = crate::cpu::MAX_FRAMES;
