//! The user stack of a thread that isn't the current one.

use aya_ebpf::helpers::generated::bpf_copy_from_user_task;

use crate::unwind::{STACK_PAGE, STACK_PAGES, stack_copy, user_stack_pointer};

/// Copies the youngest part of a thread's user stack, as far as it is there.
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
