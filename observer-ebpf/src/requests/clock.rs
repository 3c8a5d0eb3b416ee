//! Where a thread's time goes: kept by the switches of its CPU, for threads
//! that were seen on a recognised connection.

use observer_common::offcpu::state as task_state;
use observer_common::offsets::MISSING;
use observer_common::requests::{Component, Connection, Serving, Wait, context, request, role};
use observer_common::slot::{NO_SYSCALL, Slot, ThreadState};

use crate::kernel::{in_iowait, offset, read, syscall_class};
use crate::thread::Grown;

/// What the syscall may wait for, as the number of a [`Wait`].
#[inline(always)]
pub fn wait_of(syscall: u32) -> u8 {
    syscall_class(syscall) & 7
}

#[inline(always)]
fn add(serving: &mut Serving, component: u8, time: u64) {
    match component {
        0 => serving.clock.time[0] += time,
        1 => serving.clock.time[1] += time,
        2 => serving.clock.time[2] += time,
        3 => serving.clock.time[3] += time,
        4 => serving.clock.time[4] += time,
        5 => serving.clock.time[5] += time,
        _ => serving.clock.time[6] += time,
    }
}

/// Adds the time since the last mark, of which the thread `ran` for at most so
/// long since the last switch that was seen; `now` is the next mark.
#[inline(always)]
fn pass(serving: &mut Serving, now: u64, ran: u64) {
    let passed = now.saturating_sub(serving.mark);
    serving.mark = now;
    if serving.component == Serving::ON_CPU {
        add(serving, Component::Cpu as u8, passed);
        return;
    }
    // Nobody saw how it got its CPU; but what it used of it is known.
    let ran = if ran < passed { ran } else { passed };
    add(serving, Component::Cpu as u8, ran);
    add(serving, serving.component, passed - ran);
}

/// Whether the current thread's clock is kept, or is to be from now on: it
/// serves. Whoever only asks needs none.
#[inline(always)]
fn is_kept(connection: &Connection, slot: &Slot, state: &ThreadState) -> bool {
    connection.role == role::SERVER
        || state.serving.mark != 0
        || request::followed(slot.request) != 0
}

/// Brings the clock of the current thread up to `now` if it is kept, or is to be from
/// now on.
#[inline(always)]
pub fn keep(
    connection: &Connection,
    slot: &Slot,
    state: &mut ThreadState,
    task: *const u8,
    now: u64,
) {
    if is_kept(connection, slot, state) {
        bring_up(slot, state, task, now);
    }
}

#[inline(always)]
fn bring_up(slot: &Slot, state: &mut ThreadState, task: *const u8, now: u64) {
    if state.serving.mark != 0 {
        let ran = read!(task, task_cpu_time, u64).wrapping_sub(state.cpu_time);
        pass(&mut state.serving, now, ran);
    }
    let serving = &mut state.serving;
    serving.mark = now;
    serving.component = Serving::ON_CPU;
    serving.clock.syscalls = slot.calls;
    let switches = read!(task, task_voluntary, u64) + read!(task, task_involuntary, u64);
    serving.clock.switches = switches as u32;
    if offset!(task_major_faults) != MISSING {
        serving.clock.major_faults = read!(task, task_major_faults, u64) as u32;
    }
}

/// The current thread is at a socket: if it waited in this very call, that was
/// for the network.
#[inline(always)]
pub fn settle(slot: &Slot, serving: &mut Serving) {
    if serving.unsettled != 0 {
        let component = if serving.unsettled_call == slot.syscall_start {
            Component::Network
        } else {
            Component::Other
        };
        add(serving, component as u8, serving.unsettled);
        serving.unsettled = 0;
    }
}

