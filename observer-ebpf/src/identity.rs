//! From a task to its workload.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{HashMap, Queue, RingBuf};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::config::{FILTER_CGROUP, FILTER_COMM, FILTER_PID, FILTER_V1};
use observer_common::loss::Loss;
use observer_common::offcpu::REAPPEARED;
use observer_common::slot::{CLONED, NO_SYSCALL, Slot, ThreadState};
use observer_common::workload::{
    DEFAULT_WORKLOADS, KERNEL_THREAD, NewWorkload, OTHER, TRACED, Workload, WorkloadKey,
};

use crate::kernel::{current, diagnostic, offset, read, read_at, setting};
use crate::loss::lost;
use crate::offcpu::Task;
use crate::sched::{empty, install, park};
use crate::slot::{forget, slot, thread};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

/// How far up a cgroup filter looks.
const MAX_CGROUP_DEPTH: u32 = 16;

#[btf_map]
static WORKLOADS: HashMap<WorkloadKey, Workload, { DEFAULT_WORKLOADS as usize }> = HashMap::new();
/// Ids that are free; filled by the daemon.
#[btf_map]
static WORKLOAD_IDS: Queue<u32, { DEFAULT_WORKLOADS as usize }> = Queue::new();
#[btf_map]
static WORKLOAD_RING: RingBuf<NewWorkload, { 64 * 1024 }> = RingBuf::new();

/// Process → 1 if its children are meant too.
#[btf_map]
static FILTER_PIDS: HashMap<u32, u32, 16384> = HashMap::new();
#[btf_map]
static FILTER_COMMS: HashMap<[u8; 16], u32, 256> = HashMap::new();
#[btf_map]
static FILTER_CGROUPS: HashMap<u64, u32, 1024> = HashMap::new();

/// The inputs from which a workload is derived.
struct Sight {
    comm: [u64; 2],
    css_set: *const u8,
}

#[inline(always)]
fn sight(task: *const u8) -> Sight {
    let leader = read!(task, task_group_leader, *const u8);
    Sight {
        comm: read!(leader, task_comm, [u64; 2]),
        css_set: read!(task, task_cgroups, *const u8),
    }
}

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
    // One branch, so that the verifier looks at what follows once.
    let changed = known.css_set ^ seen.css_set as u64
        | known.comm[0] ^ seen.comm[0]
        | known.comm[1] ^ seen.comm[1];
    if changed != 0 {
        let workload = derive(task, &seen);
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
        known.css_set = seen.css_set as u64;
        known.workload = workload.id;
        known.flags = workload.flags;
    }
    state
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
    if slot.task != task as u64 && identity_refresh() == 0 {
        return None;
    }
    Some(slot)
}

