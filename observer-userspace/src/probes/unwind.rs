//! Keeps what the kernel half knows of processes up to date, for whoever walks their
//! stacks.

use observer_common::family::{Family, Part};
use observer_common::names::programs;

use crate::kernel::{Attach, ProbeSpec, ProgramSpec};

/// What it needs from the kernel.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Cpu),
    observes: "mappings of processes",
    programs: &[
        ProgramSpec {
            name: programs::UNWIND_FORK,
            attach: Attach::Tracepoint("sched_process_fork"),
            needs: &["task_tgid"],
            lost_without: "the first complete stacks of a new process",
        },
        ProgramSpec {
            name: programs::UNWIND_EXEC,
            attach: Attach::Tracepoint("sched_process_exec"),
            needs: &["task_tgid"],
            lost_without: "the first complete stacks of a new program",
        },
        ProgramSpec {
            name: programs::UNWIND_EXIT,
            attach: Attach::Tracepoint("sched_process_exit"),
            needs: &["task_tgid", "task_pid"],
            lost_without: "room for the mappings of new processes",
        },
    ],
    requires: &[],
    covered_by: None,
    prepare: None,
    seen_by: &[],
};
