//! What the daemon changes while the programs run.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use observer_common::tunables::Tunables;

/// Written by the daemon.
#[btf_map]
static TUNABLES: Array<Tunables, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Their values now.
#[inline(always)]
pub fn tunables() -> Tunables {
    // SAFETY: a map value; each field is read whole, and none depends on another.
    TUNABLES
        .get_ptr_mut(0)
        .map_or(Tunables::default(), |values| unsafe {
            values.read_volatile()
        })
}
