//! A time off CPU that is over and waits for its user stack, until the thread is
//! itself again.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use observer_common::cpu::MAX_FRAMES;
use observer_common::offcpu::{SETTLE, split};
use observer_common::slot::{Slot, ThreadState};
use observer_common::unwind::Outcome;
use observer_common::workload::KERNEL_THREAD;

use super::record::{TELL, offcpu_count, put_frames, put_thread, syscall_of, walk_kernel};
use super::{threshold, wanted};
use crate::atomic::swap;
use crate::kernel::{current, now, read, setting};
use crate::scratch::{Context, Scratch, Walked, scratch_of};
use crate::slot::slot;
use crate::stack::{counts_off_cpu, name, stack_hash};
use crate::thread::thread;
use crate::unwind::walk;

/// A time off CPU that is over and waits for its user stack. The rest, with its
/// kernel frames, lies in the scratch of [`Context::Thread`].
#[repr(C)]
struct Pending {
    /// Whose it is.
    task: u64,
    /// Nanoseconds in which it waited for something.
    blocked: u64,
    /// Nanoseconds in which it waited for a CPU.
    queued: u64,
    /// [`KERNEL_THREAD`] and others.
    flags: u32,
}

#[btf_map]
static PENDING: PerCpuArray<Pending, 1> = PerCpuArray::new();

/// Keeps the wait of `next`, which has just got its CPU, until its user stack can
/// be walked; its kernel stack is walked now.
///
/// # Safety
///
/// `next` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn keep_pending(
    slot: &mut Slot,
    scratch: &mut Scratch,
    next: *const u8,
    state: &ThreadState,
    (blocked, queued): (u64, u64),
) {
    let Some(pending) = PENDING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the caller's promise.
    scratch.header.key.kernel_frames = unsafe { walk_kernel(scratch, next) } as u16;
    // SAFETY: this CPU's map value.
    unsafe {
        (*pending).task = next as u64;
        (*pending).blocked = blocked;
        (*pending).queued = queued;
        (*pending).flags = state.flags;
    }
    slot.pending = SETTLE;
}

/// Counts what is pending on this CPU. The current thread has been in the
/// kernel since, so the registers with which it entered it are those of the
/// wait.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn offcpu_settle() -> u32 {
    let Some(scratch) = scratch_of(Context::Thread as u32) else {
        return 0;
    };
    // SAFETY: this CPU's map value; tracepoints' programs don't nest.
    let scratch = unsafe { &mut *scratch };
    let Some(pending) = PENDING.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above.
    let pending = unsafe { &mut *pending };
    let task = current();
    let kernel = u32::from(scratch.header.key.kernel_frames) & MAX_FRAMES as u32;
    if pending.flags & KERNEL_THREAD != 0 {
        scratch.walked = Walked::only(0, Outcome::NoUser);
    } else if pending.task == task as u64 {
        walk(Context::Thread, scratch, kernel, task);
    } else {
        // A switch went unseen: this is somebody else.
        scratch.walked = Walked::only(0, Outcome::NotWalked);
    }
    put_frames(scratch, kernel);
    stack_hash(Context::Thread as u32, kernel);
    offcpu_count(pending.blocked, pending.queued, TELL)
}

/// Counts a wait of the current thread in the syscall that it is about to
/// leave, if nobody saw the wait's end: without kernel frames, which are gone.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn offcpu_reappeared() -> u32 {
    let (Some(slot), Some(scratch)) = (slot(), scratch_of(Context::Thread as u32)) else {
        return 0;
    };
    let task = current();
    // SAFETY: the current task is trusted.
    let state = unsafe { thread(task, false) };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value; and this CPU's map value.
    let (state, scratch) = unsafe { (&mut *state, &mut *scratch) };
    let since = swap(&raw mut state.off.since, 0);
    if since == 0 || !wanted(state.flags) || !counts_off_cpu() {
        return 0;
    }
    let ran = read!(task, task_cpu_time, u64).wrapping_sub(state.cpu_time);
    let until = now().saturating_sub(ran);
    let (blocked, queued) = split(since, state.runnable_since, until);
    state.runnable_since = 0;
    state.off.on_since = until;
    let total = blocked + queued;
    if total == 0 || total < threshold() {
        return 0;
    }
    if state.flags & KERNEL_THREAD != 0 {
        scratch.walked = Walked::only(0, Outcome::NoUser);
    } else {
        walk(Context::Thread, scratch, 0, task);
    }
    put_thread(scratch, task, state, syscall_of(task, slot.syscall));
    put_frames(scratch, 0);
    stack_hash(Context::Thread as u32, 0);
    name(scratch, task);
    offcpu_count(blocked, queued, TELL)
}

/// The current thread is about to leave a syscall.
#[inline(always)]
pub fn syscall_ends(slot: &mut Slot) {
    if setting!(off_cpu) == 0 || slot.pending == 0 {
        return;
    }
    if slot.pending & SETTLE != 0 {
        offcpu_settle();
    } else {
        offcpu_reappeared();
    }
    slot.pending = 0;
}
