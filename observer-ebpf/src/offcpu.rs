//! Time off CPU, counted by stack: what threads wait for, and how long.
//!
//! A stack is walked as late and as seldom as possible:
//!
//! - A thread that waits in a syscall is looked at when it gets its CPU back,
//!   if it was away long enough. Its kernel stack is still that of the wait;
//!   its user stack is walked when the thread is itself again, but before it
//!   goes on in its program: at the syscall's end, or when it goes off CPU
//!   once more ([`offcpu_settle`]).
//! - One that waits without a syscall (a page fault), or is preempted, walks on
//!   its way off the CPU ([`offcpu_walk`]); the preempted only if every time
//!   off CPU counts.
//! - One that waits still when an interval ends is walked by the iterator,
//!   once for however long it waits.
//!
//! See `observer_common::offcpu` for who counts which part.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_copy_from_user_task, bpf_get_task_stack};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::cpu::{IN_IOWAIT, MAX_FRAMES, SampleKey, kind};
use observer_common::offcpu::{ITERATOR, Kept, MAX_WALKS, OWN, SETTLE, split, state as task_state};
use observer_common::offsets::MISSING;
use observer_common::slot::{CLONED, NO_SYSCALL, Slot, ThreadState};
use observer_common::syscalls::label;
use observer_common::unwind::Outcome;
use observer_common::workload::{KERNEL_THREAD, TRACED};

use crate::identity::{here_with, identify};
use crate::kernel::{current, in_iowait, now, offset, read, registers, setting};
use crate::knobs::knobs;
use crate::requests;
use crate::sched::Grown;
use crate::slot::{slot, thread};
use crate::stack::{
    Context, Scratch, count_record, counts_off_cpu, iterator_scratch, name, scratch_of, stack_hash,
    stack_hash_copied,
};
use crate::syscalls;
use crate::tally::{compare_and_swap, swap};
use crate::unwind::{STACK_PAGE, STACK_PAGES, stack_copy, user_stack_pointer, walk};

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

/// Bytes of a kernel stack at most.
const KERNEL_BYTES: u32 = (MAX_FRAMES * 8) as u32;

/// Whether the thread's time off CPU is counted. The kernel's own threads wait
/// for work nearly all of the time; they count where somebody asks for them.
#[inline(always)]
fn wanted(flags: u32) -> bool {
    flags & TRACED != 0 && (flags & KERNEL_THREAD == 0 || setting!(filters) != 0)
}

/// The thread's state as keys have it.
#[inline(always)]
fn state_of(task: *const u8) -> u32 {
    let mut state = read!(task, task_state, u32) & task_state::MASK;
    if in_iowait(task) {
        state |= u32::from(IN_IOWAIT);
    }
    state
}

/// Each request is a key of its own in the table of stacks: on a busy host only
/// some waits, spread over time, say for which they were.
#[repr(C)]
struct Links {
    /// Waits that may say it.
    left: u64,
    /// Kernel time up to which `left` was filled.
    filled: u64,
}

#[btf_map]
static LINKS: PerCpuArray<Links, 1> = PerCpuArray::new();

/// Waits that may come at once.
const LINK_BURST: u64 = 256;

/// The request, or 0 if too many were named already.
#[inline(always)]
fn linked(request: u64) -> u64 {
    let period = setting!(link_period);
    if request == 0 || period == 0 {
        return request;
    }
    let Some(links) = LINKS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's map value; a race costs or gains one.
    let links = unsafe { &mut *links };
    let now = now();
    let more = now.saturating_sub(links.filled) / period;
    if more != 0 {
        let left = links.left + more;
        links.left = if left < LINK_BURST { left } else { LINK_BURST };
        links.filled = now;
    }
    if links.left == 0 {
        return 0;
    }
    links.left -= 1;
    request
}

/// Puts into the record what a key says of a thread, without its stack.
#[inline(always)]
fn put_thread(scratch: &mut Scratch, task: *const u8, state: &ThreadState, syscall: u32) {
    scratch.header.key = SampleKey {
        hash: 0,
        check: 0,
        tgid: read!(task, task_tgid, u32),
        tid: read!(task, task_pid, u32),
        workload: state.workload,
        kernel_frames: 0,
        user_frames: 0,
        kind: kind::OFF_CPU,
        state: state.off.state as u8,
        outcome: Outcome::NotWalked as u8,
        padding: 0,
        syscall: if syscall < CLONED {
            syscall
        } else {
            NO_SYSCALL
        },
        request: linked(requests::followed(state.request)),
    };
}

