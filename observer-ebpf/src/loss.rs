//! Counting what is lost.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use observer_common::loss::{LOSSES, Loss};

use crate::atomic::add;

#[btf_map]
static LOSS: PerCpuArray<u64, { LOSSES as usize }> = PerCpuArray::new();

/// Counts one loss.
#[inline(always)]
pub fn lost(cause: Loss) {
    loss_count(cause as u32);
}

/// See [`lost`].
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
