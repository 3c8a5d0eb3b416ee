//! What the kernel half remembers of programs of Go's.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Something in the memory of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct GoObject {
    /// Where.
    pub address: u64,
    /// The process.
    pub tgid: u64,
}

/// For whom a goroutine writes a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct GoWrite {
    /// Address of the goroutine that waits for the answer.
    pub goroutine: u64,
    /// Kernel time when the writing began.
    pub began: u64,
}

/// So long (ns) after it begins to write a request a goroutine has sent its beginning. Later
/// the writer may have ended, and its `g` be another goroutine's.
pub const GO_WRITING: u64 = 100_000_000;

/// Of each kind so many are remembered: requests under way, goroutines that write for
/// others, processes.
pub const GO_OBJECTS: u32 = 4096;