/// The syscall that a thread in the kernel is in, or [`NO_SYSCALL`], from the
/// registers with which it came there. `known` is what the tracepoints say,
/// but some kernels don't report every switch.
#[inline(always)]
fn syscall_of(task: *const u8, known: u32) -> u32 {
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
fn as_queued(key: &mut SampleKey) {
    key.kind = kind::RUN_QUEUE;
    key.state = 0;
    key.syscall = NO_SYSCALL;
}

/// Puts a stack of which the daemon was told into the record.
#[inline(always)]
fn put_stack(scratch: &mut Scratch, stack: &Kept) {
    let key = &mut scratch.header.key;
    key.hash = stack.hash;
    key.check = stack.check;
    key.kernel_frames = stack.kernel_frames;
    key.user_frames = stack.user_frames;
    key.outcome = stack.outcome as u8;
}

/// Walks the kernel stack of a thread that doesn't run, or of the current one,
/// to the beginning of the scratch.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
unsafe fn walk_kernel(scratch: &mut Scratch, task: *const u8) -> u32 {
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
fn put_frames(scratch: &mut Scratch, kernel: u32, user: u32, outcome: Outcome) {
    let key = &mut scratch.header.key;
    key.kernel_frames = kernel as u16;
    key.user_frames = user as u16;
    key.outcome = outcome as u8;
}

/// The record's stack, for later.
#[inline(always)]
fn keep(scratch: &Scratch, since: u64, walks: u16) -> Kept {
    let key = &scratch.header.key;
    Kept {
        since,
        hash: key.hash,
        check: key.check,
        kernel_frames: key.kernel_frames,
        user_frames: key.user_frames,
        outcome: key.outcome.into(),
        walks,
    }
}

/// [`offcpu_count`]: the daemon knows the stack.
const KNOWN: u32 = 0;
/// [`offcpu_count`]: the daemon is told of it; names and frames are there.
const TELL: u32 = 1;

/// Counts both parts of a time off CPU of the thread, and with the stack, that
/// the record of [`Context::Thread`] says. If both are 0 the daemon is only
/// told. 0 if something is lost.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn offcpu_count(blocked: u64, queued: u64, tell: u32) -> u32 {
    match scratch_of(Context::Thread as u32) {
        Some(scratch) => count_parts(scratch, blocked, queued, tell),
        None => 0,
    }
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

/// Shorter times off CPU aren't profiled, in nanoseconds.
#[inline(always)]
fn threshold() -> u64 {
    let (chosen, governed) = (setting!(off_cpu_threshold), knobs().off_cpu_threshold);
    if chosen > governed { chosen } else { governed }
}

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
    let Some(pending) = PENDING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a tracepoint's argument is trusted.
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
    let (user, outcome) = if pending.flags & KERNEL_THREAD != 0 {
        (0, Outcome::NoUser)
    } else if pending.task == task as u64 {
        walk(Context::Thread, scratch, kernel, task)
    } else {
        // A switch went unseen: this is somebody else.
        (0, Outcome::NotWalked)
    };
    put_frames(scratch, kernel, user, outcome);
    stack_hash(Context::Thread as u32, kernel, user);
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
    let (user, outcome) = if state.flags & KERNEL_THREAD != 0 {
        (0, Outcome::NoUser)
    } else {
        walk(Context::Thread, scratch, 0, task)
    };
    put_thread(scratch, task, state, syscall_of(task, slot.syscall));
    put_frames(scratch, 0, user, outcome);
    stack_hash(Context::Thread as u32, 0, user);
    name(scratch, task);
    offcpu_count(blocked, queued, TELL)
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
    let (state, scratch) = unsafe { (&mut *state, &mut *scratch) };
    // SAFETY: the current task is trusted.
    let kernel = unsafe { walk_kernel(scratch, task) };
    let (user, outcome) = if state.flags & KERNEL_THREAD != 0 {
        (0, Outcome::NoUser)
    } else {
        walk(Context::Thread, scratch, kernel, task)
    };
    put_thread(scratch, task, state, NO_SYSCALL);
    put_frames(scratch, kernel, user, outcome);
    stack_hash(Context::Thread as u32, kernel, user);
    if runnable != 0 {
        as_queued(&mut scratch.header.key);
    }
    name(scratch, task);
    state.off.kept[OWN] = keep(scratch, since, 0);
    if counts_off_cpu() && offcpu_count(0, 0, TELL) == 0 {
        // The daemon doesn't know it.
        state.off.kept[OWN].since = 0;
    }
    0
}

/// Where nobody else sees syscalls: in which one a thread is.
#[btf_tracepoint(function = "sys_enter")]
pub fn offcpu_enter(ctx: BtfTracePointContext) -> i32 {
    let registers: *const u8 = ctx.arg(0);
    if let Some(slot) = here_with(registers) {
        syscalls::begins(slot, registers, ctx.arg(1));
    }
    0
}

/// The end of a syscall, where nobody else sees it.
#[btf_tracepoint(function = "sys_exit")]
pub fn offcpu_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(slot) = here_with(ctx.arg(0)) {
        syscall_ends(slot);
        requests::returned(slot, ctx.arg(1));
        slot.syscall = NO_SYSCALL;
    }
    0
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

/// `struct bpf_iter__task` of kernel/bpf/task_iter.c.
#[repr(C)]
pub struct Task {
    meta: *const u8,
    /// The thread; null at the end.
    pub task: *const u8,
}

/// Sees every thread at the end of an interval, and counts what those that are
/// off CPU were so far. Their stacks are copied, as they aren't current.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn offcpu_threads(ctx: *const Task) -> i32 {
    // SAFETY: the kernel's context.
    let task = unsafe { (*ctx).task };
    if task.is_null() {
        return 0;
    }
    // SAFETY: the iterator's task is trusted.
    let state = unsafe { thread(task, true) };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    if state.css_set == 0 {
        // SAFETY: the iterator's task is trusted.
        unsafe { identify(task) };
    }
    if !wanted(state.flags) {
        return 0;
    }
    // SAFETY: a storage value, which others write atomically.
    let since = unsafe { core::ptr::read_volatile(&raw const state.off.since) };
    let now = now();
    if since == 0 {
        if state.off.on_since == 0 && read!(task, task_on_cpu, u32) == 0 {
            take_stock(task, state, now);
        }
        return 0;
    }
    let total = now.saturating_sub(since);
    // One that is on a CPU comes or goes just now: the switch will count it.
    if total == 0 || read!(task, task_on_cpu, u32) != 0 {
        return 0;
    }
    let counts = counts_off_cpu();
    if counts && total < threshold() {
        return 0;
    }
    let Some(scratch) = iterator_scratch() else {
        return 0;
    };
    // SAFETY: only one iterator runs at a time.
    let scratch = unsafe { &mut *scratch };
    let known = if state.off.kept[OWN].since == since {
        OWN
    } else {
        ITERATOR
    };
    let kept = state.off.kept[known];
    let is_known = kept.since == since && !(known == ITERATOR && may_be_better(&kept));
    put_thread(scratch, task, state, syscall_of(task, state.syscall));
    let mut walks = if kept.since == since { kept.walks } else { 0 };
    if is_known {
        put_stack(scratch, &kept);
    } else {
        walks += 1;
        // SAFETY: the iterator's task is trusted.
        let kernel = unsafe { walk_kernel(scratch, task) };
        let (user, outcome) = if state.flags & KERNEL_THREAD != 0 {
            (0, Outcome::NoUser)
        } else {
            // SAFETY: the iterator's task is trusted.
            unsafe { copy_stack(task) };
            walk(Context::Iterator, scratch, kernel, task)
        };
        put_frames(scratch, kernel, user, outcome);
        stack_hash_copied(kernel, user);
        name(scratch, task);
    }
    let (blocked, queued) = split(since, state.runnable_since, now);
    // From here on the rest of the time is the next interval's.
    if compare_and_swap(&raw mut state.off.since, since, now) != since || !counts {
        // Not in vain: the walk asked for what it missed.
        return 0;
    }
    let stack = keep(scratch, now, walks);
    if offcpu_count_copied(blocked, queued, if is_known { KNOWN } else { TELL }) != 0 {
        state.off.kept[ITERATOR] = stack;
    }
    0
}

