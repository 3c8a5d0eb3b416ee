//! The programs on the switches of a CPU, and on what makes threads runnable.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::slot::CLONED;

use crate::atomic::swap;
use crate::identity::{identify, inherit};
use crate::kernel::{now, read, setting};
use crate::loss::lost;
use crate::offcpu;
use crate::requests;
use crate::sched::{charge, count_queued};
use crate::slot::{changes, empty, install, park, slot};
use crate::thread::thread;

/// Hands the slot from one thread to the next.
///
/// `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next)`
/// (include/trace/events/sched.h). All kernels; `unsigned int prev_state` follows since 5.18.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = slot() else { return 0 };
    let changes = changes();
    let preempted: u64 = ctx.arg(0);
    let previous: *const u8 = ctx.arg(1);
    let next: *const u8 = ctx.arg(2);
    let now = now();

    if read!(previous, task_pid, u32) != 0 {
        let known = slot.task == previous as u64;
        // Who is in the slot was looked at when it got its CPU; a new name
        // since would have emptied it, a new cgroup is noticed next time.
        // SAFETY: a tracepoint's argument is trusted.
        let state = unsafe {
            if known {
                thread(previous, false)
            } else {
                identify(previous)
            }
        };
        if !state.is_null() {
            // SAFETY: not null, so a storage value.
            let state = unsafe { &mut *state };
            let by = charge(previous, state);
            if known {
                park(slot, state);
            } else if slot.task != 0 {
                lost(Loss::SwitchUnseen);
            }
            // TASK_RUNNING is 0; a preempted thread may carry the state it was
            // about to sleep in, but it stays runnable.
            let runnable = preempted as u8 != 0 || read!(previous, task_state, u32) == 0;
            if setting!(requests) != 0 {
                requests::goes_off(slot, state, previous, now, by, runnable, known);
            }
            if setting!(off_cpu) != 0 {
                offcpu::switch_out(slot, previous, state, now, by, runnable);
            } else if runnable {
                state.runnable_since = now;
            }
        }
    }

    empty(slot);
    if read!(next, task_pid, u32) == 0 {
        return 0;
    }
    // SAFETY: a tracepoint's argument is trusted.
    let state = unsafe { identify(next) };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    let by = charge(next, state);
    install(slot, next, state, changes);
    let woken = state.runnable_since;
    if setting!(requests) != 0 {
        requests::is_back(slot, state, now, woken, by);
    }
    if woken != 0 {
        count_queued(state, woken, now);
        state.runnable_since = 0;
    }
    if setting!(off_cpu) != 0 {
        offcpu::switch_in(slot, next, state, now, woken, by.ran);
    }
    0
}

/// `task` becomes runnable at `now`.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
unsafe fn became_runnable(task: *const u8, now: u64, new: bool) {
    // SAFETY: the caller's promise. Only a thread that ran before has a state;
    // a new one gets its first when it is woken.
    let state = unsafe { thread(task, true) };
    if !state.is_null() {
        // SAFETY: not null, so a storage value.
        let state = unsafe { &mut *state };
        state.runnable_since = now;
        // SAFETY: the caller's promise.
        unsafe { requests::hand_over(task, state) };
        if new {
            state.syscall = CLONED;
            inherit(state);
            if setting!(off_cpu) != 0 {
                swap(&raw mut state.off.since, now);
            }
        }
    }
}

/// A thread becomes runnable.
///
/// `sched_wakeup(struct task_struct *p)`
/// (include/trace/events/sched.h). All kernels.
#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { became_runnable(ctx.arg(0), now(), false) };
    0
}

/// A thread that is new becomes runnable for the first time.
///
/// `sched_wakeup_new(struct task_struct *p)`
/// (include/trace/events/sched.h). All kernels.
#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { became_runnable(ctx.arg(0), now(), true) };
    0
}
