//! Counting what is lost.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use observer_common::loss::{LOSSES, Loss};

#[btf_map]
static LOSS: PerCpuArray<u64, { LOSSES as usize }> = PerCpuArray::new();

/// Counts one loss.
#[inline(always)]
pub fn lost(cause: Loss) {
    if let Some(count) = LOSS.get_ptr_mut(cause as u32) {
        crate::tally::add(count, 1);
    }
}
