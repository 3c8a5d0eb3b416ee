//! Which request a thread serves: what it received last, what it was woken
//! for, or what the answer that it received was for.

use observer_common::offsets::MISSING;
use observer_common::requests::{
    Connection, SENDS, Serving, Wait, context, direction, request, role,
};
use observer_common::slot::{Slot, ThreadState};

use super::clock::wait_of;
use super::socket::Trusted;
use super::{connection, record};
use crate::kernel::{current, now, offset, read, registers, setting, syscall_class};
use crate::slot::slot;
use crate::thread::{current_thread, is_compat};
use crate::unwind::process;

/// Notes what a piece says of that; returns the request and how it is known.
#[inline(always)]
pub fn note(
    connection: &mut Connection,
    slot: &mut Slot,
    state: &mut ThreadState,
    way: u8,
    turn: bool,
    now: u64,
) -> (u64, u8) {
    let (number, how) = notes(connection, slot, state, way, turn, now);
    if number == request::UNFOLLOWED {
        // What it calls for that is followed for its own sake.
        return (request::NONE, context::NONE);
    }
    (number, how)
}

#[inline(always)]
fn notes(
    connection: &mut Connection,
    slot: &mut Slot,
    state: &mut ThreadState,
    way: u8,
    turn: bool,
    now: u64,
) -> (u64, u8) {
    let serving = &mut state.serving;
    let how = if connection.role == role::SERVER {
        if way == direction::RECEIVED {
            serving.answered = 0;
            let new = turn || connection.request == 0;
            if new {
                connection.request = record::number();
            }
            match takes_event(slot, serving) {
                0 if new => context::RECEIVED,
                0 => own(connection, slot, serving),
                how => how,
            }
        } else {
            serving.answered = 1;
            own(connection, slot, serving)
        }
    } else if way == direction::SENT {
        serving.calling = connection.id;
        if connection.connected != 0 {
            let how = core::mem::take(&mut connection.connected);
            if slot.request != connection.request {
                slot.request = connection.request;
                serving.context = context::CONNECTED;
            }
            return (slot.request, how);
        }
        connection.request = slot.request;
        if slot.request == 0 {
            context::NONE
        } else {
            if now >= serving.timers {
                not_alone(serving);
            }
            serving.context
        }
    } else {
        serving.calling = 0;
        takes_event(slot, serving);
        if serving.context == context::HANDED_OVER && connection.request == slot.request {
            // It has nothing else to do.
            return (slot.request, context::HANDED_OVER);
        }
        // From here on the thread may go on with whatever it waited for: one
        // read may bring the answers to several calls.
        serving.context = context::CONTINUED;
        if connection.request == 0 {
            return (slot.request, context::CONTINUED);
        }
        serving.answered = 0;
        context::CONTINUED
    };
    slot.request = connection.request;
    if how != context::OWN || serving.context == context::NONE {
        serving.context = how;
    }
    (slot.request, how)
}

/// The thread goes on with a request on its connection: if it is another one, what
/// it does then isn't for what came.
#[inline(always)]
fn own(connection: &Connection, slot: &Slot, serving: &mut Serving) -> u8 {
    if connection.request != slot.request {
        not_alone(serving);
    }
    context::OWN
}

/// What the thread does from here on may be for any request.
#[inline(always)]
fn not_alone(serving: &mut Serving) {
    if serving.context >= context::ALONE {
        serving.context = context::RECEIVED;
    }
}

/// The thread receives something, which may be an event for which it waited: as
/// [`Serving::coming`] says. Without branches, each of which the verifier would go
/// both ways.
#[inline(always)]
fn takes_event(slot: &Slot, serving: &mut Serving) -> u8 {
    serving.received_call = slot.syscall_start;
    serving.passed = core::mem::take(&mut serving.passes);
    const { assert!(context::ALONE & 1 == 0 && context::AMONG & 1 == 1) };
    let coming = serving.coming;
    // There are no more after one, and may be after one of several.
    let more = 0u8.wrapping_sub(coming & 1);
    serving.coming = coming & more;
    serving.brought_by = serving.brings;
    serving.brings &= more;
    coming
}

/// The current thread connects a socket.
#[inline(always)]
pub fn connects(sk: Trusted) {
    let request = match slot() {
        Some(slot) if slot.task == current() as u64 => slot.request,
        _ => 0,
    };
    let how = match current_thread() {
        _ if request == 0 => context::NONE,
        Some((_, state))
            if state.serving.context >= context::ALONE && now() < state.serving.timers =>
        {
            state.serving.context
        }
        _ => context::CONNECTED,
    };
    connection::begin(sk, request, how);
}

/// `-EAGAIN` (include/uapi/asm-generic/errno-base.h): there was nothing.
const NOTHING: i64 = -11;