/// [`here`] for whoever is told the registers with which the thread entered
/// the kernel, as the programs on syscalls are: it needs no helper.
#[inline(always)]
pub fn here_with(registers: *const u8) -> Option<&'static mut Slot> {
    let slot = slot()?;
    if slot.registers != registers as u64 {
        let task = current();
        if slot.task != task as u64 && identity_refresh() == 0 {
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
    // SAFETY: the current task is trusted.
    let state = unsafe { identify(task) };
    if state.is_null() {
        return 0;
    }
    // SAFETY: not null, so a storage value.
    install(slot, task, unsafe { &mut *state });
    if setting!(off_cpu) != 0 {
        slot.pending |= REAPPEARED;
    }
    1
}

/// The workload of `task` without touching its state: for interrupts, where
/// the state may be in the hands of whom they interrupted.
#[inline(always)]
pub fn look_up(task: *const u8) -> Workload {
    derive(task, &sight(task))
}

/// Looks a workload up by its inputs, or makes it known.
#[inline(always)]
fn derive(task: *const u8, seen: &Sight) -> Workload {
    // First what is read through pointers: on each way there, the verifier
    // searches the kernel's types for each of them.
    let cgroup_v2 = read!(seen.css_set, css_set_dfl_cgrp, *const u8);
    let id_v2 = cgroup_id(cgroup_v2);
    let id_v1 = if setting!(cgroup_v1) != 0 {
        let css = read!(seen.css_set, css_set_subsys, *const u8);
        cgroup_id(read!(css, css_cgroup, *const u8))
    } else {
        0
    };
    let tgid = read!(task, task_tgid, u32);
    let kernel_thread = read!(task, task_flags, u32) & PF_KTHREAD != 0;
    let mut flags = if kernel_thread { KERNEL_THREAD } else { 0 };
    if passes_cgroup_filter(cgroup_v2, seen.css_set) {
        flags |= TRACED;
    }
    let known = identity_workload(
        seen.comm[0],
        seen.comm[1],
        id_v1,
        id_v2,
        packed(tgid, flags),
    );
    let mut workload = Workload {
        id: known as u32,
        flags: (known >> 32) as u32,
    };
    if setting!(filters) & FILTER_PID != 0 {
        // SAFETY: copied at once.
        if unsafe { FILTER_PIDS.get(&tgid) }.is_none() {
            workload.flags &= !TRACED;
        }
    }
    workload
}

/// Two numbers in one: what is global to the verifier takes five, and returns
/// one.
#[inline(always)]
fn packed(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The workload of a process with this comm in these cgroups, made known if it
/// isn't yet: its id and its flags, [`packed`]. The last argument is the
/// process's id with the flags that a new workload has, if its comm is wanted.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn identity_workload(
    comm_0: u64,
    comm_1: u64,
    cgroup_v1: u64,
    cgroup_v2: u64,
    process_and_flags: u64,
) -> u64 {
    let (tgid, mut flags) = (process_and_flags as u32, (process_and_flags >> 32) as u32);
    let comm = if flags & KERNEL_THREAD != 0 {
        trimmed([comm_0, comm_1])
    } else {
        [comm_0, comm_1]
    };
    let key = WorkloadKey {
        cgroup_v1,
        cgroup_v2,
        // SAFETY: both are 16 bytes.
        comm: unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(comm) },
    };
    // SAFETY: copied at once.
    if let Some(known) = unsafe { WORKLOADS.get(&key) } {
        return packed(known.id, known.flags);
    }
    if setting!(filters) & FILTER_COMM != 0 {
        // SAFETY: not kept.
        if unsafe { FILTER_COMMS.get(&key.comm) }.is_none() {
            flags &= !TRACED;
        }
    }
    let workload = create(&key, flags, tgid);
    packed(workload.id, workload.flags)
}

#[inline(always)]
fn create(key: &WorkloadKey, flags: u32, tgid: u32) -> Workload {
    let Ok(Some(id)) = WORKLOAD_IDS.pop() else {
        lost(Loss::WorkloadTableFull);
        return Workload { id: OTHER, flags };
    };
    let workload = Workload { id, flags };
    if WORKLOADS
        .insert(key, &workload, BPF_NOEXIST as u64)
        .is_err()
    {
        // Another CPU made it at the same moment (or the table is full).
        let _ = WORKLOAD_IDS.push(&id, 0);
        // SAFETY: copied at once.
        return match unsafe { WORKLOADS.get(key) } {
            Some(known) => *known,
            None => {
                lost(Loss::WorkloadTableFull);
                Workload { id: OTHER, flags }
            }
        };
    }
    if WORKLOAD_RING
        .output(
            &NewWorkload {
                key: *key,
                id,
                tgid,
            },
            0,
        )
        .is_err()
    {
        lost(Loss::WorkloadRingFull);
    }
    workload
}

/// kernfs id of a cgroup.
#[inline(always)]
fn cgroup_id(cgroup: *const u8) -> u64 {
    let node = read!(cgroup, cgroup_kn, *const u8);
    read!(node, kernfs_node_id, u64)
}

