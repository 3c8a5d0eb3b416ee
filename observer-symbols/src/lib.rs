//! Names of addresses, from files and what JIT compilers write: pure readers, with
//! no kernel and no process in sight.
//!
//! Files are hostile until shown otherwise: they are read piece by piece, never
//! mapped, and every size has a limit.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

pub mod debug_info;
pub mod demangle;
pub mod elf;
pub mod go_functions;
pub mod jitdump;
pub mod perf_map;
pub mod plt;
pub mod symbol_table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
