//! Ids of workloads, and who may have how many in the table. (A queue would do for
//! the ids, but programs that may sleep could not use one before 6.2, and one does.)

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::workload::{KERNEL, WorkloadId, has_share, ids, tenant};

use crate::atomic::fetch_add;
use crate::kernel::now;

/// See [`ids`]; mapped by the daemon.
#[btf_map]
static WORKLOAD_IDS: Array<u64, { ids::WORDS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();

fn word(at: u32) -> u64 {
    match WORKLOAD_IDS.get_ptr(at) {
        // SAFETY: a map value; read once.
        Some(word) => unsafe { word.read_volatile() },
        None => 0,
    }
}

#[inline(always)]
fn add(at: u32) -> u64 {
    match WORKLOAD_IDS.get_ptr_mut(at) {
        Some(word) => fetch_add(word, 1),
        None => 0,
    }
}

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
    add(ids::TENANTS + tenant);
    (Some(WorkloadId(add(ids::TAKEN) as u32 + 1)), tenant)
}

/// Whether it is time to say again that somebody found no room: threads without
/// try again each time they get a CPU.
#[inline(always)]
pub fn is_refusal_due() -> bool {
    let Some(last) = WORKLOAD_IDS.get_ptr_mut(ids::REFUSED) else {
        return false;
    };
    let now = now();
    // SAFETY: a map value. Two CPUs at once say it twice.
    unsafe {
        if now.wrapping_sub(last.read_volatile()) < ids::REFUSED_PERIOD_NS {
            return false;
        }
        last.write_volatile(now);
    }
    true
}

/// Says that an id was taken in vain.
#[inline(always)]
pub fn give_back(tenant: u32) {
    add(ids::VAIN);
    if let Some(word) = WORKLOAD_IDS.get_ptr_mut(ids::TENANTS + tenant) {
        fetch_add(word, u64::MAX);
    }
}
