//! A thread gets its CPU back.

use observer_common::offcpu::{ITERATOR, OWN, SETTLE, split};
use observer_common::slot::{NO_SYSCALL, Slot, ThreadState};

use super::record::{KNOWN, TELL, offcpu_count, put_stack, put_thread, syscall_of};
use super::settle::{keep_pending, offcpu_settle};
use super::{threshold, wanted};
use crate::atomic::swap;
use crate::scratch::{Context, scratch_of};
use crate::stack::{counts_off_cpu, name};

/// `next` gets the CPU. `woken` is when it was woken, `ran` what it used of a
/// CPU since the last switch that was seen.
#[inline(always)]
pub fn switch_in(
    slot: &mut Slot,
    next: *const u8,
    state: &mut ThreadState,
    now: u64,
    woken: u64,
    ran: u64,
) {
    if slot.pending & SETTLE != 0 {
        // Of a thread whose switches went unseen.
        offcpu_settle();
    }
    slot.pending = 0;
    let mut since = swap(&raw mut state.off.since, 0);
    let on_since = state.off.on_since;
    state.off.on_since = now;
    if !wanted(state.flags) || !counts_off_cpu() {
        return;
    }
    if since == 0 {
        if on_since == 0 {
            return;
        }
        // Nobody saw how it lost its CPU; but what it used of it is known.
        since = on_since.wrapping_add(ran);
        state.off.state = 0;
    }
    let total = now.saturating_sub(since);
    let (blocked, queued) = split(since, woken, now);
    let Some(scratch) = scratch_of(Context::Thread as u32) else {
        return;
    };
    // SAFETY: this CPU's map value; tracepoints' programs don't nest.
    let scratch = unsafe { &mut *scratch };
    let continued = state.off.kept[ITERATOR].since == since;
    // The rest of something that was counted already is never too short.
    if total == 0 || (total < threshold() && !continued) {
        return;
    }
    let syscall = syscall_of(next, slot.syscall);
    put_thread(scratch, next, state, syscall);
    if continued || state.off.kept[OWN].since == since {
        let which = if continued { ITERATOR } else { OWN };
        put_stack(scratch, &state.off.kept[which]);
        offcpu_count(blocked, queued, KNOWN);
        return;
    }
    name(scratch, next);
    if syscall == NO_SYSCALL {
        offcpu_count(blocked, queued, TELL);
        return;
    }
    // SAFETY: a tracepoint's argument is trusted.
    unsafe { keep_pending(slot, scratch, next, state, (blocked, queued)) };
}
