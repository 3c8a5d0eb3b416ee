//! The metrics of the family.

use observer_signals::{Instrument, MetricDef};

use Instrument::{Counter, Gauge, UpDownCounter};

type Attributes = &'static [(&'static str, &'static str)];

const fn metric(
    name: &'static str,
    unit: &'static str,
    instrument: Instrument,
    attributes: Attributes,
    description: &'static str,
) -> MetricDef {
    MetricDef {
        name,
        unit,
        instrument,
        description,
        attributes,
    }
}

/// The cgroup that a figure is of; the host's have none.
pub(super) const CGROUP: &str = "observer.cgroup.path";
const OF_CGROUP: (&str, &str) = (
    CGROUP,
    "The path of the cgroup that the figure is of; of figures of the host there is none",
);
const DEVICE: (&str, &str) = ("system.device", "The disk, named as in `/proc/diskstats`");
const FAULT: (&str, &str) = (
    "system.paging.fault.type",
    "`major` where a disk was read, else `minor`",
);

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = ($name:literal, $unit:literal, $kind:ident, $attributes:expr, $description:literal);)*) => {
        $(
            $(#[$doc])*
            pub static $id: MetricDef = metric($name, $unit, $kind, $attributes, $description);
        )*
        /// All of them.
        pub(super) static ALL: &[&MetricDef] = &[$(&$id),*];
    };
}

