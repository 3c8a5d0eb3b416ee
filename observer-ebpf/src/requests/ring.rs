//! The ring of records.

use core::ffi::c_void;

use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::macros::btf_map;
use observer_common::requests::{Piece, REQUEST_RING_BYTES};

#[btf_map]
static REQUEST_RING: RingBuf<Piece, { REQUEST_RING_BYTES as usize }> = RingBuf::new();

/// It, as helpers want it.
#[inline(always)]
pub fn ring() -> *mut c_void {
    (&raw const REQUEST_RING).cast_mut().cast()
}
