//! How full the ring of records is: so many are sent that not each can ask.

use core::ffi::c_void;

use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::btf_map;
use observer_common::ring::SharedRing;
use observer_common::workload::WorkloadId;

use crate::kernel::setting;
use crate::room::{room_for, waiting};

/// Bytes sent by this CPU.
#[btf_map]
static REQUEST_SENT: PerCpuArray<u64, 1> = PerCpuArray::new();

/// How many parts of the ring were full when that was asked last.
#[btf_map]
static REQUEST_FULL: Array<u64, 1> = Array::new();

/// A part of the ring is asked for after 2^-`PACE` of it.
const PACE: u32 = 3;

/// Parts, of four, above which each tenant has its share.
const FREE_PARTS: u64 = 2;

/// Whether the daemon is to be woken by a record of `bytes` in the ring, a map: it reads
/// four times a second, and each time that another part of the ring is full. Each CPU asks
/// how full the ring is whenever it has sent an eighth of a part, since asking costs.
#[inline(always)]
pub fn fills(ring: *mut c_void, bytes: u64) -> bool {
    let part = setting!(request_ring_shift);
    let Some(sent) = REQUEST_SENT.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: this CPU's map value. Where a program of a TLS library loses its
    // CPU in between, the ring is asked for a little later.
    let (before, after) = unsafe {
        let before = *sent;
        *sent = before + bytes;
        (before, before + bytes)
    };
    if before >> (part - PACE) == after >> (part - PACE) {
        return false;
    }
    let full = waiting(ring) >> part;
    let Some(last) = REQUEST_FULL.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: a map value. If two CPUs find the same, the daemon is woken twice.
    unsafe {
        let known = last.read_volatile();
        if known != full {
            last.write_volatile(full);
        }
        full > known
    }
}

/// Parts of the ring that were full when that was asked last.
#[inline(always)]
fn parts_filled() -> u64 {
    match REQUEST_FULL.get_ptr(0) {
        // SAFETY: a map value.
        Some(parts) => unsafe { parts.read_volatile() },
        None => 0,
    }
}

/// Whether there is room for so many bytes of a workload.
#[inline(always)]
pub fn has_room(workload: WorkloadId, bytes: u64) -> bool {
    parts_filled() < FREE_PARTS
        || room_for(SharedRing::Requests as u32, workload.0, u64::MAX, bytes) != 0
}
