//! What is counted: the record of a time off CPU, in a scratch, with the key
//! under which it counts.

use aya_ebpf::helpers::generated::bpf_get_task_stack;
use observer_common::cpu::{IN_IOWAIT, MAX_FRAMES, SampleKey, kind};
use observer_common::offcpu::{Kept, state as task_state};
use observer_common::offsets::MISSING;
use observer_common::requests::request;
use observer_common::slot::{CLONED, NO_SYSCALL, ThreadState};
use observer_common::syscalls::label;
use observer_common::unwind::Outcome;

use super::links::linked;
use crate::kernel::{in_iowait, offset, read, registers};
use crate::scratch::{Context, Scratch, iterator_scratch, scratch_of};
use crate::stack::{count_record, tell_of_code};

/// Bytes of a kernel stack at most.
const KERNEL_BYTES: u32 = (MAX_FRAMES * 8) as u32;

/// The thread's state as keys have it.
#[inline(always)]
pub fn state_of(task: *const u8) -> u32 {
    let mut state = read!(task, task_state, u32) & task_state::MASK;
    if in_iowait(task) {
        state |= u32::from(IN_IOWAIT);
    }
    state
}

/// Puts into the record what a key says of a thread, without its stack.
#[inline(always)]
pub fn put_thread(scratch: &mut Scratch, task: *const u8, state: &ThreadState, syscall: u32) {
    scratch.header.key = SampleKey {
        hash: 0,
        check: 0,
        tgid: read!(task, task_tgid, u32),
        tid: read!(task, task_pid, u32),
        workload: state.workload,
        kernel_frames: 0,
        user_frames: 0,
        python_frames: 0,
        kind: kind::OFF_CPU,
        state: state.off.state as u8,
        outcome: Outcome::NotWalked as u8,
        in_request: (state.request != 0) as u8,
        syscall: if syscall < CLONED {
            syscall
        } else {
            NO_SYSCALL
        },
        request: linked(request::followed(state.request)),
    };
}

/// The syscall that a thread in the kernel is in, or [`NO_SYSCALL`], from the
/// registers with which it came there. `known` is what the tracepoints say,
/// but some kernels don't report every switch.
#[inline(always)]
pub fn syscall_of(task: *const u8, known: u32) -> u32 {
    if known < CLONED || offset!(pt_regs_syscall) == MISSING {
        return known;
    }
    // SAFETY: callers have a task that the verifier trusts.
    let regs = unsafe { registers(task) };
    if regs.is_null() {
        return known;
    }
    // On x86_64 a long, elsewhere an int: small numbers and -1 are the same.
    let number = read!(regs, pt_regs_syscall, i32);
    if number < 0 {
        known
    } else {
        label(number as u64, false)
    }
}

/// The same for time in which it waited for a CPU: of any state, and whatever
/// syscall it is in.
#[inline(always)]
pub fn as_queued(key: &mut SampleKey) {
    key.kind = kind::RUN_QUEUE;
    key.state = 0;
    key.in_request = 0;
    key.syscall = NO_SYSCALL;
}

/// Puts a stack of which the daemon was told into the record.
#[inline(always)]
pub fn put_stack(scratch: &mut Scratch, stack: &Kept) {
    let key = &mut scratch.header.key;
    key.hash = stack.hash;
    key.check = stack.check;
    key.kernel_frames = stack.kernel_frames;
    key.user_frames = stack.user_frames;
    key.python_frames = stack.python_frames;
    key.outcome = stack.outcome as u8;
}

/// Walks the kernel stack of a thread that doesn't run, or of the current one,
/// to the beginning of the scratch.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn walk_kernel(scratch: &mut Scratch, task: *const u8) -> u32 {
    // SAFETY: the caller's promise; the scratch has room for two halves.
    let bytes = unsafe {
        let to = scratch.frames.as_mut_ptr();
        bpf_get_task_stack(task.cast_mut().cast(), to.cast(), KERNEL_BYTES, 0)
    };
    if bytes <= 0 {
        0
    } else {
        (bytes as u32 / 8) & MAX_FRAMES as u32
    }
}

/// Puts the stack whose frames lie in the scratch, hashed already, into the
/// record.
#[inline(always)]
pub fn put_frames(scratch: &mut Scratch, kernel: u32) {
    let walked = &scratch.walked;
    let key = &mut scratch.header.key;
    key.kernel_frames = kernel as u16;
    key.user_frames = walked.user as u8;
    key.python_frames = walked.python as u8;
    key.outcome = walked.outcome as u8;
}

/// Keeps the record's stack for later. Field by field, as a copy on the stack has no room.
#[inline(always)]
pub fn keep(kept: &mut Kept, scratch: &Scratch, since: u64, walks: u16) {
    let key = &scratch.header.key;
    kept.since = since;
    kept.hash = key.hash;
    kept.check = key.check;
    kept.kernel_frames = key.kernel_frames;
    kept.user_frames = key.user_frames;
    kept.python_frames = key.python_frames;
    kept.outcome = key.outcome.into();
    kept.walks = walks;
}

/// [`offcpu_count`]: the daemon knows the stack.
pub const KNOWN: u32 = 0;
/// [`offcpu_count`]: the daemon is told of it; names and frames are there.
pub const TELL: u32 = 1;

/// Counts both parts of a time off CPU of the thread, and with the stack, that
/// the record of [`Context::Thread`] says. If both are 0 the daemon is only
/// told. 0 if something is lost.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn offcpu_count(blocked: u64, queued: u64, tell: u32) -> u32 {
    let Some(scratch) = scratch_of(Context::Thread as u32) else {
        return 0;
    };
    let counted = count_parts(scratch, blocked, queued, tell);
    if tell == TELL {
        // SAFETY: a map value that only this context uses.
        tell_of_code(unsafe { &(*scratch).header.key }, Context::Thread);
    }
    counted
}

/// The same for [`Context::Iterator`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn offcpu_count_copied(blocked: u64, queued: u64, tell: u32) -> u32 {
    match iterator_scratch() {
        Some(scratch) => count_parts(scratch, blocked, queued, tell),
        None => 0,
    }
}

#[inline(always)]
fn count_parts(scratch: *mut Scratch, blocked: u64, queued: u64, tell: u32) -> u32 {
    // SAFETY: a map value that only this context uses.
    let scratch = unsafe { &mut *scratch };
    let mut tell = tell == TELL;
    if blocked != 0 || queued == 0 {
        if !count_record(scratch, blocked, tell) {
            return 0;
        }
        tell = false;
    }
    if queued != 0 {
        as_queued(&mut scratch.header.key);
        if !count_record(scratch, queued, tell) {
            return 0;
        }
    }
    1
}
