//! What the fuzz targets test, compiled by itself.

#[path = "../../tests/src/unwind_check.rs"]
pub mod check;
#[path = "../../observer-userspace/src/stacks/elf.rs"]
pub mod elf;
#[path = "../../observer-userspace/src/stacks/jitdump.rs"]
pub mod jitdump;
#[path = "../../observer-userspace/src/stacks/perf_map.rs"]
pub mod perf_map;
pub mod requests;
#[path = "../../observer-userspace/src/unwind/mod.rs"]
pub mod unwind;
