//! What the daemon tells the kernel half once, at load: a read-only global, so
//! the verifier removes every branch that a setting turns off.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Only threads whose process is in `FILTER_PIDS` are traced.
pub const FILTER_PID: u32 = 1;
/// Only workloads whose comm is in `FILTER_COMMS` are traced.
pub const FILTER_COMM: u32 = 2;
/// Only workloads whose cgroup, or one above it, is in `FILTER_CGROUPS` are traced.
pub const FILTER_CGROUP: u32 = 4;

/// Marks a key of `FILTER_CGROUPS` as of the v1 hierarchy: ids of both may be
/// equal, and ids are inode numbers that never get this large.
pub const FILTER_V1: u64 = 1 << 63;

/// Settings of the kernel half: the widest first, so that there is no hole.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Config {
    /// Block I/O slower than this many nanoseconds is reported one by one.
    pub slow_block_ns: u64,
    /// Nanoseconds in which a workload may have one more span of a connection;
    /// 0 = there is no limit.
    pub span_interval: u64,
    /// How many nanoseconds of such intervals may be taken in advance: what is
    /// over the limit isn't sent, as the daemon would drop it. Each CPU keeps to
    /// it by itself, so that it lets through at least as much as the daemon.
    pub span_advance: u64,
    /// Which bits of a return address are its address; the others may be its signature
    /// (arm64's pointer authentication).
    pub code_mask: u64,
    /// Shortest time off CPU that is profiled, in nanoseconds.
    pub off_cpu_threshold: u64,
    /// Nanoseconds in which one wait of each CPU may say for which request it
    /// was; 0 = all may.
    pub link_period: u64,
    /// `FILTER_*` that are in force; kinds narrow each other, entries of one
    /// kind add up.
    pub filters: u32,
    /// 1 = aya-log diagnostics are on.
    pub diagnostics: u32,
    /// 1 = there is a v1 cgroup hierarchy that tells workloads apart.
    pub cgroup_v1: u32,
    /// 1 = connections that end are told of one by one.
    pub connection_records: u32,
    /// Number of the machine's `connect` syscall.
    pub connect: u32,
    /// 1 = scheduling is tallied by workload.
    pub sched_tallies: u32,
    /// 1 = time off CPU is counted by stack.
    pub off_cpu: u32,
    /// 1 = requests are followed.
    pub requests: u32,
    /// The daemon's own process, whose exports aren't requests to follow: each
    /// would make more. 0 = not known.
    pub own_tgid: u32,
    /// Bytes captured of a message whose head is complete, at most
    /// [`crate::requests::CAPTURE_MAX`].
    pub capture: u32,
    /// Bit n: [`crate::requests::Protocol`] n is followed.
    pub protocols: u32,
    /// Number of the machine's `shutdown` syscall.
    pub shutdown: u32,
    /// Logarithm of the bytes in the ring of requests after which the daemon is
    /// woken.
    pub request_ring_shift: u32,
    /// 1 = sockets are found from descriptors at the end of a system call.
    pub by_descriptor: u32,
    /// 1 = threads can be preempted in programs on tracepoints, until these keep the
    /// CPU by themselves: a program may not be run where another thread is in it.
    pub preemptible: u32,
    /// Number of the network namespace whose interfaces are told apart; 0 = none.
    pub network_namespace: u32,
    /// By number of a syscall: [`crate::requests::Wait`] in the low bits,
    /// [`crate::requests::SENDS`], and [`crate::requests::Shape`] in the high
    /// half of the byte.
    pub syscalls: [u8; crate::requests::SYSCALLS],
    /// Where `struct pt_regs` has a register, in words, by DWARF number.
    pub dwarf_registers: [u8; 32],
}
