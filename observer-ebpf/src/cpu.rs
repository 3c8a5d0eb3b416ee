//! CPU samples: at every tick of a CPU's clock, who runs and with which stack.
//!
//! Runs in the timer's interrupt, so nothing here may write what the
//! interrupted program may be writing: the slot is only read.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use observer_common::cpu::{SampleKey, kind};
use observer_common::requests::request;
use observer_common::slot::NO_SYSCALL;
use observer_common::workload::{KERNEL_THREAD, TRACED, Workload};

use crate::identity::look_up;
use crate::kernel::current;
use crate::scratch::{Context, scratch_of};
use crate::slot::{changes, slot};
use crate::stack::{capture, count};
use crate::thread::thread;

/// Workload and flags of the current thread, and the request that it serves.
#[inline(always)]
fn who(task: *const u8) -> (Workload, u64) {
    if let Some(slot) = slot()
        && slot.task == task as u64
    {
        let mut workload = Workload {
            id: slot.workload,
            flags: slot.flags,
        };
        // Who computes all the time may stay in the slot for long.
        if slot.changes != changes() {
            // SAFETY: the current task is trusted; what isn't null is a storage value.
            if let Some(state) = unsafe { thread(task, false).as_ref() } {
                workload = Workload {
                    id: state.workload,
                    flags: state.flags,
                };
            }
        }
        return (workload, request::followed(slot.request));
    }
    (look_up(task), 0)
}

#[perf_event]
pub fn cpu_sample(ctx: PerfEventContext) -> u32 {
    // SAFETY: has no preconditions.
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    if tid == 0 {
        return 0; // idle
    }
    let task = current();
    let (workload, request) = who(task);
    if workload.flags & TRACED == 0 {
        return 0;
    }
    let Some(scratch) = scratch_of(Context::Interrupt as u32) else {
        return 0;
    };
    // SAFETY: this CPU's map value; its timer interrupt doesn't nest.
    let scratch = unsafe { &mut *scratch };
    let kernel_thread = workload.flags & KERNEL_THREAD != 0;
    // SAFETY: this program's context, and the current task.
    let kernel = unsafe {
        capture(
            ctx.as_ptr(),
            Context::Interrupt,
            scratch,
            task,
            kernel_thread,
        )
    };
    let walked = scratch.walked;
    let key = SampleKey {
        hash: scratch.header.key.hash,
        check: scratch.header.key.check,
        tgid: (pid_tgid >> 32) as u32,
        tid,
        workload: workload.id,
        kernel_frames: kernel as u16,
        user_frames: walked.user as u8,
        python_frames: walked.python as u8,
        kind: kind::ON_CPU,
        state: 0,
        outcome: walked.outcome as u8,
        in_request: 0,
        syscall: NO_SYSCALL,
        request,
    };
    count(scratch, task, &key, 1);
    0
}
