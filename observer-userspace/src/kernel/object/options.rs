//! How the kernel half is loaded: every choice, with its default.
//!
//! The configuration takes its own defaults from here, so that each is written
//! once.

use std::path::PathBuf;
use std::time::Duration;

use observer_common::cpu::SAMPLE_ENTRIES;
use observer_common::requests::{CAPTURE, REQUEST_RING_BYTES};
use observer_common::tally::{COUNTER_CELLS, HISTOGRAM_CELLS};
use observer_common::workload::DEFAULT_WORKLOADS;

/// Shortest block operation that is reported one by one.
pub const SLOW_BLOCK: Duration = Duration::from_millis(50);

/// Which threads are traced. Entries of one kind add up, kinds narrow each
/// other; no entry at all means everything.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// Processes (thread-group ids).
    pub pids: Vec<u32>,
    /// Are later children of `pids` meant too?
    pub with_children: bool,
    /// Names of processes (comm of the thread-group leader, 15 bytes count).
    pub comms: Vec<String>,
    /// kernfs ids of cgroups, those of v1 with [`observer_common::config::FILTER_V1`];
    /// what lies below counts too.
    pub cgroups: Vec<u64>,
}

/// What the kernel half is to do, and with which sizes of tables.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Who is traced.
    pub filters: Filters,
    /// Entries of the workload table.
    pub workloads: u32,
    /// Entries of the table of histograms: one for each series and CPU.
    pub histogram_cells: u32,
    /// Entries of the table of counters: one for each series and CPU.
    pub counter_cells: u32,
    /// The v1 controller whose hierarchy tells workloads apart, by its name in
    /// the kernel's `enum cgroup_subsys_id`, e.g. `memory_cgrp_id`.
    pub v1_subsystem: Option<String>,
    /// Block I/O slower than this many nanoseconds is reported one by one.
    pub slow_block_ns: u64,
    /// Tell of connections' ends one by one.
    pub connection_records: bool,
    /// At most so many of those: per second, and at once, for each workload.
    pub span_limit: Option<SpanLimit>,
    /// Tally scheduling by workload; not needed for profiles.
    pub sched_tallies: bool,
    /// Count time off CPU by stack, from this length on.
    pub off_cpu: Option<Duration>,
    /// Follow requests.
    pub requests: Option<RequestOptions>,
    /// Nanoseconds in which one wait of each CPU may say for which request it
    /// was; 0 = all may.
    pub link_period: u64,
    /// Entries of each of the two tables of CPU samples.
    pub sample_entries: u32,
    /// Bytes of each family's ring buffer of records; `None` for the kernel
    /// half's own sizes.
    pub ring_bytes: Option<u32>,
    /// The kernel half's own log lines.
    pub diagnostics: bool,
    /// A file with the kernel's types, instead of the kernel's own: for tests.
    pub btf: Option<PathBuf>,
}

/// How many spans a workload may have.
#[derive(Clone, Copy, Debug)]
pub struct SpanLimit {
    /// Per second.
    pub rate: u32,
    /// At once.
    pub burst: u32,
}

impl SpanLimit {
    /// Nanoseconds for one span, and how many of these may be taken in advance.
    pub(super) fn nanoseconds(self) -> (u64, u64) {
        // One in three days is none.
        let interval = 1_000_000_000u64.checked_div(u64::from(self.rate));
        let interval = interval.unwrap_or(1 << 48).max(1);
        let advance = interval.saturating_mul(u64::from(self.burst.saturating_sub(1)));
        (interval, advance.min(1 << 62))
    }
}

/// How to follow requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestOptions {
    /// Bytes captured of a message whose head is complete.
    pub capture: u32,
    /// Bit n: protocol n is followed.
    pub protocols: u32,
    /// Size of their ring: a power of two.
    pub ring_bytes: u32,
    /// Find sockets from descriptors even where the kernel tells of them.
    pub by_descriptor: bool,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            capture: CAPTURE,
            protocols: u32::MAX,
            ring_bytes: REQUEST_RING_BYTES,
            by_descriptor: false,
        }
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            filters: Filters::default(),
            workloads: DEFAULT_WORKLOADS,
            histogram_cells: HISTOGRAM_CELLS,
            counter_cells: COUNTER_CELLS,
            v1_subsystem: None,
            slow_block_ns: SLOW_BLOCK.as_nanos() as u64,
            connection_records: true,
            span_limit: None,
            sched_tallies: true,
            off_cpu: None,
            requests: None,
            link_period: 0,
            sample_entries: SAMPLE_ENTRIES,
            ring_bytes: None,
            diagnostics: false,
            btf: None,
        }
    }
}
