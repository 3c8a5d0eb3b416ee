//! Ids of workloads, and who may have how many in the table. (A queue would do for
//! the ids, but programs that may sleep could not use one before 6.2, and one does.)

use observer_common::workload::{KERNEL, WorkloadId, has_share, ids, tenant};

use crate::kernel::now;
use crate::shares::{add, set, word};

/// Takes an id for a workload of `uid` in these cgroups; `None` if there is no room
/// for it. The other number is that of the tenant.
#[inline(always)]
pub fn take(uid: u32, cgroup_v1: u64, cgroup_v2: u64) -> (Option<WorkloadId>, u32) {
    let tenant = tenant(uid, cgroup_v1, cgroup_v2, word(ids::SEED));
    let gone = word(ids::VAIN) + word(ids::RETIRED);
    let live = word(ids::TAKEN).wrapping_sub(gone);
    let limit = word(ids::LIMIT);
    let free = limit.saturating_sub(live);
    let held = match uid {
        // Theirs are few, and nobody makes more of them at will.
        KERNEL => 0,
        _ => word(ids::TENANTS + tenant),
    };
    if !has_share(held, free, limit) {
        return (None, tenant);
    }
    add(ids::TENANTS + tenant, 1);
    let id = add(ids::TAKEN, 1) as u32 + 1;
    set(ids::OWNERS + (id & (ids::MAX_TENANTS - 1)), tenant.into());
    (Some(WorkloadId(id)), tenant)
}

/// Whether it is time to say again that somebody found no room: threads without
/// try again each time they get a CPU.
#[inline(always)]
pub fn is_refusal_due() -> bool {
    let now = now();
    if now.wrapping_sub(word(ids::REFUSED)) < ids::REFUSED_PERIOD_NS {
        return false;
    }
    // Two CPUs at once say it twice.
    set(ids::REFUSED, now);
    true
}

/// Says that an id was taken in vain.
#[inline(always)]
pub fn give_back(tenant: u32) {
    add(ids::VAIN, 1);
    add(ids::TENANTS + tenant, u64::MAX);
}
