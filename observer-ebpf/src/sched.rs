//! Scheduling: who gets the CPUs, how long runnable threads wait for one, and
//! the hand-over of the slot from one thread to the next.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::slot::{NO_SYSCALL, Slot};
use observer_common::tally::Kind;
use observer_common::workload::TRACED;

use crate::identity::identify;
use crate::kernel::{now, read};
use crate::slot::{slot, thread};
use crate::tally;

/// Label of [`Kind::ContextSwitches`]: the thread went to wait.
const VOLUNTARY: u64 = 0;
/// The thread could have gone on.
const INVOLUNTARY: u64 = 1;

/// Charges the slot's thread for its CPU time up to `now`.
#[inline(always)]
pub fn charge(slot: &mut Slot, now: u64) {
    if slot.flags & TRACED != 0 {
        tally::count(
            Kind::CpuTime,
            slot.workload,
            0,
            now.saturating_sub(slot.running_since),
        );
    }
    slot.running_since = now;
}

/// Saves what the slot knows of `task` to the task's own state.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts, and the slot's.
#[inline(always)]
pub unsafe fn park(slot: &mut Slot, task: *const u8, now: u64) {
    charge(slot, now);
    // SAFETY: the caller's promise.
    let state = unsafe { thread(task, false) };
    if !state.is_null() {
        // SAFETY: not null, so a storage value.
        let state = unsafe { &mut *state };
        state.syscall = slot.syscall;
        state.syscall_start = slot.syscall_start;
        state.syscall_workload = slot.syscall_workload;
    }
}

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = slot() else { return 0 };
    let preempted: u64 = ctx.arg(0);
    let previous: *const u8 = ctx.arg(1);
    let next: *const u8 = ctx.arg(2);
    let now = now();

    let previous_tid = read!(previous, task_pid, u32);
    if previous_tid != 0 {
        // TASK_RUNNING is 0; a preempted thread may carry the state it was
        // about to sleep in, but it stays runnable.
        let runnable = preempted as u8 != 0 || read!(previous, task_state, u32) == 0;
        if slot.tid == previous_tid {
            if slot.flags & TRACED != 0 {
                let how = if runnable { INVOLUNTARY } else { VOLUNTARY };
                tally::count(Kind::ContextSwitches, slot.workload, how, 1);
            }
            // SAFETY: a tracepoint's argument is trusted.
            unsafe { park(slot, previous, now) };
        }
        if runnable {
            // SAFETY: as above.
            unsafe { became_runnable(previous, now) };
        }
    }

    slot.running_since = now;
    slot.tid = read!(next, task_pid, u32);
    slot.flags = 0;
    slot.syscall = NO_SYSCALL;
    if slot.tid == 0 {
        return 0;
    }
    // SAFETY: a tracepoint's argument is trusted.
    let state = unsafe { identify(next) };
    if state.is_null() {
        slot.tid = 0;
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    slot.tgid = read!(next, task_tgid, u32);
    slot.workload = state.workload;
    slot.flags = state.flags;
    slot.syscall = state.syscall;
    slot.syscall_start = state.syscall_start;
    slot.syscall_workload = state.syscall_workload;
    if state.runnable_since != 0 {
        if state.flags & TRACED != 0 {
            let waited = now.saturating_sub(state.runnable_since);
            tally::record_local(Kind::RunQueue, state.workload, 0, waited);
        }
        state.runnable_since = 0;
    }
    0
}

/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
unsafe fn became_runnable(task: *const u8, now: u64) {
    // SAFETY: the caller's promise. Only a thread that ran before has a state;
    // a new one gets its first when it is woken.
    let state = unsafe { thread(task, true) };
    if !state.is_null() {
        // SAFETY: not null, so a storage value.
        unsafe { (*state).runnable_since = now };
    }
}

#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { became_runnable(ctx.arg(0), now()) };
    0
}

#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { became_runnable(ctx.arg(0), now()) };
    0
}
