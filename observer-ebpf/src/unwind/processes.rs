//! What is known of processes, and asking for what isn't.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{HashMap, RingBuf};
use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;
use observer_common::cpython::ASK_CODE;
use observer_common::loss::Loss;
use observer_common::unwind::{
    ASK_SHIFT, Outcome, PROCESSES as MAX_PROCESSES, Process, REQUEST_RING_BYTES, Request,
};

use crate::kernel::{now, read};
use crate::loss::lost;

/// From a process to its mappings.
#[btf_map]
static PROCESSES: HashMap<u32, Process, { MAX_PROCESSES as usize }> = HashMap::new();
/// What the daemon is asked for.
#[btf_map]
static UNWIND_REQUESTS: RingBuf<Request, { REQUEST_RING_BYTES as usize }> = RingBuf::new();

/// `FORCE_WAKEUP` of bpf_ringbuf_output.
const FORCE_WAKEUP: u64 = 2;
/// `NO_WAKEUP`: more follows that was asked for already.
const NO_WAKEUP: u64 = 1;

/// What is known of a process; list 0 when nothing is.
#[inline(always)]
pub fn process(tgid: u32) -> Process {
    // SAFETY: copied at once.
    unsafe { PROCESSES.get(&tgid) }.copied().unwrap_or_default()
}

/// Lets the daemon know what is missing; not too often.
#[inline(always)]
pub fn ask(tgid: u32, reason: Outcome, address: u64) {
    let time = (now() >> ASK_SHIFT) as u32;
    if let Some(process) = PROCESSES.get_ptr_mut(&tgid) {
        // SAFETY: a map value; a race costs one request more.
        unsafe {
            if (*process).asked == time {
                return;
            }
            (*process).asked = time;
        }
    } else {
        let process = Process {
            asked: time,
            ..Process::default()
        };
        if PROCESSES
            .insert(&tgid, &process, BPF_NOEXIST as u64)
            .is_err()
        {
            // Unless another CPU has just asked for the same one.
            // SAFETY: only compared with null.
            if unsafe { PROCESSES.get(&tgid) }.is_none() {
                lost(Loss::ProcessTableFull);
            }
            return;
        }
    }
    send(tgid, reason as u32, address, FORCE_WAKEUP);
}

/// Lets the daemon know of code that has no name yet. False if it won't hear of it.
#[inline(always)]
pub fn ask_for_code(tgid: u32, code: u64, wakeup: bool) -> bool {
    let flags = if wakeup { FORCE_WAKEUP } else { NO_WAKEUP };
    send(tgid, ASK_CODE, code, flags)
}

#[inline(always)]
fn send(tgid: u32, reason: u32, address: u64, flags: u64) -> bool {
    let mut request = Request {
        tgid,
        reason,
        address,
    };
    // SAFETY: the ring is a map, the request initialized.
    let failed = unsafe {
        bpf_ringbuf_output(
            (&raw const UNWIND_REQUESTS).cast_mut().cast(),
            (&raw mut request).cast(),
            size_of::<Request>() as u64,
            flags,
        )
    } != 0;
    if failed {
        lost(Loss::UnwindRequestLost);
    }
    !failed
}

/// A child begins with its parent's mappings.
///
/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`
/// (include/trace/events/sched.h). All kernels.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn unwind_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: *const u8 = ctx.arg(0);
    let child: *const u8 = ctx.arg(1);
    let (parent, child) = (read!(parent, task_tgid, u32), read!(child, task_tgid, u32));
    if parent != child {
        // SAFETY: copied at once.
        if let Some(&process) = unsafe { PROCESSES.get(&parent) }
            && process.list != 0
        {
            if PROCESSES.insert(&child, &process, 0).is_err() {
                lost(Loss::ProcessTableFull);
            }
        } else {
            // Of another process that had this id, if there is any.
            let _ = PROCESSES.remove(&child);
        }
    }
    0
}

/// A process that starts another program has other mappings from now on.
///
/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
/// (include/trace/events/sched.h). All kernels.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn unwind_exec(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let _ = PROCESSES.remove(&read!(task, task_tgid, u32));
    0
}

/// A process is forgotten when its leader ends: its id may be reused. (Threads
/// that outlive it ask again.)
///
/// `sched_process_exit(struct task_struct *p)`
/// (include/trace/events/sched.h). All kernels; `bool group_dead` follows where it is newer (6.18 has it).
#[btf_tracepoint(function = "sched_process_exit")]
pub fn unwind_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let tgid = read!(task, task_tgid, u32);
    if read!(task, task_pid, u32) == tgid {
        let _ = PROCESSES.remove(&tgid);
    }
    0
}
