//! Scheduling: who gets the CPUs, and how long runnable threads wait for one.

use observer_common::slot::ThreadState;
use observer_common::tally::Kind;
use observer_common::workload::TRACED;

use crate::kernel::{read, setting};
use crate::tally;
use crate::thread::Grown;

/// Label of [`Kind::ContextSwitches`]: the thread went to wait.
const VOLUNTARY: u64 = 0;
/// The thread could have gone on.
const INVOLUNTARY: u64 = 1;

/// Charges a thread's workload for what the kernel's own accounts of the
/// thread grew by since the last time. Exact even where a switch went unseen.
/// Returns by what.
#[inline(always)]
pub fn charge(task: *const u8, state: &mut ThreadState) -> Grown {
    let cpu_time = read!(task, task_cpu_time, u64);
    let voluntary = read!(task, task_voluntary, u64);
    let involuntary = read!(task, task_involuntary, u64);
    let grown = |now: u64, before: u64| now.wrapping_sub(before);
    let by = Grown {
        ran: grown(cpu_time, state.cpu_time),
        waits: grown(voluntary, state.voluntary),
        losses: grown(involuntary, state.involuntary),
    };
    if setting!(sched_tallies) != 0 && state.flags & TRACED != 0 {
        if by.ran != 0 {
            tally::count_local(Kind::CpuTime, state.workload, 0, by.ran);
        }
        if by.waits != 0 {
            tally::count_local(Kind::ContextSwitches, state.workload, VOLUNTARY, by.waits);
        }
        if by.losses != 0 {
            tally::count_local(
                Kind::ContextSwitches,
                state.workload,
                INVOLUNTARY,
                by.losses,
            );
        }
    }
    state.cpu_time = cpu_time;
    state.voluntary = voluntary;
    state.involuntary = involuntary;
    by
}

/// Counts the time from which a thread could have run, to `now`, when it gets a CPU.
#[inline(always)]
pub fn count_queued(state: &ThreadState, woken: u64, now: u64) {
    if setting!(sched_tallies) != 0 && state.flags & TRACED != 0 {
        let waited = now.saturating_sub(woken);
        tally::record_local(Kind::RunQueue, state.workload, 0, waited);
    }
}
