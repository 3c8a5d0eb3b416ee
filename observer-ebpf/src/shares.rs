//! Whose part of the shared tables is how large.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::requests::SESSIONS;
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

/// The tenant of a workload. There always is one, but to the verifier: whoever returns
/// without has it look at fewer ways.
#[inline(always)]
pub fn owner_of(workload: WorkloadId) -> Option<u32> {
    let owner = WORKLOAD_IDS.get_ptr(ids::OWNERS + (workload.0 & (ids::MAX_TENANTS - 1)))?;
    // SAFETY: a map value; read once.
    Some(unsafe { owner.read_volatile() } as u32 & (ids::MAX_TENANTS - 1))
}

/// The same; 0 for none.
#[inline(always)]
pub fn tenant_of(workload: WorkloadId) -> u32 {
    owner_of(workload).unwrap_or(0)
}

/// Charges an entry of a table of TLS (0: sessions, 1: sockets) to the tenant of a
/// workload: its number and 1; 0, and nothing is charged, if it has had its share.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn shares_take(table: u32, workload: u32) -> u32 {
    let tenant = tenant_of(WorkloadId(workload));
    let of_tenant = ids::TLS_SESSIONS + (table & 1) * ids::MAX_TENANTS + tenant;
    let of_all = ids::TLS_ALL + (table & 1);
    let limit = u64::from(SESSIONS);
    let free = limit.saturating_sub(add(of_all, 1));
    if has_share(add(of_tenant, 1), free, limit) {
        return tenant + 1;
    }
    add(of_tenant, u64::MAX);
    add(of_all, u64::MAX);
    add(ids::TLS_REFUSED + tenant, 1);
    0
}

/// Gives back what was taken for a tenant.
#[inline(always)]
pub fn give_back(table: u32, tenant: u16) {
    let tenant = u32::from(tenant) & (ids::MAX_TENANTS - 1);
    add(
        ids::TLS_SESSIONS + table * ids::MAX_TENANTS + tenant,
        u64::MAX,
    );
    add(ids::TLS_ALL + table, u64::MAX);
}

/// Charges a cell to the tenant of a workload; false, and nothing is charged, if it has
/// had its share. `cells` and `limit` say which words are about the table; cells are
/// taken from the first on, so `index` says how many are left.
#[inline(always)]
pub fn charge(cells: u32, limit: u32, workload: WorkloadId, index: u32) -> bool {
    let tenant = tenant_of(workload);
    let limit = word(limit);
    let held = add(cells + tenant, 1);
    if has_share(held, limit.saturating_sub(index as u64), limit) {
        return true;
    }
    add(cells + tenant, u64::MAX);
    false
}
