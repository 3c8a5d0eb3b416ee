//! What is kept of a thread that is off CPU.
//!
//! A thread that goes off CPU notes when. Whoever ends that time, or a part of
//! it, takes the note with one atomic instruction: the switch that brings the
//! thread back, or the iterator that looks at all threads when an interval
//! ends. So nothing is counted twice, and nothing is left out.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// A thread's time off CPU; part of its [`crate::slot::ThreadState`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Off {
    /// Kernel time since when it is off CPU, as far as that isn't counted yet;
    /// 0 = it is on one, or nothing is known. Touched by atomic instructions
    /// only.
    pub since: u64,
    /// Kernel time when it got its CPU last; 0 = that was not seen.
    pub on_since: u64,
    /// As [`crate::cpu::SampleKey::state`].
    pub state: u32,
    /// Nothing.
    pub padding: u32,
    /// Its stack, if it was walked already: by itself on its way off the CPU
    /// ([`OWN`]), or by the iterator ([`ITERATOR`]). Each has one writer.
    pub kept: [Kept; 2],
}

/// [`Off::kept`]: written by the thread itself.
pub const OWN: usize = 0;
/// [`Off::kept`]: written by the iterator.
pub const ITERATOR: usize = 1;

/// [`crate::slot::Slot::pending`]: a time off CPU waits for its user stack.
pub const SETTLE: u32 = 1;
/// [`crate::slot::Slot::pending`]: nobody saw how the thread got its CPU.
pub const REAPPEARED: u32 = 2;

/// A stack that the daemon was told of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct Kept {
    /// The [`Off::since`] to which it belongs; another means that it is old.
    pub since: u64,
    /// See [`crate::cpu::SampleKey`].
    pub hash: u64,
    /// See [`crate::cpu::SampleKey`].
    pub check: u64,
    /// Number of addresses of kernel code in the stack.
    pub kernel_frames: u16,
    /// Number of addresses of user code in the stack.
    pub user_frames: u8,
    /// Number of frames of an interpreter in the stack.
    pub python_frames: u8,
    /// A [`crate::unwind::Outcome`].
    pub outcome: u16,
    /// How often the iterator walked it: a process that wasn't known yet may be
    /// known the next time.
    pub walks: u16,
}

/// [`Kept::walks`] at most.
pub const MAX_WALKS: u16 = 4;

/// Bits of the kernel's task state (include/linux/sched.h).
pub mod state {
    /// Waits, and a signal wakes it.
    pub const INTERRUPTIBLE: u32 = 1;
    /// `TASK_UNINTERRUPTIBLE`.
    pub const UNINTERRUPTIBLE: u32 = 2;
    /// Has ended; the last switch away from it.
    pub const DEAD: u32 = 0x80;
    /// What a key has room for.
    pub const MASK: u32 = 0x7f;
}

/// Where the time off CPU ends that began at `since`: a wait lasts until the
/// thread was woken, and from then on it waits for a CPU. `woken` is 0 when it
/// was not woken (or nobody saw it). Both parts in nanoseconds.
#[inline(always)]
pub const fn split(since: u64, woken: u64, now: u64) -> (u64, u64) {
    let ready = if woken == 0 || woken > now {
        now
    } else if woken < since {
        since
    } else {
        woken
    };
    (ready.saturating_sub(since), now.saturating_sub(ready))
}

#[cfg(test)]
mod tests {
    use super::split;

    /// Checks that both parts are the whole, whatever is known of the wake-up.
    #[test]
    fn parts_are_the_whole() {
        assert_eq!(split(100, 0, 500), (400, 0));
        assert_eq!(split(100, 300, 500), (200, 200));
        // It could have run all the time.
        assert_eq!(split(100, 100, 500), (0, 400));
        // What came before was counted already.
        assert_eq!(split(100, 50, 500), (0, 400));
        // A wake-up on another CPU, whose clock is a little ahead.
        assert_eq!(split(100, 501, 500), (400, 0));
        assert_eq!(split(501, 0, 500), (0, 0));
    }
}
