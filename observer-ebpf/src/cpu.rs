//! CPU samples: at every tick of a CPU's clock, who runs and with which stack.
//!
//! Runs in the timer's interrupt, so nothing here may write what the
//! interrupted program may be writing: the slot is only read.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_USER_STACK, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_ringbuf_output, bpf_ringbuf_query};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::{btf_map, perf_event};
use aya_ebpf::programs::PerfEventContext;
use observer_common::cpu::{
    MAX_FRAMES, SAMPLE_ENTRIES, STACK_RING_BYTES, SampleKey, StackHash, StackHeader, kind,
};
use observer_common::loss::Loss;
use observer_common::slot::NO_SYSCALL;
use observer_common::unwind::Outcome;
use observer_common::workload::{TRACED, Workload};

use crate::identity::look_up;
use crate::kernel::{current, read};
use crate::loss::lost;
use crate::slot::slot;
use crate::tally::add;

/// Samples of the even and the odd epochs.
#[btf_map]
static SAMPLES_0: HashMap<SampleKey, u64, { SAMPLE_ENTRIES as usize }> = HashMap::new();
#[btf_map]
static SAMPLES_1: HashMap<SampleKey, u64, { SAMPLE_ENTRIES as usize }> = HashMap::new();
/// Which of them is counted in; flipped by the daemon.
#[btf_map]
static SAMPLE_EPOCH: Array<u32, 1> = Array::new();
#[btf_map]
static STACK_RING: RingBuf<StackHeader, { STACK_RING_BYTES as usize }> = RingBuf::new();

/// A record in the making. Room for more frames than there can be: a power of
/// two, so that the verifier sees that every length fits.
#[repr(C)]
struct Scratch {
    header: StackHeader,
    frames: [u64; 2 * (MAX_FRAMES + 1)],
}

#[btf_map]
static STACK_SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Bytes that one half of a stack may take.
const HALF_BYTES: u32 = (MAX_FRAMES * 8) as u32;

/// Wake the daemon now, whatever it waits for / let it sleep.
const FORCE_WAKEUP: u64 = 2;
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_AVAIL_DATA`: how much waits to be read.
const AVAILABLE_DATA: u64 = 0;

/// Workload and flags of the current thread.
#[inline(always)]
fn who() -> Workload {
    let task = current();
    if let Some(slot) = slot()
        && slot.task == task as u64
    {
        return Workload {
            id: slot.workload,
            flags: slot.flags,
        };
    }
    look_up(task)
}

#[perf_event]
pub fn cpu_sample(ctx: PerfEventContext) -> u32 {
    // SAFETY: has no preconditions.
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    if tid == 0 {
        return 0; // idle
    }
    let workload = who();
    if workload.flags & TRACED == 0 {
        return 0;
    }
    let Some(scratch) = STACK_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's map value; its timer interrupt doesn't nest.
    let scratch = unsafe { &mut *scratch };

    let kernel = walk(&ctx, scratch, 0, 0);
    let user = walk(&ctx, scratch, kernel, BPF_F_USER_STACK as u64);
    let total = (kernel + user) as usize;
    let mut hash = StackHash::new();
    for i in 0..2 * MAX_FRAMES {
        if i >= total {
            break;
        }
        hash = hash.add(scratch.frames[i]);
    }
    let (hash, check) = hash.finish();
    let key = SampleKey {
        hash,
        check,
        tgid: (pid_tgid >> 32) as u32,
        tid,
        workload: workload.id,
        kernel_frames: kernel as u16,
        user_frames: user as u16,
        kind: kind::ON_CPU,
        state: 0,
        outcome: Outcome::Complete as u8,
        padding: 0,
        syscall: NO_SYSCALL,
    };
    let epoch = SAMPLE_EPOCH.get(0).copied().unwrap_or(0) & 1;
    if epoch == 0 {
        count(&SAMPLES_0, scratch, key, epoch);
    } else {
        count(&SAMPLES_1, scratch, key, epoch);
    }
    0
}

/// Walks one half of the stack behind the `before` frames that are already
/// there; returns how many frames it has.
#[inline(always)]
fn walk(ctx: &PerfEventContext, scratch: &mut Scratch, before: u32, flags: u64) -> u32 {
    let at = (before as usize) & MAX_FRAMES;
    // SAFETY: `at` is at most MAX_FRAMES, so HALF_BYTES fit behind it.
    let bytes = unsafe {
        let to = scratch.frames.as_mut_ptr().add(at);
        bpf_get_stack(ctx.as_ptr(), to.cast(), HALF_BYTES, flags)
    };
    // Negative: there is no such half (a kernel thread has no user stack).
    if bytes <= 0 {
        0
    } else {
        (bytes as u32 / 8) & MAX_FRAMES as u32
    }
}

/// Counts one sample. The key names the thread, so no other CPU is at it.
#[inline(always)]
fn count(
    samples: &HashMap<SampleKey, u64, { SAMPLE_ENTRIES as usize }>,
    scratch: &mut Scratch,
    key: SampleKey,
    epoch: u32,
) {
    if let Some(count) = samples.get_ptr_mut(&key) {
        add(count, 1);
        return;
    }
    if samples.insert(&key, &1, BPF_NOEXIST as u64).is_err() {
        lost(Loss::SampleTableFull);
        return;
    }
    if !send(scratch, key, epoch) {
        let _ = samples.remove(&key);
        lost(Loss::StackRingFull);
    }
}

/// Tells the daemon what the key means.
#[inline(always)]
fn send(scratch: &mut Scratch, key: SampleKey, epoch: u32) -> bool {
    scratch.header.key = key;
    scratch.header.epoch = epoch;
    scratch.header.padding = 0;
    scratch.header.thread = bpf_get_current_comm().unwrap_or([0; 16]);
    let leader = read!(current(), task_group_leader, *const u8);
    let process = read!(leader, task_comm, [u64; 2]);
    // SAFETY: both are 16 bytes.
    scratch.header.process = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(process) };
    let frames = (u32::from(key.kernel_frames) + u32::from(key.user_frames)) & 0xff;
    let bytes = size_of::<StackHeader>() as u64 + u64::from(frames) * 8;
    let ring = (&raw const STACK_RING).cast_mut().cast();
    // The daemon reads at each interval; it is only woken early when the ring
    // fills up.
    // SAFETY: the ring is a map, and `bytes` of the scratch are initialized
    // map memory.
    unsafe {
        let waiting = bpf_ringbuf_query(ring, AVAILABLE_DATA);
        let flags = if waiting > u64::from(STACK_RING_BYTES / 2) {
            FORCE_WAKEUP
        } else {
            NO_WAKEUP
        };
        bpf_ringbuf_output(ring, (&raw mut *scratch).cast(), bytes, flags) == 0
    }
}