/// A kernel thread's comm, cut at its number: `kworker/3:1` → `kworker`.
#[inline(always)]
fn trimmed(comm: [u64; 2]) -> [u64; 2] {
    let low = identity_trim(comm[0]);
    [
        low,
        if low == comm[0] {
            identity_trim(comm[1])
        } else {
            0
        },
    ]
}

/// Half a name, cut at the first byte that belongs to a number.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn identity_trim(half: u64) -> u64 {
    let mut shift = 0;
    while shift < 64 {
        if matches!(
            (half >> shift) as u8,
            b'/' | b':' | b'-' | b'.' | b'0'..=b'9'
        ) {
            return half & ((1 << shift) - 1);
        }
        shift += 8;
    }
    half
}

#[inline(always)]
fn passes_cgroup_filter(cgroup_v2: *const u8, css_set: *const u8) -> bool {
    if setting!(filters) & FILTER_CGROUP == 0 || below_filtered(cgroup_v2, 0) {
        return true;
    }
    if setting!(cgroup_v1) == 0 {
        return false;
    }
    let css = read!(css_set, css_set_subsys, *const u8);
    below_filtered(read!(css, css_cgroup, *const u8), FILTER_V1)
}

/// Is this cgroup, or one above it, wanted? `hierarchy` is 0 or [`FILTER_V1`].
#[inline(always)]
fn below_filtered(cgroup: *const u8, hierarchy: u64) -> bool {
    let mut cgroup = cgroup;
    for _ in 0..MAX_CGROUP_DEPTH {
        // SAFETY: not kept.
        if unsafe { FILTER_CGROUPS.get(&(cgroup_id(cgroup) | hierarchy)) }.is_some() {
            return true;
        }
        // A cgroup's own css comes with the offset of `self` in it.
        let up = offset!(cgroup_self) + offset!(css_parent);
        // SAFETY: the verifier checks the access.
        let parent: *const u8 = unsafe { read_at(cgroup, up) };
        if parent.is_null() {
            return false;
        }
        cgroup = read!(parent, css_cgroup, *const u8);
        if cgroup.is_null() {
            return false;
        }
    }
    false
}

/// A thread is renamed, also by exec: if it is the one running here, its
/// workload is looked up again at its next event. Others are looked up when
/// they get a CPU.
#[btf_tracepoint(function = "task_rename")]
pub fn identity_rename(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = slot() else { return 0 };
    let task: *const u8 = ctx.arg(0);
    if slot.task == task as u64 {
        // SAFETY: a tracepoint's argument is trusted.
        let state = unsafe { thread(task, false) };
        if !state.is_null() {
            // SAFETY: not null, so a storage value.
            park(slot, unsafe { &mut *state });
        }
        diagnostic!(&ctx, "thread {} is renamed", slot.tid);
        empty(slot);
    }
    0
}

/// A process with a followed parent is followed too (`record -- CMD`).
#[btf_tracepoint(function = "sched_process_fork")]
pub fn identity_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: *const u8 = ctx.arg(0);
    let child: *const u8 = ctx.arg(1);
    let (parent, child) = (read!(parent, task_tgid, u32), read!(child, task_tgid, u32));
    if parent != child {
        // SAFETY: copied at once.
        if let Some(&inherit) = unsafe { FILTER_PIDS.get(&parent) }
            && inherit != 0
        {
            let _ = FILTER_PIDS.insert(&child, &inherit, 0);
        }
    }
    0
}

/// A followed process is forgotten when its leader ends: its id may be reused.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn identity_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let tgid = read!(task, task_tgid, u32);
    if read!(task, task_pid, u32) == tgid {
        let _ = FILTER_PIDS.remove(&tgid);
    }
    0
}

/// Makes the state of every thread, before its first switch: there the kernel
/// has little memory at hand, and each switch would ask for two. Whoever asks
/// for it gets a new one each time: a CPU's first piece of that memory is its
/// only one, and the kernel gets more when it is taken
/// (`bpf_mem_alloc`, kernel/bpf/memalloc.c).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub extern "C" fn identity_threads(ctx: *const Task) -> i32 {
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
