//! A thread goes off CPU.

use observer_common::offcpu::{OWN, SETTLE, split, state as task_state};
use observer_common::slot::{NO_SYSCALL, Slot, ThreadState};
use observer_common::unwind::Outcome;
use observer_common::workload::KERNEL_THREAD;

use super::record::{
    TELL, as_queued, keep, offcpu_count, put_frames, put_thread, state_of, walk_kernel,
};
use super::settle::offcpu_settle;
use super::{threshold, wanted};
use crate::atomic::swap;
use crate::kernel::{current, read, setting};
use crate::scratch::{Context, Walked, scratch_of};
use crate::stack::{counts_off_cpu, name, stack_hash};
use crate::thread::{Grown, thread};
use crate::unwind::walk;

/// `previous`, the current thread, goes off CPU. `by` is what the kernel's
/// accounts of it grew by since the last switch that was seen.
#[inline(always)]
pub fn switch_out(
    slot: &mut Slot,
    previous: *const u8,
    state: &mut ThreadState,
    now: u64,
    by: Grown,
    runnable: bool,
) {
    if slot.pending & SETTLE != 0 {
        offcpu_settle();
    }
    slot.pending = 0;
    let woken = state.runnable_since;
    state.runnable_since = if runnable { now } else { 0 };
    let before = swap(&raw mut state.off.since, 0);
    if !wanted(state.flags) {
        return;
    }
    let on_since = state.off.on_since;
    if before != 0 {
        // Nobody saw how it got its CPU; but what it used of it is known.
        let until = now.saturating_sub(by.ran);
        let (blocked, queued) = split(before, woken, until);
        unseen(previous, state, blocked, queued);
    } else if by.waits + by.losses > 1 && on_since != 0 {
        // Nobody saw that it went and came again; likewise.
        let gone = now.saturating_sub(on_since).saturating_sub(by.ran);
        if by.waits > !runnable as u64 {
            unseen(previous, state, gone, 0);
        } else {
            unseen(previous, state, 0, gone);
        }
    }
    if read!(previous, task_state, u32) & task_state::DEAD != 0 {
        return;
    }
    state.off.state = if runnable { 0 } else { state_of(previous) };
    if state.syscall == NO_SYSCALL
        && (!runnable || setting!(off_cpu_threshold) == 0)
        && counts_off_cpu()
    {
        offcpu_walk(now, runnable as u32);
    }
    swap(&raw mut state.off.since, now);
}

/// Counts a time off CPU that nobody saw, without a stack.
#[inline(always)]
fn unseen(task: *const u8, state: &mut ThreadState, blocked: u64, queued: u64) {
    let total = blocked + queued;
    if total == 0 || total < threshold() || !counts_off_cpu() {
        return;
    }
    let Some(scratch) = scratch_of(Context::Thread as u32) else {
        return;
    };
    // SAFETY: this CPU's map value; tracepoints' programs don't nest.
    let scratch = unsafe { &mut *scratch };
    name(scratch, task);
    put_thread(scratch, task, state, NO_SYSCALL);
    offcpu_count(blocked, queued, TELL);
}

/// Walks the stack of the current thread, which goes off CPU at `since`, and
/// tells the daemon.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn offcpu_walk(since: u64, runnable: u32) -> u32 {
    let task = current();
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(task, false) };
    let Some(scratch) = scratch_of(Context::Thread as u32) else {
        return 0;
    };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value; and this CPU's map value.
    let (flags, scratch) = unsafe { ((*state).flags, &mut *scratch) };
    // SAFETY: the current task is trusted.
    let kernel = unsafe { walk_kernel(scratch, task) };
    if flags & KERNEL_THREAD != 0 {
        scratch.walked = Walked::only(0, Outcome::NoUser);
    } else {
        walk(Context::Thread, scratch, kernel, task);
    }
    offcpu_walked(since, runnable, kernel)
}

/// Tells the daemon of the stack that [`offcpu_walk`] has walked.
///
/// Global to the verifier, and beside the walk: their frames together are too large.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn offcpu_walked(since: u64, runnable: u32, kernel: u32) -> u32 {
    let task = current();
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(task, false) };
    let Some(scratch) = scratch_of(Context::Thread as u32) else {
        return 0;
    };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value; and this CPU's map value.
    let (state, scratch) = unsafe { (&mut *state, &mut *scratch) };
    put_thread(scratch, task, state, NO_SYSCALL);
    put_frames(scratch, kernel);
    stack_hash(Context::Thread as u32, kernel);
    if runnable != 0 {
        as_queued(&mut scratch.header.key);
    }
    name(scratch, task);
    keep(&mut state.off.kept[OWN], scratch, since, 0);
    if counts_off_cpu() && offcpu_count(0, 0, TELL) == 0 {
        // The daemon doesn't know it.
        state.off.kept[OWN].since = 0;
    }
    0
}
