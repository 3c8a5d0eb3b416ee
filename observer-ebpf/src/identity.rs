//! From a task to its workload.

mod filters;
mod program;
mod sweep;
mod workload;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::loss::Loss;
use observer_common::offcpu::REAPPEARED;
use observer_common::slot::{CLONED, EXECED, NO_SYSCALL, Slot, ThreadState};
use observer_common::workload::{LOOK_NS, NO_PROGRAM, OTHER, SAY, TRACED, Workload};

use self::workload::{Sight, derive, sight};
use crate::kernel::{current, diagnostic, in_execve, now, read, setting};
use crate::loss::lost;
use crate::preemption::undisturbed;
use crate::slot::{changes, charge_to, empty, install, park, slot};
use crate::thread::{IteratedTask, current_thread, forget, thread};

/// [`ThreadState::css_set`] of a thread whose workload found no room. No pointer is
/// it, so there is another try each time.
const WITHOUT: u64 = 1;

/// The state of `task` with its workload up to date; null when the kernel has
/// no memory for one (counted).
///
/// # Safety
///
/// `task` must be a task pointer that the verifier trusts.
#[inline(always)]
pub unsafe fn identify(task: *const u8) -> *mut ThreadState {
    // SAFETY: the caller's promise.
    let state = unsafe { thread(task, true) };
    if state.is_null() {
        lost(Loss::ThreadStateFailed);
        return state;
    }
    let seen = sight(task);
    // SAFETY: not null, so a storage value.
    let known = unsafe { &mut *state };
    // (Only compared: the verifier refuses arithmetic with a pointer, as which it knows
    // the css_set.)
    if known.css_set != seen.css_set as u64
        || known.comm[0] != seen.comm[0]
        || known.comm[1] != seen.comm[1]
        || known.program != known.derived
    {
        set_say(task, known, &seen);
        // Through memory: of what is behind it, the verifier forgets what it knows, and
        // looks once at what follows.
        // SAFETY: a storage value.
        let (program, say) = unsafe {
            let program = (&raw const known.program).read_volatile();
            (program, (&raw const known.say).read_volatile())
        };
        let workload = derive(task, &seen, program, say);
        let without = workload.id == OTHER && workload.flags & TRACED != 0;
        if without && known.css_set != WITHOUT {
            lost(Loss::WorkloadTableFull);
        }
        if known.css_set == 0 {
            if known.syscall != CLONED {
                known.syscall = NO_SYSCALL;
            }
            // What is older than the state isn't this state's to charge.
            known.cpu_time = read!(task, task_cpu_time, u64);
            known.voluntary = read!(task, task_voluntary, u64);
            known.involuntary = read!(task, task_involuntary, u64);
        }
        known.comm = seen.comm;
        known.derived = program;
        known.css_set = match without {
            true => WITHOUT,
            false => seen.css_set as u64,
        };
        known.workload = workload.id;
        known.flags = workload.flags;
    }
    state
}

/// Notes whether the daemon doesn't know yet what the process of `task` runs. (Who is
/// there since before the daemon, it sees by itself.)
#[inline(always)]
fn set_say(task: *const u8, known: &mut ThreadState, seen: &Sight) {
    known.say = 0;
    if read!(task, task_pid, u32) != read!(task, task_tgid, u32) {
        return;
    }
    if known.css_set == 0 {
        if known.exec_time != 0 && now().wrapping_sub(known.exec_time) < LOOK_NS {
            known.say = SAY;
        }
        return;
    }
    if known.css_set > WITHOUT && known.css_set != seen.css_set as u64 {
        // What it runs was said of it where it was.
        known.program = NO_PROGRAM;
        known.say = SAY;
    }
    if known.derived == EXECED {
        known.say = SAY;
    }
}

/// A new thread runs what the current one does.
#[inline(always)]
pub fn inherit(state: &mut ThreadState) {
    if let Some((_, parent)) = current_thread() {
        state.program = parent.program;
        state.exec_time = parent.exec_time;
    }
}

/// This CPU's slot, filled with the current thread, if that is traced.
#[inline(always)]
pub fn here() -> Option<&'static mut Slot> {
    anyone_here().filter(|slot| slot.flags & TRACED != 0)
}

