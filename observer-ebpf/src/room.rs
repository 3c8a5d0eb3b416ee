//! Whose records may be in the rings: see [`observer_common::ring`].

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query};
use aya_ebpf::macros::btf_map;
use observer_common::ring::{RINGS, SharedRing, has_share, is_charged, may_begin, shares};
use observer_common::workload::WorkloadId;

use crate::atomic::fetch_add;
use crate::shares::owner_of;

/// Of each [`SharedRing`], see [`shares`]; mapped by the daemon.
#[btf_map]
static RING_SHARES: Array<
    [u64; shares::WORDS as usize],
    { RINGS as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// `BPF_RB_AVAIL_DATA`: how much waits to be read.
const AVAILABLE_DATA: u64 = 0;

/// Bytes that wait to be read in a ring buffer, a map.
#[inline(always)]
pub fn waiting(ring: *mut c_void) -> u64 {
    // SAFETY: callers have a ring buffer.
    unsafe { bpf_ringbuf_query(ring, AVAILABLE_DATA) }
}

/// Whether there is room for so many bytes of a workload's in a ring, a [`SharedRing`], in
/// which so many wait; they are charged to its tenant where the ring is half full.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn room_for(ring: u32, workload: u32, waiting: u64, bytes: u64) -> u32 {
    let Some(words) = RING_SHARES.get_ptr_mut(ring) else {
        return 0;
    };
    let words = words.cast::<u64>();
    // SAFETY: within the map's value; read at once.
    let size = unsafe { words.add(shares::SIZE as usize).read_volatile() };
    if !is_charged(waiting, size) {
        return 1;
    }
    let Some(tenant) = owner_of(WorkloadId(workload)) else {
        return 0;
    };
    let tenant = tenant as usize;
    // SAFETY: all are within the map's value; written and added to at once.
    unsafe {
        words.add(shares::CHARGED as usize).write_volatile(1);
        if has_share(
            fetch_add(words.add(shares::BYTES as usize + tenant), bytes),
            size,
        ) {
            return 1;
        }
        fetch_add(words.add(shares::REFUSED as usize + tenant), 1);
    }
    0
}

/// Whether a workload may begin something in a ring that is half full, of which more records
/// will come: its tenant has used at most half of its share. Nothing is charged.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn room_to_begin(ring: u32, workload: u32) -> u32 {
    let Some(words) = RING_SHARES.get_ptr_mut(ring) else {
        return 0;
    };
    let words = words.cast::<u64>();
    let Some(tenant) = owner_of(WorkloadId(workload)) else {
        return 0;
    };
    // SAFETY: all are within the map's value; read and added to at once.
    unsafe {
        let size = words.add(shares::SIZE as usize).read_volatile();
        let charged = words.add(shares::BYTES as usize + tenant as usize);
        if may_begin(charged.read_volatile(), size) {
            return 1;
        }
        fetch_add(words.add(shares::REFUSED as usize + tenant as usize), 1);
    }
    0
}

/// Sends a workload's record through a ring, a map; false if there is no room for it. `flags`
/// say of how many bytes that wait whether the daemon is to be woken.
///
/// # Safety
///
/// `ring` must be the map of `which`, and `bytes` from `record` be initialized.
#[inline(always)]
pub unsafe fn send(
    which: SharedRing,
    ring: *mut c_void,
    workload: WorkloadId,
    record: *const u8,
    bytes: u64,
    flags: impl FnOnce(u64) -> u64,
) -> bool {
    let waiting = waiting(ring);
    room_for(which as u32, workload.0, waiting, bytes) != 0
        // SAFETY: the caller's promise.
        && unsafe { bpf_ringbuf_output(ring, record.cast_mut().cast(), bytes, flags(waiting)) == 0 }
}