/// The slot's thread ends a system call, by which it may have waited for events or
/// taken one.
#[inline(always)]
pub fn waited(slot: &Slot, result: i64) {
    if setting!(requests) == 0 {
        return;
    }
    let class = syscall_class(slot.syscall);
    if class & 7 == Wait::EventLoop as u8 {
        let events = if result < 0 { 0 } else { result as u32 };
        requests_waited(events);
    } else if slot.request != 0 && result != NOTHING && class >> 4 != 0 && class & SENDS == 0 {
        // From a file, or what wakes a loop, it needn't be one.
        let sure = class & 7 == Wait::Network as u8 && result > 0;
        requests_took(slot.syscall_start, sure as u32);
    }
}

/// See [`waited`]: another event than those that are seen, such as what wakes a loop
/// (an eventfd), a file, a connection that ends or isn't followed. `sure` is 1 if there
/// was something to be received.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_took(call: u64, sure: u32) -> u32 {
    if let Some((_, state)) = current_thread()
        && state.serving.received_call != call
    {
        let serving = &mut state.serving;
        if serving.context == context::AMONG {
            serving.context = context::RECEIVED;
            if sure != 0 {
                serving.passes = serving.wait;
            }
        }
    }
    0
}

/// Longest wait for events (ms) that is believed: what is more is an address, of
/// epoll_pwait2. Programs begin at 4 MiB, or further up.
const LONGEST: u32 = (4 << 20) - 1;
/// What `epoll_wait` takes for no end.
const ENDLESS: u32 = u32::MAX;
/// Time (ms) by which a loop may wait longer than to its next timer, since it rounds
/// (CPython rounds up twice).
const ROUNDED: u32 = 2;
const MILLISECOND: u64 = 1_000_000;

/// Whether a wait for events is libuv's, by its arguments: `epoll_pwait` with room for
/// 1024, no mask, and the size of one (`uv__io_poll`, src/unix/linux.c).
#[inline(always)]
fn is_libuv(regs: *const u8) -> bool {
    read!(regs, pt_regs_third, u64) as u32 == 1024
        && read!(regs, pt_regs_fifth, u64) == 0
        && read!(regs, pt_regs_sixth, u64) == 8
}

/// See [`waited`]. A loop that is willing to wait has nothing left to do: after one
/// event, what it does is done for that one, until its next timer is due; of several,
/// it goes through one after the other, and then turns to what became of them. By what
/// clock it reckoned that it has read since it came from its last wait, at the
/// earliest then. A look without waiting that finds nothing changes nothing. Of
/// libuv is known that nothing else, timers neither, comes between the events that it
/// found, even if it had something to do.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn requests_waited(events: u32) -> u32 {
    let Some((task, state)) = current_thread() else {
        return 0;
    };
    let serving = &mut state.serving;
    let before = core::mem::replace(&mut serving.back, now());
    // SAFETY: the current task is trusted.
    let regs = unsafe { registers(task) };
    let unknown = offset!(pt_regs_sixth) == MISSING || regs.is_null() || is_compat();
    let wait = if unknown {
        LONGEST + 1
    } else {
        read!(regs, pt_regs_fourth, u64) as u32
    };
    if wait == 0 && events == 0 {
        return 0;
    }
    not_alone(serving);
    let timers = if wait == ENDLESS || (events > 1 && !unknown && is_libuv(regs)) {
        u64::MAX
    } else if wait <= ROUNDED || wait > LONGEST || before == 0 {
        0
    } else {
        before + u64::from(wait - ROUNDED) * MILLISECOND
    };
    serving.timers = timers;
    serving.wait = if serving.wait == u8::MAX {
        1
    } else {
        serving.wait + 1
    };
    serving.coming = match events {
        _ if timers == 0 => 0,
        0 => 0,
        1 => context::ALONE,
        _ => context::AMONG,
    };
    serving.brings = if serving.coming == 0 { 0 } else { serving.wait };
    0
}

/// The current thread wakes `task`: if it serves a request and wakes another
/// thread of its process by a futex, it may hand the request over.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts, `state` its state.
#[inline(always)]
pub unsafe fn hand_over(task: *const u8, state: &mut ThreadState) {
    if setting!(requests) == 0 || state.request != 0 {
        return;
    }
    let Some(slot) = slot() else { return };
    if slot.request == 0
        || slot.task != current() as u64
        || wait_of(slot.syscall) != Wait::Lock as u8
        || slot.tgid != read!(task, task_tgid, u32)
        || slot.task == task as u64
        // Whoever lets go of the interpreter's lock wakes whoever wants it.
        || process(slot.tgid).cpython != 0
    {
        return;
    }
    state.serving.offer = slot.request;
}
