//! What the current thread of a CPU is doing, and what a thread was doing when
//! it lost its CPU.

/// [`Slot::syscall`] when the thread is not in a syscall.
pub const NO_SYSCALL: u32 = u32::MAX;

/// Per CPU: its current thread. Written by sched_switch, so that a syscall's
/// start need not live in a hash: only threads that lose their CPU in
/// mid-syscall are saved, to their [`ThreadState`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The thread that the rest is about; 0 = not known (idle, or stale).
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// Its workload.
    pub workload: u32,
    /// [`crate::workload::TRACED`] and others.
    pub flags: u32,
    /// Kernel time when it got the CPU, or when its CPU time was last charged.
    pub running_since: u64,
    /// Kernel time when the current syscall began.
    pub syscall_start: u64,
    /// The syscall under way as a [`crate::syscalls::label`], or [`NO_SYSCALL`].
    pub syscall: u32,
    /// Workload at the syscall's entry (execve changes the current one).
    pub syscall_workload: u32,
}

/// Per thread, in task storage: lives as long as the thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ThreadState {
    /// The leader's comm and the css_set that the workload was derived from:
    /// as long as both are the same, so is the workload.
    pub comm: [u64; 2],
    /// See `comm`.
    pub css_set: u64,
    /// The workload.
    pub workload: u32,
    /// [`crate::workload::TRACED`] and others.
    pub flags: u32,
    /// See [`Slot`].
    pub syscall_start: u64,
    /// See [`Slot`].
    pub syscall: u32,
    /// See [`Slot`].
    pub syscall_workload: u32,
    /// Kernel time since when it is runnable without running; 0 = it isn't.
    pub runnable_since: u64,
}
