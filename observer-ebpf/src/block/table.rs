//! What is kept of the requests under way: found by the request's address in
//! an array of small sets, or, if its set was full, in a hash.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, LruHashMap};
use aya_ebpf::macros::btf_map;
use observer_common::block::{Request, SETS, Set, WAYS, Way, set_of};

use crate::atomic::{compare_and_swap, swap};
use crate::kernel::offsets;

/// Mapped by the daemon, and so in whole pages: no way lies in two lines of the
/// processor's cache.
#[btf_map]
static REQUEST_SETS: Array<Set, SETS, { BPF_F_MMAPABLE as usize }> = Array::new();

/// By [`number_of`]. Requests belong to pools that live as long as their
/// queue and are used again and again, so nothing is ever removed (0 in
/// `started` is what says that it is over): what is no longer used makes room
/// by itself.
#[btf_map]
static REQUESTS: LruHashMap<u64, Request, 16384> = LruHashMap::new();

/// A request that is under way.
pub struct Found {
    /// What is kept of it.
    pub request: &'static mut Request,
    /// Its way's key; null if it is in the hash.
    key: *mut u64,
}

impl Found {
    /// It is over.
    #[inline(always)]
    pub fn remove(self) {
        self.request.started = 0;
        if !self.key.is_null() {
            // Atomically, hence after all else that was done with the way:
            // from now on it is somebody else's.
            swap(self.key, 0);
        }
    }
}

/// What stands for a request: its address, less another that never changes.
/// The verifier doesn't let an address be multiplied, but a difference of two.
#[inline(always)]
fn number_of(request: *const u8) -> u64 {
    let mut number = request as u64;
    // SAFETY: touches registers only. In Rust the difference might be undone.
    unsafe {
        core::arch::asm!(
            "{number} -= {base}",
            number = inout(reg) number,
            base = in(reg) offsets() as u64,
            options(pure, nomem, nostack),
        );
    }
    number
}

#[inline(always)]
fn first_way(number: u64) -> Option<*mut Way> {
    let set = REQUEST_SETS.get_ptr_mut(set_of(number))?;
    Some(set.cast())
}

/// Looks for a request, which is handled by one CPU at a time.
#[inline(always)]
pub fn find(request: *const u8) -> Option<Found> {
    let number = number_of(request);
    let first = first_way(number)?;
    for i in 0..WAYS {
        // SAFETY: a set has that many ways; keys are touched whole.
        unsafe {
            let way = first.add(i);
            if core::ptr::read_volatile(&raw const (*way).key) == number {
                return Some(Found {
                    request: &mut (*way).request,
                    key: &raw mut (*way).key,
                });
            }
        }
    }
    // SAFETY: as above.
    if unsafe { core::ptr::read_volatile(&raw const (*first).spilled) } == 0 {
        return None;
    }
    // SAFETY: a map value.
    let spilled = unsafe { &mut *REQUESTS.get_ptr_mut(&number)? };
    (spilled.started != 0).then_some(Found {
        request: spilled,
        key: core::ptr::null_mut(),
    })
}

/// Keeps what isn't there yet. A failure shows, and is counted, when the
/// request is done.
#[inline(always)]
pub fn insert(request: *const u8, fresh: &Request) {
    let number = number_of(request);
    let Some(first) = first_way(number) else {
        return;
    };
    for i in 0..WAYS {
        // SAFETY: a set has that many ways; whoever changed a key from 0 has
        // the way.
        unsafe {
            let way = first.add(i);
            let key = &raw mut (*way).key;
            if core::ptr::read_volatile(key) == 0 && compare_and_swap(key, 0, number) == 0 {
                (*way).request = *fresh;
                return;
            }
        }
    }
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(&raw mut (*first).spilled, 1) };
    let _ = REQUESTS.insert(&number, fresh, 0);
}
