//! What the current thread of a CPU is doing, and what a thread was doing when
//! it lost its CPU.

use crate::plain::{FromBytes, Immutable, IntoBytes};
use crate::workload::{ProgramId, WorkloadId};

/// [`Slot::syscall`] when the thread is not in a syscall.
pub const NO_SYSCALL: u32 = u32::MAX;

/// [`Slot::syscall`] of a thread that is new: it begins with the end of a
/// clone that its parent began. Both are larger than any syscall.
pub const CLONED: u32 = NO_SYSCALL - 1;

/// [`ThreadState::derived`] of a thread that runs another program since: none has this
/// number.
pub const EXECED: ProgramId = ProgramId(u32::MAX);

/// Per CPU: its current thread. Written by sched_switch, so that a syscall's
/// start need not live in a hash: only threads that lose their CPU in
/// mid-syscall are saved, to their [`ThreadState`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Slot {
    /// Address of the `task_struct` that the rest is about; 0 = not known.
    /// Whoever uses the slot compares it with the current task: some kernels
    /// don't report every switch.
    pub task: u64,
    /// Its thread id.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// Workload of the current thread.
    pub workload: WorkloadId,
    /// [`crate::workload::TRACED`] and others.
    pub flags: u32,
    /// Kernel time when the current syscall began.
    pub syscall_start: u64,
    /// The syscall under way as a [`crate::syscalls::label`], or [`NO_SYSCALL`].
    pub syscall: u32,
    /// Workload at the syscall's entry (execve changes the current one).
    pub syscall_workload: WorkloadId,
    /// What [`crate::offcpu`] has to do before the thread leaves the kernel:
    /// [`crate::offcpu::SETTLE`] and others.
    pub pending: u32,
    /// System calls that the thread made, from wherever counting began.
    pub calls: u32,
    /// Number of the request that the thread serves; 0 = none. See
    /// [`crate::requests`].
    pub request: u64,
    /// Address of the registers with which the thread enters the kernel, at
    /// the end of its kernel stack, so no other's; 0 = not seen yet. With that
    /// the programs on syscalls, which are told it, recognise their thread
    /// without asking who runs.
    pub registers: u64,
    /// [`crate::workload::ids::CHANGES`] as of when the workload was looked up.
    pub changes: u64,
}

/// Per thread, in task storage: lives as long as the thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct ThreadState {
    /// The leader's comm and the css_set that the workload was derived from:
    /// as long as both are the same, so is the workload.
    pub comm: [u64; 2],
    /// See `comm`. 0 = nothing is known yet.
    pub css_set: u64,
    /// What the thread's process runs, by the daemon's word; inherited, until exec.
    pub program: ProgramId,
    /// The same as the workload was derived from it.
    pub derived: ProgramId,
    /// Kernel time of the exec of the process, or of that from which it was forked;
    /// 0 = it wasn't seen.
    pub exec_time: u64,
    /// Workload of the thread.
    pub workload: WorkloadId,
    /// [`crate::workload::TRACED`] and others.
    pub flags: u32,
    /// See [`Slot`].
    pub syscall_start: u64,
    /// See [`Slot`].
    pub syscall: u32,
    /// See [`Slot`].
    pub syscall_workload: WorkloadId,
    /// Kernel time since when it is runnable without running; 0 = it isn't.
    pub runnable_since: u64,
    /// The kernel's own account of the thread's CPU time, as far as it was
    /// charged to the workload (`task_struct.se.sum_exec_runtime`, ns).
    pub cpu_time: u64,
    /// Likewise `task_struct.nvcsw`, voluntary context switches.
    pub voluntary: u64,
    /// Likewise `task_struct.nivcsw`.
    pub involuntary: u64,
    /// 1 + the [`crate::tcp::label`] of the TCP connection for which the
    /// thread waits in a blocking connect; 0 = there is none.
    pub connecting: u64,
    /// See [`Slot`].
    pub request: u64,
    /// See [`Slot`].
    pub calls: u32,
    /// [`crate::workload::SAY`] if the daemon is to look at its process, when the
    /// workload is looked up.
    pub say: u32,
    /// See [`Slot`].
    pub registers: u64,
    /// Its time off CPU.
    pub off: crate::offcpu::Off,
    /// What it does for requests.
    pub serving: crate::requests::Serving,
    /// What it does with a TLS library.
    pub tls: crate::requests::TlsCall,
}
