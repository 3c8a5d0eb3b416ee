//! Workloads: who did it, as a small integer.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Number of workloads that are told apart by default.
pub const DEFAULT_WORKLOADS: u32 = 1024;

/// A workload's number: counted up from 1, never given twice, so that what comes
/// late (a record that waited, a socket that outlives its owner) can't be charged
/// to a successor. At a thousand new workloads a second they last for 49 days;
/// the daemon says when half of them are used.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    Immutable,
    IntoBytes,
)]
pub struct WorkloadId(pub u32);

/// The workload of everything that found the table full.
pub const OTHER: WorkloadId = WorkloadId(0);

/// Stands for workloads that are over and whose figures are `other`'s, in what the
/// daemon itself keeps. Nobody is ever given it.
pub const FOLDED: WorkloadId = WorkloadId(u32::MAX);

/// What tells one workload from another.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct WorkloadKey {
    /// kernfs id of the cgroup in the chosen v1 hierarchy; 0 without one.
    pub cgroup_v1: u64,
    /// kernfs id of the cgroup in the v2 hierarchy.
    pub cgroup_v2: u64,
    /// `comm` of the thread-group leader, NUL-padded; of kernel threads only
    /// the part before the first `/`, `:` or `-`, so that `kworker/3:1` and
    /// `kworker/u8:2` are one workload. Of processes whose program the daemon
    /// knows: that, see [`program_words`].
    pub comm: [u8; 16],
}

/// The number of a program, given by the daemon to what several workloads may run
/// that are alike to the kernel: two scripts of one interpreter, say. 0: none.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    Immutable,
    IntoBytes,
)]
pub struct ProgramId(pub u32);

/// None is known.
pub const NO_PROGRAM: ProgramId = ProgramId(0);

/// No name ends with it: its last byte is NUL (`TASK_COMM_LEN`, include/linux/sched.h).
const PROGRAM_MARK: u64 = u64::MAX;

/// What stands for a program in place of the comm.
#[inline(always)]
pub const fn program_words(program: ProgramId) -> [u64; 2] {
    [program.0 as u64, PROGRAM_MARK]
}

/// What the kernel knows of a workload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Workload {
    /// Stamped on every event.
    pub id: WorkloadId,
    /// [`TRACED`] if comm and cgroup pass the filters.
    pub flags: u32,
}

/// A value of the table of workloads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Entry {
    /// Of the key, see [`WorkloadKey::mark`]: the kernel may give an element's
    /// memory to another key while somebody reads it
    /// (`htab_map_delete_elem`, kernel/bpf/hashtab.c).
    pub mark: u64,
    /// What is known of the workload.
    pub workload: Workload,
    /// Whose share of the table it takes, see [`tenant`].
    pub tenant: u32,
    /// Nothing.
    pub padding: u32,
}

impl WorkloadKey {
    /// A digest, with which a value says whose it is.
    #[inline(always)]
    pub fn mark(&self) -> u64 {
        let [a, b] = self.words();
        let cgroups = self.cgroup_v1.rotate_left(32) ^ self.cgroup_v2;
        let comm = a.rotate_left(7) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        cgroups.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ comm
    }

    /// The comm as two words.
    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        zerocopy::transmute!(self.comm)
    }

    /// The same cgroups, and this program.
    pub fn with_program(&self, program: ProgramId) -> Self {
        Self {
            comm: zerocopy::transmute!(program_words(program)),
            ..*self
        }
    }

    /// The program; [`NO_PROGRAM`] where the comm decides.
    pub fn program(&self) -> ProgramId {
        match self.words() {
            [program, PROGRAM_MARK] => ProgramId(program as u32),
            _ => NO_PROGRAM,
        }
    }
}

/// A record: a workload was seen for the first time; or, with the id [`OTHER`], one
/// that found no room; or a process that is new in one that is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct NewWorkload {
    /// What tells it from others.
    pub key: WorkloadKey,
    /// Its number.
    pub id: WorkloadId,
    /// A process of it (thread-group id in the initial PID namespace), to ask
    /// `/proc` about; 0 when it was first seen without one.
    pub tgid: u32,
    /// Whose share of the table it takes, see [`tenant`]; [`PROCESS`] if only the process
    /// is new.
    pub tenant: u32,
    /// The user of the process, in the initial user namespace; [`KERNEL`] of the kernel's
    /// threads.
    pub uid: u32,
}

