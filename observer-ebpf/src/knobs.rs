//! What the daemon turns while the programs run.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::knobs::Knobs;

/// Written by the daemon.
#[btf_map]
static KNOBS: Array<Knobs, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// The knobs as they stand now.
#[inline(always)]
pub fn knobs() -> Knobs {
    // SAFETY: a map value; each field is read whole, and none depends on another.
    KNOBS
        .get_ptr_mut(0)
        .map_or(Knobs::default(), |knobs| unsafe { knobs.read_volatile() })
}