/// What the thread waits for now, as far as that can be told.
#[inline(always)]
fn component_of(slot: &Slot, serving: &Serving, task: *const u8) -> u8 {
    let wait = wait_of(slot.syscall);
    if read!(task, task_state, u32) & task_state::UNINTERRUPTIBLE != 0 {
        if in_iowait(task) {
            return Component::Disk as u8;
        }
        // A page fault without I/O waits for the memory map; so does a futex.
        return if slot.syscall == NO_SYSCALL || wait == Wait::Lock as u8 {
            Component::Lock as u8
        } else if wait == Wait::Network as u8 {
            Component::Network as u8
        } else {
            Component::Disk as u8
        };
    }
    if wait == Wait::Network as u8 {
        return Component::Network as u8;
    }
    if wait == Wait::Lock as u8 {
        return Component::Lock as u8;
    }
    if wait == Wait::Sleep as u8 {
        return Component::Sleep as u8;
    }
    if wait == Wait::Stream as u8 {
        return Serving::STREAM;
    }
    if (wait == Wait::Poll as u8 || wait == Wait::EventLoop as u8) && serving.calling != 0 {
        return Component::Network as u8;
    }
    Component::Other as u8
}

/// The thread loses its CPU. `slot` is still its own, if `known`.
#[inline(always)]
pub fn goes_off(
    slot: &Slot,
    state: &mut ThreadState,
    task: *const u8,
    now: u64,
    by: Grown,
    runnable: bool,
    known: bool,
) {
    if !runnable {
        leave(slot, state, known);
    }
    let serving = &mut state.serving;
    if serving.mark == 0 {
        return;
    }
    if serving.component == Serving::ON_CPU && by.waits + by.losses > 1 {
        // Nobody saw that it went and came again; but what it used is known.
        serving.component = if by.waits > !runnable as u64 {
            Component::Other as u8
        } else {
            Component::RunQueue as u8
        };
    }
    pass(serving, now, by.ran);
    if serving.unsettled != 0 && (!known || serving.unsettled_call != slot.syscall_start) {
        add(serving, Component::Other as u8, serving.unsettled);
        serving.unsettled = 0;
    }
    serving.component = if runnable {
        Component::RunQueue as u8
    } else if known {
        component_of(slot, serving, task)
    } else {
        Component::Other as u8
    };
}

/// A thread that goes to wait leaves its request, if it has answered it, or if
/// it turns to whatever comes next.
#[inline(always)]
fn leave(slot: &Slot, state: &mut ThreadState, known: bool) {
    state.serving.offer = 0;
    if state.request == 0 || !known {
        return;
    }
    let wait = wait_of(slot.syscall);
    let turns = wait == Wait::EventLoop as u8
        || (wait == Wait::Lock as u8 && state.serving.context == context::HANDED_OVER);
    // Nobody notes of one that isn't followed that it was answered.
    let answered = state.serving.answered != 0 && state.request != request::UNFOLLOWED;
    if answered || turns {
        state.request = 0;
        state.serving.context = context::NONE;
        state.serving.answered = 0;
    }
}

/// The thread gets a CPU. `woken` is when it was woken; 0 = it wasn't. `by` is
/// what the kernel's accounts of it grew by since the last switch that was seen.
#[inline(always)]
pub fn is_back(slot: &mut Slot, state: &mut ThreadState, now: u64, woken: u64, by: Grown) {
    let serving = &mut state.serving;
    if serving.offer != 0 && slot.request == 0 {
        slot.request = serving.offer;
        serving.context = context::HANDED_OVER;
        serving.answered = 0;
    }
    serving.offer = 0;
    if serving.mark == 0 {
        return;
    }
    if serving.component == Serving::ON_CPU {
        // Nobody saw it go.
        serving.component = if by.waits > 0 {
            Component::Other as u8
        } else {
            Component::RunQueue as u8
        };
        pass(serving, now, by.ran);
        serving.component = Serving::ON_CPU;
        return;
    }
    let component = serving.component;
    let passed = now.saturating_sub(serving.mark);
    let mut waited = passed;
    if component != Component::RunQueue as u8 && woken > serving.mark {
        waited = woken - serving.mark;
        add(serving, Component::RunQueue as u8, passed - waited);
    }
    if component == Serving::STREAM {
        if serving.unsettled_call != slot.syscall_start {
            add(serving, Component::Other as u8, serving.unsettled);
            serving.unsettled = 0;
        }
        serving.unsettled += waited;
        serving.unsettled_call = slot.syscall_start;
    } else {
        add(serving, component, waited);
    }
    serving.mark = now;
    serving.component = Serving::ON_CPU;
}