/// [`NewWorkload::tenant`] where only a process is new. Tenants' numbers are smaller.
pub const PROCESS: u32 = u32::MAX;

impl NewWorkload {
    /// Whether it found no room.
    pub fn is_overflow(&self) -> bool {
        self.id == OTHER
    }

    /// Whether it is only about a process.
    pub fn is_process(&self) -> bool {
        self.tenant == PROCESS
    }
}

/// A value of the map of programs: what a process runs, as far as the daemon knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Given {
    /// The leader's name when the daemon looked: with another one it is another program.
    pub comm: [u8; 16],
    /// What it runs.
    pub program: ProgramId,
    /// Nothing.
    pub padding: u32,
    /// Kernel time (ns) before the daemon looked: whoever ran another program since isn't
    /// meant.
    pub time: u64,
}

/// So many processes are told of their programs at once, at most.
pub const GIVEN: u32 = 1024;

/// So long after its process's exec a child is looked at on its own: its parent may
/// not have been yet (ns).
pub const LOOK_NS: u64 = 200_000_000;

/// What the sweep says of a thread: these workloads are in use, the first by its process.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct Held {
    /// Its own.
    pub workload: WorkloadId,
    /// Its own when its system call began.
    pub syscall_workload: WorkloadId,
    /// Its process (thread-group id in the initial PID namespace), if it is the first
    /// thread of a program that is traced; else 0.
    pub process: u32,
}

/// The thread passes all filters: its events are counted.
pub const TRACED: u32 = 1;
/// The thread belongs to the kernel.
pub const KERNEL_THREAD: u32 = 2;
/// The daemon is to look at the process. Only asked for, never kept.
pub const SAY: u32 = 4;

/// What the word of the map of ids at this place says. Each has one side that
/// adds to it; the other only reads.
pub mod ids {
    /// Ids taken so far, so the last one. The kernel half adds.
    pub const TAKEN: u32 = 0;
    /// Of these, taken in vain: another CPU was faster. The kernel half adds.
    pub const VAIN: u32 = 1;
    /// Workloads that were taken out of the table. The daemon adds.
    pub const RETIRED: u32 = 2;
    /// So many may be in the table. The daemon sets it.
    pub const LIMIT: u32 = 3;
    /// Stirred into the numbers of tenants, so that nobody can choose with whom
    /// they share one. The daemon sets it.
    pub const SEED: u32 = 4;
    /// Kernel time (ns) when it was last said that somebody found no room.
    pub const REFUSED: u32 = 5;
    /// The least time between two such announcements.
    pub const REFUSED_PERIOD_NS: u64 = 50_000_000;
    /// Cells of histograms that may be taken, but for the reserve. The daemon sets it.
    pub const HISTOGRAM_LIMIT: u32 = 6;
    /// Likewise of counters.
    pub const COUNTER_LIMIT: u32 = 7;
    /// How often threads got other workloads while they had a CPU: what is in a CPU's
    /// slot is as old as this number there. Both sides add.
    pub const CHANGES: u32 = 8;
    /// 1 while the daemon knows that processes wait for being looked at. The kernel half
    /// sets it, the daemon clears it.
    pub const SAID: u32 = 9;
    /// From here on: workloads of each tenant in the table. The kernel half adds,
    /// the daemon subtracts.
    pub const TENANTS: u32 = 10;
    /// Tenants that are told apart; more share their shares. A power of two.
    pub const MAX_TENANTS: u32 = 4096;
    /// From here on: the tenant of each workload, by the number of that modulo
    /// [`MAX_TENANTS`]. (Of two that are so far apart the later decides.) The kernel
    /// half sets it.
    pub const OWNERS: u32 = TENANTS + MAX_TENANTS;
    /// From here on: cells of histograms that each tenant has. The kernel half adds, the
    /// daemon sets it anew when it has looked.
    pub const HISTOGRAMS: u32 = OWNERS + MAX_TENANTS;
    /// From here on: cells of counters, likewise.
    pub const COUNTERS: u32 = HISTOGRAMS + MAX_TENANTS;
    /// From here on: TLS sessions of each tenant, see [`requests::SESSIONS`]. The kernel
    /// half adds and subtracts, the daemon sets it anew when it has looked.
    ///
    /// [`requests::SESSIONS`]: crate::requests::SESSIONS
    pub const TLS_SESSIONS: u32 = COUNTERS + MAX_TENANTS;
    /// From here on: sockets with TLS of each tenant, likewise.
    pub const TLS_SOCKETS: u32 = TLS_SESSIONS + MAX_TENANTS;
    /// From here on: TLS sessions and sockets of each tenant that found no room. The
    /// kernel half adds.
    pub const TLS_REFUSED: u32 = TLS_SOCKETS + MAX_TENANTS;
    /// TLS sessions of all tenants; behind it, sockets with TLS.
    pub const TLS_ALL: u32 = TLS_REFUSED + MAX_TENANTS;
    /// Words in all.
    pub const WORDS: u32 = TLS_ALL + 2;
}

