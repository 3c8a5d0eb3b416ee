//! Time off CPU, counted by stack: what threads wait for, and how long.
//!
//! A stack is walked as late and as seldom as possible:
//!
//! - A thread that waits in a syscall is looked at when it gets its CPU back,
//!   if it was away long enough. Its kernel stack is still that of the wait;
//!   its user stack is walked when the thread is itself again, but before it
//!   goes on in its program: at the syscall's end, or when it goes off CPU
//!   once more (`settle`).
//! - One that waits without a syscall (a page fault), or is preempted, walks on
//!   its way off the CPU (`leave`); the preempted only if every time
//!   off CPU counts.
//! - One that waits still when an interval ends is walked by the iterator
//!   (`iterate`), once for however long it waits.
//!
//! See `observer_common::offcpu` for who counts which part.

mod back;
mod copy;
mod iterate;
mod leave;
mod links;
mod record;
mod settle;

use observer_common::workload::{KERNEL_THREAD, TRACED};

pub use self::back::switch_in;
pub use self::leave::switch_out;
pub use self::settle::syscall_ends;
use crate::kernel::setting;
use crate::tunables::tunables;

/// Whether the thread's time off CPU is counted. The kernel's own threads wait
/// for work nearly all of the time; they count where somebody asks for them.
#[inline(always)]
fn wanted(flags: u32) -> bool {
    flags & TRACED != 0 && (flags & KERNEL_THREAD == 0 || setting!(filters) != 0)
}

/// Shortest time off CPU that is profiled, in nanoseconds.
#[inline(always)]
fn threshold() -> u64 {
    let (chosen, governed) = (setting!(off_cpu_threshold), tunables().off_cpu_threshold);
    if chosen > governed { chosen } else { governed }
}
