//! Who is charged for block I/O that the kernel's own threads submit: whoever
//! dirtied the data, or asked for a cache flush.

use aya_ebpf::btf_maps::{LruHashMap, PerCpuArray};
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::block::{LastDirtied, Owner, first_page};
use observer_common::offsets::MISSING;
use observer_common::workload::{KERNEL_THREAD, OTHER};

use crate::identity::{anyone_here, nobodys_flags};
use crate::kernel::{offset, read};
use crate::preemption::undisturbed;

/// File (`address_space`) → who dirtied it last.
#[btf_map]
static DIRTIERS: LruHashMap<u64, Owner, 8192> = LruHashMap::new();
#[btf_map]
static LAST_DIRTIED: PerCpuArray<LastDirtied, 1> = PerCpuArray::new();
/// Queue → who asked last for a cache flush.
#[btf_map]
static FLUSHERS: LruHashMap<u64, Owner, 1024> = LruHashMap::new();

/// Charged when nobody is known.
#[inline(always)]
pub fn nobody() -> Owner {
    Owner {
        workload: OTHER,
        flags: nobodys_flags(),
    }
}

/// Low bits of `page.mapping` that say that it is no file's
/// (`PAGE_MAPPING_FLAGS`, include/linux/page-flags.h).
const NO_FILE: u64 = 3;

/// Whoever runs.
#[inline(always)]
fn current_owner() -> Owner {
    let Some(slot) = anyone_here() else {
        return nobody();
    };
    Owner {
        workload: slot.workload,
        flags: slot.flags,
    }
}

/// Who is charged for a request that the current thread submits.
#[inline(always)]
pub fn owner(request: *const u8) -> Owner {
    let current = current_owner();
    if current.flags & KERNEL_THREAD == 0 {
        return current;
    }
    dirtier(request).unwrap_or(current)
}

/// Who dirtied the file that a request's first page belongs to.
#[inline(always)]
fn dirtier(request: *const u8) -> Option<Owner> {
    let bio = read!(request, request_bio, *const u8);
    let vector = read!(bio, bio_io_vec, *const u8) as u64;
    // Pages are reached through a plain number, so by the checked helper.
    let page = peek(vector, offset!(bio_vec_page))?;
    if page == 0 {
        return None;
    }
    let page = first_page(page, peek(page, offset!(page_compound_head))?);
    let mapping = peek(page, offset!(page_mapping))?;
    if mapping == 0 || mapping & NO_FILE != 0 {
        return None;
    }
    // SAFETY: copied at once.
    unsafe { DIRTIERS.get(&mapping) }.copied()
}

/// Reads a word of kernel memory.
#[inline(always)]
fn peek(address: u64, offset: u32) -> Option<u64> {
    if offset == MISSING {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address.wrapping_add(u64::from(offset)) as *const u64) }.ok()
}

/// A page of a file becomes dirty.
///
/// `writeback_dirty_folio(struct folio *folio, struct address_space *mapping)`
/// (include/trace/events/writeback.h). Since 5.18. Before, `writeback_dirty_page` with `struct page *page` first.
#[btf_tracepoint(function = "writeback_dirty_folio")]
pub fn block_dirty(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let mapping = ctx.arg::<u64>(1);
        let owner = current_owner();
        let Some(last) = LAST_DIRTIED.get_ptr_mut(0) else {
            return 0;
        };
        // SAFETY: a map value. An interrupt may tear it: then a look-up is wasted.
        let last = unsafe { &mut *last };
        if last.mapping == mapping && last.owner == owner {
            return 0;
        }
        last.mapping = mapping;
        last.owner = owner;
        // SAFETY: copied at once.
        if unsafe { DIRTIERS.get(&mapping) }.copied() != Some(owner) {
            // When this fails the flusher is charged.
            let _ = DIRTIERS.insert(&mapping, &owner, 0);
        }
        0
    })
}

/// Does this write want the device's cache flushed before or after it?
#[inline(always)]
pub fn wants_flush(request: *const u8) -> bool {
    let (fua, preflush) = (offset!(req_fua), offset!(req_preflush));
    if fua == MISSING || preflush == MISSING {
        return false;
    }
    let wanted = 1u32 << (fua & 31) | 1u32 << (preflush & 31);
    read!(request, request_cmd_flags, u32) & wanted != 0
}

/// Remembers who wants the cache flushed.
#[inline(always)]
pub fn note_flusher(request: *const u8, owner: Owner) {
    let queue = read!(request, request_queue, u64);
    let _ = FLUSHERS.insert(&queue, &owner, 0);
}

/// Who is charged for a cache flush.
#[inline(always)]
pub fn flusher(request: *const u8) -> Owner {
    let queue = read!(request, request_queue, u64);
    // SAFETY: copied at once.
    unsafe { FLUSHERS.get(&queue) }.copied().unwrap_or(nobody())
}