/// The number of a tenant, below [`ids::MAX_TENANTS`]: of whoever can fill the
/// table, so that it costs only them. That is a user, in whatever cgroups, or, as
/// root is in all containers, root in a cgroup.
#[inline(always)]
pub const fn tenant(uid: u32, cgroup_v1: u64, cgroup_v2: u64, seed: u64) -> u32 {
    let who = if uid != 0 {
        uid as u64
    } else {
        1 << 63 | cgroup_v1 << 32 ^ cgroup_v2
    };
    // The finalizer of splitmix64.
    let mut mixed = who ^ seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as u32 & (ids::MAX_TENANTS - 1)
}

/// The user of kernel threads, which nobody is (`INVALID_UID`, include/linux/uidgid.h).
pub const KERNEL: u32 = u32::MAX;

/// May a tenant that has `held` places in a table of `limit` take one more where `free`
/// are left? A part of the table is kept for those who have little: a tenant alone
/// fills seven eighths, and however much it wants, others find room behind it.
#[inline(always)]
pub const fn has_share(held: u64, free: u64, limit: u64) -> bool {
    free > limit / KEPT || free > 0 && held <= limit / LITTLE
}

/// The same of a table that is emptied each interval, in which everybody has much: a tenant
/// alone fills three quarters, and behind it others find a sixteenth each.
#[inline(always)]
pub const fn has_share_of_samples(held: u64, free: u64, limit: u64) -> bool {
    free > limit / 4 || free > 0 && held <= limit / 16
}

/// See [`has_share`]: this part of the table is kept.
pub const KEPT: u64 = 8;

/// See [`has_share`]: who has no more than this part of the table has little.
pub const LITTLE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that floods leave room, one after the other or all at once: a tenant
    /// alone gets seven eighths, and after several somebody new still gets in.
    #[test]
    fn floods_leave_room() {
        for (limit, most) in [(1023, 7), (63, 3)] {
            for tenants in 1..=most {
                for at_once in [false, true] {
                    let mut held = [0u64; 7];
                    let held = &mut held[..tenants];
                    let mut free: u64 = limit;
                    loop {
                        let before = free;
                        for held in &mut *held {
                            while has_share(*held, free, limit) {
                                *held += 1;
                                free -= 1;
                                if at_once {
                                    break;
                                }
                            }
                        }
                        if free == before {
                            break;
                        }
                    }
                    assert!(has_share(0, free, limit), "{tenants} tenants: {held:?}");
                    assert!(tenants > 1 || held[0] >= limit * 7 / 8, "{held:?}");
                }
            }
        }
        assert!(!has_share(0, 0, 1023));
    }

    /// Checks that a user is one tenant in all cgroups, that root is one in each,
    /// and that the seed decides who shares a number.
    #[test]
    fn tenants() {
        assert_eq!(tenant(1000, 1, 2, 7), tenant(1000, 3, 4, 7));
        let of_root = |cgroup| tenant(0, 0, cgroup, 7);
        let alike = (1..100).filter(|cgroup| of_root(*cgroup) == of_root(0));
        assert!(alike.count() < 3);
        let alike = |seed| tenant(1000, 0, 0, seed) == tenant(1001, 0, 0, seed);
        assert!(!(0..10).all(alike));
    }
}
