//! How full the ring of records is: so many are sent that not each can ask.

use core::ffi::c_void;

use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::btf_map;
use observer_common::ring::SharedRing;
use observer_common::workload::WorkloadId;

use super::ring::ring;
use crate::kernel::setting;
use crate::room::{room_for, room_to_begin, waiting};

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

/// No exchange begins where so many of the ring's eighths are full: one tenant alone, who may
/// fill six, keeps nobody else from it.
const EIGHTHS: u64 = 7;

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
    look(ring).is_more
}

/// How full the ring is.
struct Look {
    /// How many of its eighths are.
    eighths: u64,
    /// More parts are than when that was asked last.
    is_more: bool,
}

#[inline(always)]
fn look(ring: *mut c_void) -> Look {
    let eighths = waiting(ring) >> (setting!(request_ring_shift) - 1);
    let full = eighths >> 1;
    let Some(last) = REQUEST_FULL.get_ptr_mut(0) else {
        return Look {
            eighths,
            is_more: true,
        };
    };
    // SAFETY: a map value. If two CPUs find the same, the daemon is woken twice.
    let known = unsafe { last.read_volatile() };
    if known != full {
        // SAFETY: as above.
        unsafe { last.write_volatile(full) };
    }
    Look {
        eighths,
        is_more: full > known,
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

/// Whether a workload's next exchange finds room in the ring, a map, from its beginning to
/// its end. The last part is kept for exchanges that have begun, so that one that finds
/// none is missing as a whole, and counted.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_room(workload: u32) -> u32 {
    let filled = parts_filled();
    if filled < FREE_PARTS {
        return 1;
    }
    // Nobody else asks how full it is while nothing is sent.
    if filled > FREE_PARTS && look(ring()).eighths >= EIGHTHS {
        return 0;
    }
    room_to_begin(SharedRing::Requests as u32, workload)
}

/// Whether there is room for so many bytes of a workload.
#[inline(always)]
pub fn has_room(workload: WorkloadId, bytes: u64) -> bool {
    parts_filled() < FREE_PARTS
        || room_for(SharedRing::Requests as u32, workload.0, u64::MAX, bytes) != 0
}