metrics! {
    /// PSI.
    PRESSURE_TIME = ("observer.pressure.time", "s", Counter, &[
        ("observer.pressure.resource", "`cpu`, `memory`, `io`, or `irq`"),
        ("observer.pressure.share", "`some`: at least one thread waited; `full`: all that weren't idle did"),
        OF_CGROUP,
    ], "Time in which threads waited for the resource (the kernel's pressure stall information), of the host and of each workload's cgroup. That of the host is counted since it was booted.");
    /// CPU time of the host.
    CPU_TIME = ("system.cpu.time", "s", Counter, &[
        ("cpu.mode", "`user`, `nice`, `system`, `idle`, `iowait`, `interrupt`, `steal`"),
    ], "Time of all CPUs since the boot, by what they did (`/proc/stat`).");
    /// CPUs.
    CPU_COUNT = ("system.cpu.logical.count", "{cpu}", UpDownCounter, &[], "CPUs that are online.");
    /// Threads that could run.
    RUN_QUEUE_LENGTH = ("observer.cpu.run_queue.length", "{thread}", Gauge, &[], "Threads of the host that run or could run, when it was looked at (`procs_running` of `/proc/stat`, without Observer's own reader).");
    /// Threads in uninterruptible I/O.
    BLOCKED = ("observer.cpu.blocked", "{thread}", Gauge, &[], "Threads of the host that waited for I/O and for nothing else, when it was looked at (`procs_blocked` of `/proc/stat`).");
    /// Memory by what it is used for.
    MEMORY_USAGE = ("system.memory.usage", "By", UpDownCounter, &[
        ("system.memory.state", "`used` (all but what is available), `free`, `buffers`, `cached`"),
    ], "Memory of the host (`/proc/meminfo`).");
    /// All memory.
    MEMORY_LIMIT = ("system.memory.limit", "By", UpDownCounter, &[], "All memory of the host.");
    /// What could be had.
    MEMORY_AVAILABLE = ("system.memory.linux.available", "By", UpDownCounter, &[], "Memory that programs could have without swapping.");
    /// Slab.
    MEMORY_SLAB = ("system.memory.linux.slab.usage", "By", UpDownCounter, &[
        ("system.memory.linux.slab.state", "`reclaimable`, `unreclaimable`"),
    ], "Memory of the kernel's own structures.");
    /// Shared.
    MEMORY_SHARED = ("system.memory.shared", "By", UpDownCounter, &[], "Shared memory, files in memory included.");
    /// Swap.
    SWAP = ("system.paging.usage", "By", UpDownCounter, &[
        ("system.paging.state", "`used`, `free`"),
    ], "Swap space.");
    /// Faults.
    FAULTS = ("system.paging.faults", "{fault}", Counter, &[FAULT], "Page faults of the host since the boot (`/proc/vmstat`).");
    /// Swapping.
    SWAPPED = ("system.paging.operations", "{operation}", Counter, &[
        ("system.paging.direction", "`in`, `out`"),
    ], "Pages that were swapped since the boot.");
    /// Huge pages.
    HUGE_PAGES = ("observer.memory.huge_pages", "By", Gauge, &[
        ("observer.memory.huge_pages.type", "`anonymous`, `shared`, `file`: made by the kernel itself; `reserved`: set aside, `free` of those"),
    ], "Memory in huge pages.");
    /// Stalls.
    MEMORY_STALLS = ("observer.memory.stalls", "{stall}", Counter, &[
        ("observer.memory.stall.type", "`reclaim`: it had to free memory itself; `compaction`: it had to move some"),
    ], "Times that a thread of the host had to make room before it got memory, since the boot. How long that took is in `observer.pressure.time`.");
    /// OOM.
    OOM_KILLS = ("observer.memory.oom_kills", "{process}", Counter, &[], "Processes of the host that the kernel killed for want of memory, since the boot, those of cgroups with them. Of a cgroup that is gone before it was looked at again only this tells.");
    /// Utilization.
    DISK_IO_TIME = ("system.disk.io_time", "s", Counter, &[DEVICE], "Time in which a disk had something to do, since the boot (`io_ticks` of `/proc/diskstats`): its rate is the disk's utilization. A disk that does several things at a time isn't necessarily full at 1.");
    /// Saturation.
    DISK_QUEUE_TIME = ("observer.disk.queue.time", "s", Counter, &[DEVICE], "Time that all operations of a disk took together, since the boot (weighted time of `/proc/diskstats`): its rate is the mean number of operations that wait or are being done.");
    /// File systems.
    FILESYSTEM_USAGE = ("system.filesystem.usage", "By", UpDownCounter, FILESYSTEM, "Space of mounted file systems. Network file systems aren't asked.");
    /// File systems' size.
    FILESYSTEM_LIMIT = ("system.filesystem.limit", "By", UpDownCounter, &[MOUNT_DEVICE, MOUNT_POINT, MOUNT_TYPE], "Size of mounted file systems.");
    /// Limits.
    LIMIT_UTILIZATION = ("observer.limit.utilization", "1", Gauge, LIMIT, "Share of a limit that is used: at 1 there is no more.");
    /// Limits' time.
    LIMIT_TIME_LEFT = ("observer.limit.time_left", "s", Gauge, LIMIT, "When a limit will be reached if it goes on as in the last minute. Only of what grows, and ends within a week.");
    /// Age of readings.
    READING_AGE = ("observer.cgroup.reading.age", "s", Gauge, &[], "How long ago the cgroup was read that waits longest: on hosts with thousands they are read in turn, so that it costs little.");
    /// CFS periods.
    CPU_PERIODS = ("observer.cgroup.cpu.periods", "{period}", Counter, &[
        ("observer.cgroup.cpu.throttled", "`true`: it had used up its quota in the period and stood still"),
        OF_CGROUP,
    ], "Periods of the cgroup's CPU limit in which it wanted to run.");
    /// CFS throttled time.
    THROTTLED_TIME = ("observer.cgroup.cpu.throttled.time", "s", Counter, &[OF_CGROUP], "Time that the cgroup could have run and its CPU limit kept it from it, of all CPUs together.");
    /// CFS quota.
    CPU_LIMIT = ("observer.cgroup.cpu.limit", "{cpu}", Gauge, &[OF_CGROUP], "CPUs that the cgroup may use, if that is limited.");
    /// Memory.
    CGROUP_MEMORY = ("container.memory.usage", "By", UpDownCounter, &[OF_CGROUP], "Memory that is charged to the workload's cgroup (whether it is a container's or not).");
    /// Working set.
    WORKING_SET = ("container.memory.working_set", "By", UpDownCounter, &[OF_CGROUP], "The same without cached files that weren't used lately: what counts against the limit in the end.");
    /// What is left.
    CGROUP_AVAILABLE = ("container.memory.available", "By", UpDownCounter, &[OF_CGROUP], "Memory that is left to the cgroup: its limit without its working set. Absent without a limit.");
    /// Memory limit.
    CGROUP_MEMORY_LIMIT = ("observer.cgroup.memory.limit", "By", Gauge, &[OF_CGROUP], "The cgroup's own limit of memory, if it has one.");
    /// Peak.
    CGROUP_PEAK = ("observer.cgroup.memory.peak", "By", Gauge, &[OF_CGROUP], "The most memory that was ever charged to the cgroup.");
    /// Swap.
    CGROUP_SWAP = ("observer.cgroup.memory.swap", "By", Gauge, &[OF_CGROUP], "Memory of the cgroup that is swapped out.");
    /// Parts.
    CGROUP_PARTS = ("observer.cgroup.memory.part", "By", Gauge, &[
        ("observer.cgroup.memory.part.type", "`anonymous`, `file`, `shared`, `kernel`, `huge_pages`; some are in others, too"),
        OF_CGROUP,
    ], "What the memory of the cgroup is.");
    /// Faults.
    CGROUP_FAULTS = ("container.paging.faults", "{fault}", Counter, &[FAULT, OF_CGROUP], "Page faults of the workload's cgroup (whether it is a container's or not).");
    /// Events.
    CGROUP_EVENTS = ("observer.cgroup.memory.events", "{event}", Counter, &[
        ("observer.cgroup.memory.event.type", "`high`: it was slowed down at `memory.high`; `max`: it was about to exceed its limit; `oom`: and nothing could be freed; `oom_kill`: a process was killed"),
        OF_CGROUP,
    ], "What the kernel did since the cgroup's memory is limited.");
    /// Threads.
    CGROUP_THREADS = ("observer.cgroup.threads", "{thread}", Gauge, &[OF_CGROUP], "Threads in the cgroup.");
    /// Refused forks.
    CGROUP_FORKS_REFUSED = ("observer.cgroup.threads.refused", "{thread}", Counter, &[OF_CGROUP], "Times that a thread or process couldn't be made since the cgroup's number of them is limited.");
    /// Descriptors.
    DESCRIPTORS = ("process.unix.file_descriptor.count", "{file_descriptor}", Gauge, &[OF_CGROUP], "Open descriptors of that process of the cgroup that is nearest to its limit, among those that were looked at: some of all, in turn.");
}

const MOUNT_DEVICE: (&str, &str) = ("system.device", "What is mounted");
const MOUNT_POINT: (&str, &str) = ("system.filesystem.mountpoint", "Where it is mounted first");
const MOUNT_TYPE: (&str, &str) = ("system.filesystem.type", "The kind of file system");
const FILESYSTEM: Attributes = &[
    MOUNT_DEVICE,
    MOUNT_POINT,
    MOUNT_TYPE,
    (
        "system.filesystem.state",
        "`used`, `free` to everybody, `reserved` for root",
    ),
];
const LIMIT: Attributes = &[
    (
        "observer.limit.name",
        "What is limited. Of the host: `file_descriptors`, `threads`, `pids`, `sockets_memory`, `orphaned_sockets`, `conntrack`, `memory`, `swap`, `disk_space`, `inodes`. Of a cgroup: `memory`, `threads`, `process_file_descriptors` (of the process that is nearest to its own)",
    ),
    ("system.device", "Of a file system: what is mounted"),
    ("system.filesystem.mountpoint", "Of a file system: where"),
    OF_CGROUP,
];
