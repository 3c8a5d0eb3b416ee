//! Counting what is lost.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use observer_common::loss::{LOSS_COUNTERS, Loss, MadeUp};

use crate::atomic::add;

#[btf_map]
static LOSS: PerCpuArray<u64, { LOSS_COUNTERS as usize }> = PerCpuArray::new();

/// Counts one loss.
#[inline(always)]
pub fn lost(cause: Loss) {
    loss_count(cause as u32);
}

/// Counts an event that was seen at the second look.
#[inline(always)]
pub fn made_up(event: MadeUp) {
    loss_count(event as u32);
}

/// Adds one to a counter.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn loss_count(cause: u32) -> u32 {
    if let Some(count) = LOSS.get_ptr_mut(cause) {
        add(count, 1);
    }
    0
}
