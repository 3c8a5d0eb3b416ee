//! Samples of stacks: how the kernel half counts them and tells of them.
//!
//! A sample is counted in a hash by [`SampleKey`]: thread and stack. The first
//! sample of a key in an epoch also sends the stack itself through a ring, as a
//! [`StackHeader`] followed by the frames. There are two such hashes; the
//! daemon flips the epoch, waits until no program can still be at work in the
//! old one, and empties it: no count is lost or read twice.

use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::WorkloadId;

/// Frames walked at most in either half of a stack: the kernel's own default
/// limit (`kernel.perf_event_max_stack`).
pub const MAX_FRAMES: usize = 127;

/// Default entries of each of the two hashes.
pub const SAMPLE_ENTRIES: u32 = 16 * 1024;
/// Default size of the ring in bytes.
pub const STACK_RING_BYTES: u32 = 1 << 20;

/// Whose sample, and where. Two hashes over all frames by different functions,
/// and the number of frames: 128 bits that must all agree before two stacks
/// would share a count.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct SampleKey {
    /// First hash of all frames.
    pub hash: u64,
    /// Second hash of all frames.
    pub check: u64,
    /// Process (thread-group id) in the initial PID namespace.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Workload of the sampled thread.
    pub workload: WorkloadId,
    /// Number of addresses of kernel code, first in the stack.
    pub kernel_frames: u16,
    /// Number of addresses of user code, behind those.
    pub user_frames: u8,
    /// Number of frames of an interpreter, behind those: two words each, see
    /// [`crate::cpython`].
    pub python_frames: u8,
    /// What is counted: one of [`kind`].
    pub kind: u8,
    /// For [`kind::OFF_CPU`]: the low bits of the thread's state
    /// (`TASK_INTERRUPTIBLE` 1, `TASK_UNINTERRUPTIBLE` 2, …,
    /// include/linux/sched.h), and [`IN_IOWAIT`].
    pub state: u8,
    /// What unwinding the user part came to: a [`crate::unwind::Outcome`].
    pub outcome: u8,
    /// For [`kind::OFF_CPU`]: 1 if the thread served a request when it went to wait, also
    /// one that `request` doesn't name.
    pub in_request: u8,
    /// For [`kind::OFF_CPU`]: the syscall in which the thread waits, as a
    /// [`crate::syscalls::label`], or [`crate::slot::NO_SYSCALL`].
    pub syscall: u32,
    /// Number of the request that the thread served
    /// ([`crate::requests::Piece::request`]); 0 = none that is known.
    pub request: u64,
}

/// What a [`SampleKey`] counts.
pub mod kind {
    /// Samples: the thread ran.
    pub const ON_CPU: u8 = 0;
    /// Nanoseconds in which it waited for something.
    pub const OFF_CPU: u8 = 1;
    /// Nanoseconds in which it could have run, but had no CPU.
    pub const RUN_QUEUE: u8 = 2;
}

/// [`SampleKey::state`]: the thread waits for I/O (`task_struct.in_iowait`).
pub const IN_IOWAIT: u8 = 0x80;

/// The epoch's bit 0 says which of the two hashes is counted in; with this one
/// time off CPU is counted, too.
pub const COUNT_OFF_CPU: u32 = 2;

/// The words that say whose part of a table of samples is how large: of each of both tables
/// so many, in the map of shares.
pub mod shares {
    use crate::workload::ids::MAX_TENANTS;

    /// So many entries may be in the table. The daemon sets it.
    pub const LIMIT: u32 = 0;
    /// So many are. The kernel half adds, the daemon sets it to zero when it has emptied the
    /// table.
    pub const ALL: u32 = 1;
    /// From here on: those of each tenant, likewise.
    pub const HELD: u32 = 2;
    /// From here on: stacks of each tenant that found no room. The kernel half adds.
    pub const REFUSED: u32 = HELD + MAX_TENANTS;
    /// Of each table.
    pub const WORDS: u32 = REFUSED + MAX_TENANTS;
}

/// What precedes the frames in a record: 8 bytes each, kernel frames first, then those of
/// user code, then an interpreter's; leaf first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
pub struct StackHeader {
    /// The key under which it is counted.
    pub key: SampleKey,
    /// The thread's name.
    pub thread: [u8; 16],
    /// The name of its process (of the thread-group leader).
    pub process: [u8; 16],
    /// In which of the two hashes it is counted: 0 or 1.
    pub epoch: u32,
    /// Nothing.
    pub padding: u32,
}

/// Both hashes in the making.
#[derive(Clone, Copy, Debug)]
pub struct StackHash {
    hash: u64,
    check: u64,
}

impl StackHash {
    /// Of no frame.
    #[inline(always)]
    pub const fn new() -> Self {
        // Any two odd numbers; these are the first digits of the golden ratio
        // and of the square root of 3, as in splitmix64 and xxHash.
        Self {
            hash: 0x9e37_79b9_7f4a_7c15,
            check: 0xbb67_ae85_84ca_a73b,
        }
    }

    /// That came to these two.
    #[inline(always)]
    pub const fn of(hash: u64, check: u64) -> Self {
        Self { hash, check }
    }

    /// Of one frame more. Each step is a bijection of the state for a given
    /// frame, so nothing is forgotten; the multipliers are those of splitmix64
    /// and MurmurHash3.
    #[inline(always)]
    pub const fn add(self, frame: u64) -> Self {
        let hash = (self.hash ^ frame).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let check = self
            .check
            .wrapping_add(frame)
            .wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self {
            hash: hash ^ (hash >> 32),
            check: check ^ (check >> 29),
        }
    }

    /// Of these frames and then those of `other`. Half a stack may be known
    /// long before the other half.
    #[inline(always)]
    pub const fn join(self, other: Self) -> Self {
        let hash = self.add(other.hash).hash;
        let check = self.add(other.check).check;
        Self { hash, check }
    }

    /// First and second hash.
    #[inline(always)]
    pub const fn finish(self) -> (u64, u64) {
        (self.hash, self.check)
    }
}

impl Default for StackHash {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    fn of(frames: &[u64]) -> (u64, u64) {
        frames
            .iter()
            .fold(StackHash::new(), |h, f| h.add(*f))
            .finish()
    }

    /// Checks that stacks which differ in one frame, in order or in length get
    /// different values of either hash.
    #[test]
    fn similar_stacks_differ() {
        let base: std::vec::Vec<u64> = (0..20).map(|i| 0x7f00_0000_1000 + i * 0x40).collect();
        let mut first = HashSet::new();
        let mut second = HashSet::new();
        let mut stacks = 0;
        let mut see = |frames: &[u64]| {
            let (hash, check) = of(frames);
            stacks += 1;
            first.insert(hash);
            second.insert(check);
        };
        for length in 0..=20 {
            see(&base[..length]);
        }
        for at in 0..20 {
            for bit in 0..64 {
                let mut changed = base.clone();
                changed[at] ^= 1 << bit;
                see(&changed);
            }
            if at > 0 {
                let mut swapped = base.clone();
                swapped.swap(0, at);
                see(&swapped);
            }
        }
        assert_eq!(first.len(), stacks);
        assert_eq!(second.len(), stacks);
    }
}
