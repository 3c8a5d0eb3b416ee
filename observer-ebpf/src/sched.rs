//! Scheduling: who gets the CPUs, how long runnable threads wait for one, and
//! the hand-over of the slot from one thread to the next.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::slot::{CLONED, NO_SYSCALL, Slot, ThreadState};
use observer_common::tally::Kind;
use observer_common::workload::TRACED;

use crate::identity::identify;
use crate::kernel::{now, read, setting};
use crate::loss::lost;
use crate::offcpu;
use crate::requests;
use crate::slot::{slot, thread};
use crate::tally::{self, swap};

/// Label of [`Kind::ContextSwitches`]: the thread went to wait.
const VOLUNTARY: u64 = 0;
/// The thread could have gone on.
const INVOLUNTARY: u64 = 1;

/// By what the kernel's accounts of a thread grew.
#[derive(Clone, Copy)]
pub struct Grown {
    /// Its CPU time in nanoseconds.
    pub ran: u64,
    /// How often it went to wait.
    pub waits: u64,
    /// How often it lost its CPU.
    pub losses: u64,
}

/// Charges a thread's workload for what the kernel's own accounts of the
/// thread grew by since the last time. Exact even where a switch went unseen.
/// Returns by what.
#[inline(always)]
pub fn charge(task: *const u8, state: &mut ThreadState) -> Grown {
    let cpu_time = read!(task, task_cpu_time, u64);
    let voluntary = read!(task, task_voluntary, u64);
    let involuntary = read!(task, task_involuntary, u64);
    let grown = |now: u64, before: u64| now.wrapping_sub(before);
    let by = Grown {
        ran: grown(cpu_time, state.cpu_time),
        waits: grown(voluntary, state.voluntary),
        losses: grown(involuntary, state.involuntary),
    };
    if setting!(sched_tallies) != 0 && state.flags & TRACED != 0 {
        if by.ran != 0 {
            tally::count_local(Kind::CpuTime, state.workload, 0, by.ran);
        }
        if by.waits != 0 {
            tally::count_local(Kind::ContextSwitches, state.workload, VOLUNTARY, by.waits);
        }
        if by.losses != 0 {
            tally::count_local(
                Kind::ContextSwitches,
                state.workload,
                INVOLUNTARY,
                by.losses,
            );
        }
    }
    state.cpu_time = cpu_time;
    state.voluntary = voluntary;
    state.involuntary = involuntary;
    by
}

/// From now on nobody is known to run here.
#[inline(always)]
pub fn empty(slot: &mut Slot) {
    slot.task = 0;
    slot.registers = 0;
}

#[inline(always)]
pub fn park(slot: &Slot, state: &mut ThreadState) {
    state.syscall = slot.syscall;
    state.syscall_start = slot.syscall_start;
    state.syscall_workload = slot.syscall_workload;
    state.request = slot.request;
    state.calls = slot.calls;
    state.registers = slot.registers;
}

/// Fills the slot with a thread.
#[inline(always)]
pub fn install(slot: &mut Slot, task: *const u8, state: &mut ThreadState) {
    slot.tid = read!(task, task_pid, u32);
    slot.tgid = read!(task, task_tgid, u32);
    slot.workload = state.workload;
    slot.flags = state.flags;
    slot.syscall = state.syscall;
    slot.syscall_start = state.syscall_start;
    slot.syscall_workload = state.syscall_workload;
    slot.request = state.request;
    slot.calls = state.calls;
    slot.registers = state.registers;
    // If the next switch goes unseen, no old syscall may come back.
    state.syscall = NO_SYSCALL;
    // Last, for the sampler, whose interrupt may come in between.
    // SAFETY: the slot is a map value.
    unsafe { core::ptr::write_volatile(&raw mut slot.task, task as u64) };
}

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = slot() else { return 0 };
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
    install(slot, next, state);
    let woken = state.runnable_since;
    if setting!(requests) != 0 {
        requests::is_back(slot, state, now, woken, by);
    }
    if woken != 0 {
        if setting!(sched_tallies) != 0 && state.flags & TRACED != 0 {
            let waited = now.saturating_sub(woken);
            tally::record_local(Kind::RunQueue, state.workload, 0, waited);
        }
        state.runnable_since = 0;
    }
    if setting!(off_cpu) != 0 {
        offcpu::switch_in(slot, next, state, now, woken, by.ran);
    }
    0
}

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
            if setting!(off_cpu) != 0 {
                swap(&raw mut state.off.since, now);
            }
        }
    }
}

#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { became_runnable(ctx.arg(0), now(), false) };
    0
}

#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { became_runnable(ctx.arg(0), now(), true) };
    0
}
