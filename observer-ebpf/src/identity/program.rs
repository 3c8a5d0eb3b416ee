//! What processes run, as far as the daemon knows better than their names.

use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::btf_map;
use observer_common::slot::EXECED;
use observer_common::workload::{GIVEN, Given, ids};

use super::identify;
use crate::kernel::read;
use crate::shares::add;
use crate::thread::{IteratedTask, thread};

/// What the daemon knows, by process; only while it says so.
#[btf_map]
static PROGRAMS: HashMap<u32, Given, { GIVEN as usize }> = HashMap::new();

/// Tells threads what their process runs, and charges them accordingly from now on.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn identity_program(ctx: *const IteratedTask) -> i32 {
    // SAFETY: the kernel's context.
    let task = unsafe { (*ctx).task };
    if task.is_null() {
        return 0;
    }
    let tgid = read!(task, task_tgid, u32);
    // SAFETY: copied at once.
    let given = unsafe { PROGRAMS.get(&tgid) };
    let Some(&given) = given else { return 0 };
    let leader = read!(task, task_group_leader, *const u8);
    // SAFETY: the iterator's task is trusted; what isn't null is a storage value.
    let Some(state) = (unsafe { thread(task, true).as_mut() }) else {
        return 0;
    };
    if state.exec_time > given.time {
        // Another program since the daemon looked, maybe of the same name. What is
        // called after that name now may have become the earlier one's: it is looked up
        // again, and the daemon told of it.
        state.derived = EXECED;
    } else if read!(leader, task_comm, [u8; 16]) == given.comm {
        state.program = given.program;
    } else {
        // Has another name by now: the daemon will look again.
        return 0;
    }
    // Of one that was never seen, the workload is looked up when it is.
    if state.css_set != 0 {
        // SAFETY: the iterator's task is trusted.
        unsafe { identify(task) };
    }
    // Looked at last: who gets a CPU after that, knows.
    if read!(task, task_on_cpu, u8) != 0 {
        add(ids::CHANGES, 1);
    }
    0
}
