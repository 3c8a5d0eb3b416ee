//! What a thread's time goes into.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Part of a thread's time.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// On a CPU.
    Cpu = 0,
    /// Ready to run, without a CPU.
    RunQueue = 1,
    /// Waiting for a disk.
    Disk = 2,
    /// Waiting for another thread: futex, or memory that is being changed.
    Lock = 3,
    /// Waiting for a socket, or for any of several while a call is under way.
    Network = 4,
    /// Asleep until a time.
    Sleep = 5,
    /// Waiting for anything else: pipes, children, terminals, events.
    Other = 6,
}

/// Number of [`Component`]s.
pub const COMPONENTS: usize = 7;

/// Where a thread's time went, since it was first seen on a recognised
/// connection. Only differences mean something. Kept by the switches of its
/// CPU, so between two moments at which the thread ran the components grow by
/// exactly the time that passed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct ThreadClock {
    /// Nanoseconds by [`Component`].
    pub time: [u64; COMPONENTS],
    /// System calls made.
    pub syscalls: u32,
    /// Times it lost its CPU, willingly or not.
    pub switches: u32,
    /// Page faults that had to wait for a disk.
    pub major_faults: u32,
    /// Nothing.
    pub padding: u32,
}

impl ThreadClock {
    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut time = [0; COMPONENTS];
        for (to, (now, before)) in time.iter_mut().zip(self.time.iter().zip(&earlier.time)) {
            *to = now.wrapping_sub(*before);
        }
        Self {
            time,
            syscalls: self.syscalls.wrapping_sub(earlier.syscalls),
            switches: self.switches.wrapping_sub(earlier.switches),
            major_faults: self.major_faults.wrapping_sub(earlier.major_faults),
            padding: 0,
        }
    }

    /// All of it in nanoseconds.
    pub fn total(&self) -> u64 {
        self.time
            .iter()
            .fold(0, |sum, part| sum.wrapping_add(*part))
    }
}

/// Entries of the table of system calls; a power of two above their numbers.
pub const SYSCALLS: usize = 512;

/// In an entry of that table: the call sends. In the low bits is a [`Wait`], in
/// the high half a [`Shape`].
pub const SENDS: u8 = 8;

/// Where a system call has the bytes that it sends or receives.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nowhere in the process's memory, or not known.
    None = 0,
    /// Its second argument points to them.
    Buffer = 1,
    /// Its second argument points to a list of buffers (`struct iovec`).
    Vector = 2,
    /// Its second argument is a `struct msghdr`.
    Message = 3,
    /// Its second argument is an array of `struct mmsghdr`.
    Messages = 4,
    /// In another file: only how many there are is known.
    File = 5,
}

/// What a system call can wait for, by its number; told to the kernel half at
/// load, since numbers differ between machines.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Anything.
    Other = 0,
    /// A socket.
    Network = 1,
    /// A futex.
    Lock = 2,
    /// The clock.
    Sleep = 3,
    /// Several files: the network while a call is under way.
    Poll = 4,
    /// A file that may be a socket, a pipe or on a disk.
    Stream = 5,
    /// Several files by epoll: an event loop.
    EventLoop = 6,
}
