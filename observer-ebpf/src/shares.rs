//! Whose part of the shared tables is how large.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::workload::{WorkloadId, has_share, ids};

use crate::atomic::fetch_add;

/// See [`ids`]; mapped by the daemon.
#[btf_map]
static WORKLOAD_IDS: Array<u64, { ids::WORDS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();

/// A word; 0 beyond the end.
#[inline(always)]
pub fn word(at: u32) -> u64 {
    match WORKLOAD_IDS.get_ptr(at) {
        // SAFETY: a map value; read once.
        Some(word) => unsafe { word.read_volatile() },
        None => 0,
    }
}

/// Adds to a word (or subtracts: it wraps); returns what it was.
#[inline(always)]
pub fn add(at: u32, value: u64) -> u64 {
    match WORKLOAD_IDS.get_ptr_mut(at) {
        Some(word) => fetch_add(word, value),
        None => 0,
    }
}

/// Sets a word.
#[inline(always)]
pub fn set(at: u32, value: u64) {
    if let Some(word) = WORKLOAD_IDS.get_ptr_mut(at) {
        // SAFETY: a map value; written at once.
        unsafe { word.write_volatile(value) };
    }
}

/// Charges a cell to the tenant of a workload; false, and nothing is charged, if it has
/// had its share. `cells` and `limit` say which words are about the table; cells are
/// taken from the first on, so `index` says how many are left.
#[inline(always)]
pub fn charge(cells: u32, limit: u32, workload: WorkloadId, index: u32) -> bool {
    let owner = workload.0 & (ids::MAX_TENANTS - 1);
    let tenant = word(ids::OWNERS + owner) as u32 & (ids::MAX_TENANTS - 1);
    let limit = word(limit);
    let held = add(cells + tenant, 1);
    if has_share(held, limit.saturating_sub(index as u64), limit) {
        return true;
    }
    add(cells + tenant, u64::MAX);
    false
}
