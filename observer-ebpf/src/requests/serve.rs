//! Which request a thread serves: what it received last, what it was woken
//! for, or what the answer that it received was for.

use observer_common::requests::{Connection, Wait, context, direction, request, role};
use observer_common::slot::{Slot, ThreadState};

use super::clock::wait_of;
use super::socket::Trusted;
use super::{connection, record};
use crate::kernel::{current, read, setting};
use crate::slot::slot;

/// Notes what a piece says of that; returns the request and how it is known.
#[inline(always)]
pub fn note(
    connection: &mut Connection,
    slot: &mut Slot,
    state: &mut ThreadState,
    way: u8,
    turn: bool,
) -> (u64, u8) {
    let (number, how) = notes(connection, slot, state, way, turn);
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
) -> (u64, u8) {
    let serving = &mut state.serving;
    let how = if connection.role == role::SERVER {
        if way == direction::RECEIVED {
            serving.answered = 0;
            if turn || connection.request == 0 {
                connection.request = record::number();
                context::RECEIVED
            } else {
                context::OWN
            }
        } else {
            serving.answered = 1;
            context::OWN
        }
    } else if way == direction::SENT {
        serving.calling = connection.id;
        if connection.connected != 0 {
            connection.connected = 0;
            context::CONNECTED
        } else {
            connection.request = slot.request;
            if slot.request == 0 {
                context::NONE
            } else {
                serving.context
            }
        }
    } else {
        serving.calling = 0;
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

/// The current thread connects a socket.
#[inline(always)]
pub fn connects(sk: Trusted) {
    let request = match slot() {
        Some(slot) if slot.task == current() as u64 => slot.request,
        _ => 0,
    };
    connection::begin(sk, request);
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
    {
        return;
    }
    state.serving.offer = slot.request;
}
