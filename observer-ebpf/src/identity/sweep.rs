//! Which workloads are in use.

use observer_common::workload::{Held, KERNEL_THREAD, TRACED};

use crate::kernel::read;
use crate::sequence;
use crate::thread::{IteratedTask, thread};

/// Says which workloads have a thread, and had one when its system call began: the
/// others may go.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn identity_sweep(ctx: *const IteratedTask) -> i32 {
    // SAFETY: the kernel's context.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return 0;
    }
    // SAFETY: the iterator's task is trusted; what isn't null is a storage value.
    let Some(state) = (unsafe { thread(task, false).as_ref() }) else {
        return 0;
    };
    if state.css_set != 0 {
        let process = read!(task, task_tgid, u32);
        let is_programs = state.flags & (TRACED | KERNEL_THREAD) == TRACED
            && read!(task, task_pid, u32) == process;
        let held = Held {
            workload: state.workload,
            syscall_workload: state.syscall_workload,
            process: if is_programs { process } else { 0 },
        };
        sequence::write(meta, &held);
    }
    0
}
