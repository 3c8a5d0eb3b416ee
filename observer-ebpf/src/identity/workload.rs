//! The table of workloads: from what is seen of a task to its workload.

mod ids;

use aya_ebpf::bindings::{BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::btf_maps::{HashMap, RingBuf};
use aya_ebpf::macros::btf_map;
use observer_common::loss::Loss;
use observer_common::ring::SharedRing;
use observer_common::workload::{
    DEFAULT_WORKLOADS, Entry, KERNEL, KERNEL_THREAD, NO_PROGRAM, NewWorkload, OTHER, PROCESS,
    ProgramId, SAY, TRACED, Workload, WorkloadId, WorkloadKey, program_words,
};

use observer_common::workload::ids as words;

use super::filters::{cgroup_id, excludes_comm, excludes_process, passes_cgroup_filter};
use crate::kernel::{read, setting};
use crate::loss::lost;
use crate::room::send;
use crate::shares::{set, word};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

#[btf_map]
static WORKLOADS: HashMap<WorkloadKey, Entry, { DEFAULT_WORKLOADS as usize }> = HashMap::new();
#[btf_map]
static WORKLOAD_RING: RingBuf<NewWorkload, { 256 * 1024 }> = RingBuf::new();

/// The inputs from which a workload is derived.
pub struct Sight {
    /// The name of its process, as two words.
    pub comm: [u64; 2],
    /// Its `css_set`: in which cgroups it is.
    pub css_set: *const u8,
}

/// What is seen of `task`.
#[inline(always)]
pub fn sight(task: *const u8) -> Sight {
    let leader = read!(task, task_group_leader, *const u8);
    Sight {
        comm: read!(leader, task_comm, [u64; 2]),
        css_set: read!(task, task_cgroups, *const u8),
    }
}

/// Looks a workload up by its inputs, or makes it known. `program` is what the daemon
/// knows of the process; `say` is [`SAY`] if it is to look at that, else 0.
#[inline(always)]
pub fn derive(task: *const u8, seen: &Sight, program: ProgramId, say: u32) -> Workload {
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
    let cred = read!(task, task_cred, *const u8);
    let kernel_thread = read!(task, task_flags, u32) & PF_KTHREAD != 0;
    let uid = match kernel_thread {
        true => KERNEL,
        false => read!(cred, cred_uid, u32),
    };
    let flags = if kernel_thread { KERNEL_THREAD } else { say };
    // SAFETY: both are 16 bytes.
    let comm = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(seen.comm) };
    // Who is left out takes no place in the table. (Kernel threads are wanted by a part of
    // their names.)
    if !passes_cgroup_filter(cgroup_v2, seen.css_set)
        || excludes_process(tgid)
        || !kernel_thread && excludes_comm(&comm)
    {
        return Workload {
            id: OTHER,
            flags: flags & KERNEL_THREAD,
        };
    }
    let flags = flags | TRACED;
    let words = match program {
        NO_PROGRAM => seen.comm,
        program => program_words(program),
    };
    let known = identity_workload(
        words[0],
        words[1],
        id_v1,
        id_v2,
        packed(tgid | flags << FLAGS_SHIFT, uid),
    );
    Workload {
        id: WorkloadId(known as u32),
        flags: (known >> 32) as u32,
    }
}

/// Process ids end below it (`PID_MAX_LIMIT`, include/linux/threads.h).
const FLAGS_SHIFT: u32 = 24;

/// Two numbers in one: what is global to the verifier takes five, and returns
/// one.
#[inline(always)]
fn packed(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The workload of a process with this comm, or program, in these cgroups, made known
/// if it isn't yet: its id and its flags, [`packed`]. The last argument is the
/// process's id with the flags that a new workload has, if its comm is wanted, and
/// its user.
///
/// Global to the verifier, which therefore checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn identity_workload(
    comm_0: u64,
    comm_1: u64,
    cgroup_v1: u64,
    cgroup_v2: u64,
    process_and_user: u64,
) -> u64 {
    let (process, uid) = (process_and_user as u32, (process_and_user >> 32) as u32);
    let mut flags = process >> FLAGS_SHIFT;
    let tgid = process & ((1 << FLAGS_SHIFT) - 1);
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
    let say = flags & SAY != 0;
    flags &= !SAY;
    if let Some(known) = known(&key) {
        if say && known.flags & TRACED != 0 {
            announce(&key, known.id, tgid, uid, PROCESS);
        }
        return packed(known.id.0, known.flags);
    }
    if comm[1] != program_words(NO_PROGRAM)[1] && excludes_comm(&key.comm) {
        flags &= !TRACED;
    }
    let workload = create(&key, flags, tgid, uid);
    packed(workload.id.0, workload.flags)
}

/// What the table says of a key.
#[inline(always)]
fn known(key: &WorkloadKey) -> Option<Workload> {
    // SAFETY: copied at once, and then checked whether it was the key's.
    let entry = unsafe { WORKLOADS.get(key) }?;
    let workload = entry.workload;
    // SAFETY: a map value; read after the rest.
    let mark = unsafe { (&raw const entry.mark).read_volatile() };
    (mark == key.mark()).then_some(workload)
}

#[inline(always)]
fn create(key: &WorkloadKey, flags: u32, tgid: u32, uid: u32) -> Workload {
    let (id, tenant) = ids::take(uid, key.cgroup_v1, key.cgroup_v2);
    let mut workload = Workload {
        id: id.unwrap_or(OTHER),
        flags,
    };
    if id.is_some() {
        let entry = Entry {
            mark: key.mark(),
            workload,
            tenant,
            padding: 0,
        };
        if WORKLOADS.insert(key, &entry, BPF_NOEXIST as u64).is_err() {
            // Another CPU made it at the same moment (or the table is full).
            ids::give_back(tenant);
            if let Some(known) = known(key) {
                return known;
            }
            workload.id = OTHER;
        }
    } else if !ids::is_refusal_due() {
        return workload;
    }
    announce(key, workload.id, tgid, uid, tenant);
    workload
}

/// Tells the daemon of a workload, at once; or, with [`PROCESS`], of a process of a known
/// one, which has time: of the first since it looked.
#[inline(always)]
fn announce(key: &WorkloadKey, id: WorkloadId, tgid: u32, uid: u32, tenant: u32) {
    let is_process = tenant == PROCESS;
    let announced = NewWorkload {
        key: *key,
        id,
        tgid,
        tenant,
        uid,
    };
    // What it wasn't told of keeps the kernel from waking it by itself.
    let flags = match is_process && word(words::SAID) != 0 {
        true => BPF_RB_NO_WAKEUP,
        false => BPF_RB_FORCE_WAKEUP,
    };
    if is_process {
        set(words::SAID, 1);
    }
    let ring = (&raw const WORKLOAD_RING).cast_mut().cast();
    let bytes = size_of::<NewWorkload>() as u64;
    // SAFETY: the map, and a whole record.
    let sent = unsafe {
        let record = (&raw const announced).cast();
        send(SharedRing::Workloads, ring, id, record, bytes, |_| {
            flags.into()
        })
    };
    if !sent {
        lost(match is_process {
            true => Loss::ProcessRingFull,
            false => Loss::WorkloadRingFull,
        });
    }
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
