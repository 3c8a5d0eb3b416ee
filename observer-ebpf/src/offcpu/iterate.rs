//! Threads that are still off CPU when an interval ends.

use observer_common::offcpu::{ITERATOR, Kept, MAX_WALKS, OWN, split, state as task_state};
use observer_common::slot::{CLONED, NO_SYSCALL, ThreadState};
use observer_common::unwind::Outcome;
use observer_common::workload::KERNEL_THREAD;

use super::copy::copy_stack;
use super::record::{
    KNOWN, TELL, keep, offcpu_count_copied, put_frames, put_stack, put_thread, state_of,
    syscall_of, walk_kernel,
};
use super::{threshold, wanted};
use crate::atomic::compare_and_swap;
use crate::identity::identify;
use crate::kernel::{now, read};
use crate::scratch::{Context, Scratch, Walked, iterator_scratch};
use crate::stack::{counts_off_cpu, name, stack_hash_copied};
use crate::thread::{IteratedTask, thread};
use crate::unwind::walk;

/// Sees every thread at the end of an interval, and counts what those that are
/// off CPU were so far. Their stacks are copied, as they aren't current.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn offcpu_threads(ctx: *const IteratedTask) -> i32 {
    // SAFETY: the kernel's context.
    let task = unsafe { (*ctx).task };
    if task.is_null() {
        return 0;
    }
    // SAFETY: the iterator's task is trusted.
    let state = unsafe { thread(task, true) };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    if state.css_set == 0 {
        // SAFETY: the iterator's task is trusted.
        unsafe { identify(task) };
    }
    if !wanted(state.flags) {
        return 0;
    }
    // SAFETY: a storage value, which others write atomically.
    let since = unsafe { core::ptr::read_volatile(&raw const state.off.since) };
    let now = now();
    if since == 0 {
        if state.off.on_since == 0 && read!(task, task_on_cpu, u8) == 0 {
            take_stock(task, state, now);
        }
        return 0;
    }
    let total = now.saturating_sub(since);
    // One that is on a CPU comes or goes just now: the switch will count it.
    if total == 0 || read!(task, task_on_cpu, u8) != 0 {
        return 0;
    }
    let counts = counts_off_cpu();
    if counts && total < threshold() {
        return 0;
    }
    let Some(scratch) = iterator_scratch() else {
        return 0;
    };
    // SAFETY: only one iterator runs at a time.
    let scratch = unsafe { &mut *scratch };
    let known = if state.off.kept[OWN].since == since {
        OWN
    } else {
        ITERATOR
    };
    let kept = state.off.kept[known];
    let is_known = kept.since == since && !(known == ITERATOR && may_be_better(&kept));
    put_thread(scratch, task, state, syscall_of(task, state.syscall));
    let mut walks = if kept.since == since { kept.walks } else { 0 };
    if is_known {
        put_stack(scratch, &kept);
    } else {
        walks += 1;
        // SAFETY: the iterator's task is trusted.
        unsafe { walk_copied(scratch, task, state.flags) };
    }
    let (blocked, queued) = split(since, state.runnable_since, now);
    // From here on the rest of the time is the next interval's.
    if compare_and_swap(&raw mut state.off.since, since, now) != since || !counts {
        // Not in vain: the walk asked for what it missed.
        return 0;
    }
    if offcpu_count_copied(blocked, queued, if is_known { KNOWN } else { TELL }) != 0 {
        keep(&mut state.off.kept[ITERATOR], scratch, now, walks);
    }
    0
}

/// Walks the stack of a thread that isn't current, its user half in a copy, and
/// describes it in the scratch.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
unsafe fn walk_copied(scratch: &mut Scratch, task: *const u8, flags: u32) {
    // SAFETY: the caller's promise.
    let kernel = unsafe { walk_kernel(scratch, task) };
    if flags & KERNEL_THREAD != 0 {
        scratch.walked = Walked::only(0, Outcome::NoUser);
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy_stack(task) };
        walk(Context::Iterator, scratch, kernel, task);
    }
    put_frames(scratch, kernel);
    stack_hash_copied(kernel);
    name(scratch, task);
}

/// Whether another walk may find what the last one missed.
#[inline(always)]
fn may_be_better(stack: &Kept) -> bool {
    const ASKED: [u16; 3] = [
        Outcome::NoProcess as u16,
        Outcome::NoMapping as u16,
        Outcome::NoTable as u16,
    ];
    stack.walks < MAX_WALKS
        && (stack.outcome == ASKED[0] || stack.outcome == ASKED[1] || stack.outcome == ASKED[2])
}

/// A thread that is off CPU since before the daemon: from now on it counts.
#[inline(always)]
fn take_stock(task: *const u8, state: &mut ThreadState, now: u64) {
    state.off.state = state_of(task);
    if state.off.state & task_state::INTERRUPTIBLE != 0 && state.syscall == NO_SYSCALL {
        // It waits in a syscall, which nobody saw begin.
        state.syscall = CLONED;
    }
    compare_and_swap(&raw mut state.off.since, 0, now);
    if read!(task, task_on_cpu, u8) != 0 {
        // It was faster.
        compare_and_swap(&raw mut state.off.since, now, 0);
    }
}
