//! Every way in which something can be lost, named once.
//!
//! The kernel counts each in a per-CPU array; the name is what users see in
//! metrics, logs and summaries.

use crate::family::{Family, Part};

macro_rules! losses {
    ($($variant:ident = $part:expr, $name:literal, $meaning:literal;)*) => {
        /// A cause of loss; the discriminant indexes the kernel's array.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Loss { $(#[doc = $meaning] $variant,)* }

        impl Loss {
            /// All causes, in the order of their discriminants.
            pub const ALL: &'static [Loss] = &[$(Loss::$variant,)*];

            /// The name, as in the attribute `error.type` of the loss metric.
            pub const fn name(self) -> &'static str {
                match self { $(Loss::$variant => $name,)* }
            }

            /// The part that lost it.
            pub const fn part(self) -> Part {
                match self { $(Loss::$variant => $part,)* }
            }

            /// What exactly was lost.
            pub const fn meaning(self) -> &'static str {
                match self { $(Loss::$variant => $meaning,)* }
            }
        }
    };
}

const BLOCK: Part = Part::Family(Family::Block);
const CPU: Part = Part::Family(Family::Cpu);
const NET: Part = Part::Family(Family::Net);
const REQUESTS: Part = Part::Family(Family::Requests);
const SCHED: Part = Part::Family(Family::Sched);
const SYSCALLS: Part = Part::Family(Family::Syscalls);
const TCP: Part = Part::Family(Family::Tcp);

losses! {
    WorkloadTableFull = Part::Identity, "workload_table_full", "A workload found the table full and is counted as `other`.";
    WorkloadRingFull = Part::Identity, "workload_ring_full", "The announcement of a new workload was dropped; its cgroup and comm are known, its process is not.";
    ProcessRingFull = Part::Identity, "process_ring_full", "The daemon was not told of a new process: it stays what its cgroup and its name say, whatever it runs.";
    SeriesFolded = Part::Tally, "series_folded", "A new series of a workload found the table of cells full and is counted as the workload `other`.";
    HistogramTableFull = Part::Tally, "histogram_table_full", "A duration was not counted: no histogram cell was free.";
    CounterTableFull = Part::Tally, "counter_table_full", "A count was not added: no counter cell was free.";
    ThreadStateFailed = Part::Identity, "thread_state_failed", "The kernel had no memory for a thread's state: a syscall or wait of it is not timed.";
    SwitchUnseen = SCHED, "switch_unseen", "The kernel switched threads without reporting it; CPU time and counts are caught up with later, a syscall under way may not be timed.";
    SampleTableFull = CPU, "sample_table_full", "A CPU sample or a time off CPU was not counted: the table of stacks was full.";
    StackRingFull = CPU, "stack_ring_full", "A CPU sample or a time off CPU was not counted: there was no room to send its stack.";
    ProcessTableFull = CPU, "process_table_full", "More processes than the kernel half can know the mappings of: a stack was walked by frame pointers.";
    UnwindRequestLost = CPU, "unwind_request_lost", "The daemon could not be told at once that a process or an unwinding table is not known; it is told again.";
    BlockRequestUntracked = BLOCK, "block_request_untracked", "A block request found no room in the table, or was older than the daemon: it is counted, but its duration isn't, and it is charged to `other`.";
    BlockEndMissed = BLOCK, "block_end_missed", "The kernel did not run the probe at the end of a block request: it was counted when the request was used again, without its duration.";
    BlockRingFull = BLOCK, "block_ring_full", "A slow block operation was not reported one by one.";
    TcpStateFailed = TCP, "tcp_state_failed", "The kernel had no memory for a socket's state: a connection is not counted.";
    NetStateFailed = NET, "net_state_failed", "The kernel had no memory for whose a socket is: what it drops is counted as the host's.";
    RequestStateFailed = REQUESTS, "request_state_failed", "The kernel had no memory for a connection's state: its requests are not seen.";
    RequestRingFull = REQUESTS, "request_ring_full", "A piece of a connection was dropped: requests in it may be missing, or be reported without their answer.";
    RequestUnread = REQUESTS, "request_unread", "The bytes of a message could not be read from the process: its request is not known.";
    TlsUnknown = REQUESTS, "tls_unknown", "A program's TLS library read or wrote plain text on a connection that isn't known, as it is older than the daemon or had found no room: requests in it are not seen.";
    TlsNoRoom = REQUESTS, "tls_no_room", "A TLS connection or session found its tenant's share of the table taken: its requests are not seen.";
    SpanRateLimited = Part::Spans, "span_rate_limited", "A span was dropped: its workload made more than `--span-rate` a second.";
    SyscallEndMissed = SYSCALLS, "syscall_end_missed", "The kernel did not run the probe at a syscall's end: it was counted when its thread made its next, without duration and whether it failed.";
    TcpRingFull = TCP, "tcp_ring_full", "The record of a connection's end was dropped: it has no span, but is counted.";
}

/// Number of causes.
pub const LOSSES: u32 = Loss::ALL.len() as u32;

/// Events that the kernel didn't show to the first of two programs, and showed to the
/// second: nothing is lost. Counted behind the losses.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeUp {
    /// A syscall's beginning.
    SyscallBegin = LOSSES,
    /// A syscall's end.
    SyscallEnd,
}

/// Number of counters: of losses, and of what was made up for.
pub const LOSS_COUNTERS: u32 = LOSSES + 2;