/// Whether another walk may find what the last one missed.
#[inline(always)]
fn may_be_better(stack: &Kept) -> bool {
    const ASKED: [u16; 3] = [
        Outcome::NoProcess as u16,
        Outcome::NoMapping as u16,
        Outcome::NoTable as u16,
    ];
    stack.walks < MAX_WALKS
        && (stack.outcome == ASKED[0] || stack.outcome == ASKED[1] || stack.outcome == ASKED[2])
}

/// A thread that is off CPU since before the daemon: from now on it counts.
#[inline(always)]
fn take_stock(task: *const u8, state: &mut ThreadState, now: u64) {
    state.off.state = state_of(task);
    if state.off.state & task_state::INTERRUPTIBLE != 0 && state.syscall == NO_SYSCALL {
        // It waits in a syscall, which nobody saw begin.
        state.syscall = CLONED;
    }
    compare_and_swap(&raw mut state.off.since, 0, now);
    if read!(task, task_on_cpu, u32) != 0 {
        // It was faster.
        compare_and_swap(&raw mut state.off.since, now, 0);
    }
}

/// Copies the youngest part of a thread's user stack, as far as it is there.
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
unsafe fn copy_stack(task: *const u8) {
    let Some(copy) = stack_copy() else { return };
    // SAFETY: only one iterator runs at a time.
    let copy = unsafe { &mut *copy };
    copy.start = user_stack_pointer(task) & !(STACK_PAGE as u64 - 1);
    copy.bytes = 0;
    for page in 0..STACK_PAGES {
        let at = page * STACK_PAGE;
        // SAFETY: the caller's promise; the copy has that many pages.
        let failed = unsafe {
            bpf_copy_from_user_task(
                copy.words.as_mut_ptr().cast::<u8>().add(at).cast(),
                STACK_PAGE as u32,
                (copy.start + at as u64) as *const _,
                task.cast_mut().cast(),
                0,
            )
        } != 0;
        if failed {
            break;
        }
        copy.bytes = (at + STACK_PAGE) as u64;
    }
}
