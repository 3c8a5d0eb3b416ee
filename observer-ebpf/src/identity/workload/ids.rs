//! Ids of workloads that are free. (A queue would do, but programs that may sleep
//! could not use one before 6.2, and one does.)

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::workload::FreeIds;

use crate::atomic::{fetch_add, swap};

/// Filled by the daemon.
#[btf_map]
static WORKLOAD_IDS: Array<FreeIds, 1> = Array::new();

/// Takes an id; `None` if there is none.
#[inline(always)]
pub fn take() -> Option<u32> {
    let ids = WORKLOAD_IDS.get_ptr_mut(0)?;
    // SAFETY: a map value; what changes is changed atomically.
    let (spare, limit) = unsafe { (swap(&raw mut (*ids).spare, 0), (*ids).limit) };
    if spare != 0 {
        return Some(spare as u32);
    }
    // SAFETY: as above.
    let id = unsafe { fetch_add(&raw mut (*ids).next, 1) };
    (id < limit).then_some(id as u32)
}

/// Makes an id free that was taken in vain. (If that happens twice before the next
/// one is taken, the first is nobody's from then on.)
#[inline(always)]
pub fn give_back(id: u32) {
    if let Some(ids) = WORKLOAD_IDS.get_ptr_mut(0) {
        // SAFETY: a map value.
        unsafe { swap(&raw mut (*ids).spare, u64::from(id)) };
    }
}
