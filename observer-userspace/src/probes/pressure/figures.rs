//! What is told of a cgroup: which figures there are, and how they are exported.

use observer_signals::MetricDef;

use super::host::pressure_of;
use super::metrics as m;

type Attributes = &'static [(&'static str, &'static str)];

/// How a count or level becomes a metric's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// As it is.
    One,
    /// A part of a second, or of a CPU.
    Of(f64),
}

/// One figure's metric.
pub(super) struct Figure {
    pub def: &'static MetricDef,
    pub attributes: Attributes,
    pub scale: Scale,
}

macro_rules! figures {
    ($table:ident: $name:ident, $meaning:literal, $($id:ident = $def:ident, $attributes:expr, $scale:expr;)*) => {
        #[doc = $meaning]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($id,)* }

        /// Their metrics, in the same order.
        pub(super) static $table: [Figure; [$(stringify!($id)),*].len()] = [
            $(Figure { def: &m::$def, attributes: $attributes, scale: $scale },)*
        ];
    };
}

const MICROSECONDS: Scale = Scale::Of(1e-6);
const NANOSECONDS: Scale = Scale::Of(1e-9);
const MINOR: Attributes = &[("system.paging.fault.type", "minor")];
const MAJOR: Attributes = &[("system.paging.fault.type", "major")];

const fn event(kind: &'static str) -> [(&'static str, &'static str); 1] {
    [("observer.cgroup.memory.event.type", kind)]
}
const fn part(kind: &'static str) -> [(&'static str, &'static str); 1] {
    [("observer.cgroup.memory.part.type", kind)]
}
const fn throttled(whether: &'static str) -> [(&'static str, &'static str); 1] {
    [("observer.cgroup.cpu.throttled", whether)]
}

figures! {
    COUNTERS: Counter, "What only grows as long as the cgroup is there.",
    CpuSome = PRESSURE_TIME, &pressure_of("cpu", "some"), MICROSECONDS;
    CpuFull = PRESSURE_TIME, &pressure_of("cpu", "full"), MICROSECONDS;
    MemorySome = PRESSURE_TIME, &pressure_of("memory", "some"), MICROSECONDS;
    MemoryFull = PRESSURE_TIME, &pressure_of("memory", "full"), MICROSECONDS;
    IoSome = PRESSURE_TIME, &pressure_of("io", "some"), MICROSECONDS;
    IoFull = PRESSURE_TIME, &pressure_of("io", "full"), MICROSECONDS;
    PeriodsFree = CPU_PERIODS, &throttled("false"), Scale::One;
    PeriodsThrottled = CPU_PERIODS, &throttled("true"), Scale::One;
    ThrottledTime = THROTTLED_TIME, &[], NANOSECONDS;
    FaultsMinor = CGROUP_FAULTS, MINOR, Scale::One;
    FaultsMajor = CGROUP_FAULTS, MAJOR, Scale::One;
    High = CGROUP_EVENTS, &event("high"), Scale::One;
    Max = CGROUP_EVENTS, &event("max"), Scale::One;
    Oom = CGROUP_EVENTS, &event("oom"), Scale::One;
    OomKill = CGROUP_EVENTS, &event("oom_kill"), Scale::One;
    ForksRefused = CGROUP_FORKS_REFUSED, &[], Scale::One;
}

figures! {
    LEVELS: Level, "What is as it is.",
    CpuLimit = CPU_LIMIT, &[], Scale::Of(1e-6);
    Memory = CGROUP_MEMORY, &[], Scale::One;
    WorkingSet = WORKING_SET, &[], Scale::One;
    Available = CGROUP_AVAILABLE, &[], Scale::One;
    MemoryLimit = CGROUP_MEMORY_LIMIT, &[], Scale::One;
    Peak = CGROUP_PEAK, &[], Scale::One;
    Swap = CGROUP_SWAP, &[], Scale::One;
    Anonymous = CGROUP_PARTS, &part("anonymous"), Scale::One;
    Cached = CGROUP_PARTS, &part("file"), Scale::One;
    Shared = CGROUP_PARTS, &part("shared"), Scale::One;
    OfKernel = CGROUP_PARTS, &part("kernel"), Scale::One;
    Huge = CGROUP_PARTS, &part("huge_pages"), Scale::One;
    Threads = CGROUP_THREADS, &[], Scale::One;
    Descriptors = DESCRIPTORS, &[], Scale::One;
}

/// So many figures, each known or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figures<const N: usize>([Option<u64>; N]);

/// Those of [`COUNTERS`].
pub(super) type Counters = Figures<{ COUNTERS.len() }>;
/// Those of [`LEVELS`].
pub(super) type Levels = Figures<{ LEVELS.len() }>;

impl<const N: usize> Default for Figures<N> {
    fn default() -> Self {
        Self([None; N])
    }
}

impl<const N: usize> Figures<N> {
    fn put(&mut self, at: usize, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(at) {
            *place = value;
        }
    }

    /// All, in the order of their table.
    pub(super) fn all(&self) -> impl Iterator<Item = Option<u64>> + '_ {
        self.0.iter().copied()
    }
}

impl Counters {
    /// Sets one.
    pub(super) fn set(&mut self, which: Counter, value: Option<u64>) {
        self.put(which as usize, value);
    }
}

impl Levels {
    /// Sets one.
    pub(super) fn set(&mut self, which: Level, value: Option<u64>) {
        self.put(which as usize, value);
    }
}