/// The same, traced or not. Of use in process context only: an interrupt has
/// the slot of whoever it interrupted, and an idle CPU's is empty.
#[inline(always)]
pub fn anyone_here() -> Option<&'static mut Slot> {
    let slot = slot()?;
    let task = current();
    // Before the first switch of this CPU, after a change of identity, and
    // where a switch went unseen.
    if (slot.task != task as u64 || slot.changes != changes()) && identity_refresh() == 0 {
        return None;
    }
    Some(slot)
}

/// [`here`] for whoever is told the registers with which the thread entered
/// the kernel, as the programs on syscalls are: it needs no helper.
#[inline(always)]
pub fn here_with(registers: *const u8) -> Option<&'static mut Slot> {
    let slot = slot()?;
    if slot.registers ^ registers as u64 | slot.changes ^ changes() != 0 {
        let task = current();
        if (slot.task != task as u64 || slot.changes != changes()) && identity_refresh() == 0 {
            return None;
        }
        slot.registers = registers as u64;
    }
    Some(slot).filter(|slot| slot.flags & TRACED != 0)
}

/// Flags of events that nobody can be charged with: a filter leaves them out.
#[inline(always)]
pub fn nobodys_flags() -> u32 {
    if setting!(filters) == 0 { TRACED } else { 0 }
}

/// Fills this CPU's slot with the current task; 0 if that didn't work.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn identity_refresh() -> u32 {
    let Some(slot) = slot() else { return 0 };
    let task = current();
    if read!(task, task_pid, u32) == 0 {
        return 0;
    }
    let changes = changes();
    // SAFETY: the current task is trusted.
    let state = unsafe { identify(task) };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    let state = unsafe { &mut *state };
    if slot.task == task as u64 {
        // What it is doing stands in the slot.
        charge_to(slot, state, changes);
        return 1;
    }
    install(slot, task, state, changes);
    if setting!(off_cpu) != 0 {
        slot.pending |= REAPPEARED;
    }
    1
}

/// The workload of `task` without touching its state: for interrupts, where
/// the state may be in the hands of whom they interrupted.
#[inline(always)]
pub fn look_up(task: *const u8) -> Workload {
    // SAFETY: the current task is trusted; what isn't null is a storage value.
    let state = unsafe { thread(task, false).as_ref() };
    let program = state.map_or(NO_PROGRAM, |state| state.program);
    derive(task, &sight(task), program, 0)
}

/// A thread is renamed, also by exec: if it is the one running here, its
/// workload is looked up again at its next event. Others are looked up when
/// they get a CPU. Exec makes it another program, of whatever name.
///
/// `task_rename(struct task_struct *task, const char *comm)`
/// (include/trace/events/task.h). All kernels.
#[btf_tracepoint(function = "task_rename")]
pub fn identity_rename(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let Some(slot) = slot() else { return 0 };
        let task: *const u8 = ctx.arg(0);
        let is_here = slot.task == task as u64;
        // SAFETY: a tracepoint's argument is trusted; what isn't null is a storage value.
        if let Some(state) = unsafe { thread(task, false).as_mut() } {
            if is_here {
                park(slot, state);
            }
            if in_execve(task) {
                state.program = NO_PROGRAM;
                state.derived = EXECED;
                state.exec_time = now();
            }
        }
        if is_here {
            diagnostic!(&ctx, "thread {} is renamed", slot.tid);
            empty(slot);
        }
        0
    })
}

/// Makes the state of every thread, before its first switch: there the kernel
/// has little memory at hand, and each switch would ask for two. Whoever asks
/// for it gets a new one each time: a CPU's first piece of that memory is its
/// only one, and the kernel gets more when it is taken
/// (`bpf_mem_alloc`, kernel/bpf/memalloc.c).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn identity_threads(ctx: *const IteratedTask) -> i32 {
    // SAFETY: the kernel's context.
    let task = unsafe { (*ctx).task };
    if !task.is_null() {
        if task == current() {
            // SAFETY: the iterator's task is trusted.
            unsafe { forget(task) };
        }
        // SAFETY: as above.
        unsafe { thread(task, true) };
    }
    0
}
