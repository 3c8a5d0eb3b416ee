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

/// Of each kind so many are remembered: requests under way, goroutines that write for
/// others, processes.
pub const GO_OBJECTS: u32 = 4096;
