//! Workloads: who did it, as a small integer.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Number of workloads that are told apart by default.
pub const DEFAULT_WORKLOADS: u32 = 1024;

/// The workload of everything that found the table full.
pub const OTHER: u32 = 0;

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
    /// `kworker/u8:2` are one workload.
    pub comm: [u8; 16],
}

/// What the kernel knows of a workload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Workload {
    /// Its number, stamped on every event.
    pub id: u32,
    /// [`TRACED`] if comm and cgroup pass the filters.
    pub flags: u32,
}

/// A record: a workload was seen for the first time.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
pub struct NewWorkload {
    /// What tells it from others.
    pub key: WorkloadKey,
    /// Its number.
    pub id: u32,
    /// A process of it (thread-group id in the initial PID namespace), to ask
    /// `/proc` about; 0 when it was first seen without one.
    pub tgid: u32,
}

/// The thread passes all filters: its events are counted.
pub const TRACED: u32 = 1;
/// The thread belongs to the kernel.
pub const KERNEL_THREAD: u32 = 2;

/// Ids that no workload has yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct FreeIds {
    /// The next one that was never taken.
    pub next: u64,
    /// Ids are below this.
    pub limit: u64,
    /// One that was taken in vain; 0 = none.
    pub spare: u64,
}

impl FreeIds {
    /// All, in a table of so many workloads. [`OTHER`] is nobody's own.
    pub const fn all(workloads: u32) -> Self {
        Self {
            next: OTHER as u64 + 1,
            limit: workloads as u64,
            spare: 0,
        }
    }
}
