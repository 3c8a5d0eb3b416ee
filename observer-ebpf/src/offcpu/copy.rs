//! The user stack of a thread that isn't the current one.

use aya_ebpf::helpers::generated::bpf_copy_from_user_task;
use observer_common::offsets::MISSING;

use crate::kernel::{offset, read};
use crate::unwind::{STACK_PAGE, STACK_PAGES, stack_copy, user_stack_pointer};

/// Bits of the count of a memory map's lock (`kernel/locking/rwsem.c`): a writer has it,
/// others wait for it, the first of them is to be next.
const LOCKED: u64 = 0b111;

/// Copies the youngest part of a thread's user stack, as far as it is there, and nothing
/// if that meant to wait for the lock of its memory map: a process may keep that for
/// ever, and all that the kernel does for sleeping programs would wait with us.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn copy_stack(task: *const u8) {
    let Some(copy) = stack_copy() else { return };
    // SAFETY: only one iterator runs at a time.
    let copy = unsafe { &mut *copy };
    copy.start = user_stack_pointer(task) & !(STACK_PAGE as u64 - 1);
    copy.bytes = 0;
    if is_locked(task) {
        return;
    }
    for page in 0..STACK_PAGES {
        let at = page * STACK_PAGE;
        // SAFETY: the caller's promise; the copy has that many pages.
        let failed = unsafe {
            bpf_copy_from_user_task(
                copy.words.as_mut_ptr().cast::<u8>().add(at).cast(),
                STACK_PAGE as u32,
                (copy.start + at as u64) as *const _,
                task.cast_mut().cast(),
                0,
            )
        } != 0;
        if failed {
            break;
        }
        copy.bytes = (at + STACK_PAGE) as u64;
    }
}

/// Whether who reads the memory of `task` would wait.
#[inline(always)]
fn is_locked(task: *const u8) -> bool {
    if offset!(task_mm) == MISSING || offset!(mm_lock) == MISSING {
        return false;
    }
    let mm = read!(task, task_mm, *const u8);
    read!(mm, mm_lock, u64) & LOCKED != 0
}
