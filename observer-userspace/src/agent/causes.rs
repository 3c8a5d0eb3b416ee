//! Losses that the daemon counts itself, each named once. The kernel half's are
//! in [`observer_common::loss`], the exporter's in [`crate::export::signal`].

/// Something that the daemon can lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which part lost it, as a probe family is named.
    pub probe: &'static str,
    /// The name that users see.
    pub name: &'static str,
    /// What exactly was lost.
    pub meaning: &'static str,
}

/// See [`super::limiter`].
pub const SPAN_RATE_LIMITED: Cause = Cause {
    probe: "spans",
    name: "span_rate_limited",
    meaning: "A span was dropped: its workload made more than `--span-rate` a second.",
};

/// See [`crate::kernel::stats`].
pub const PROGRAM_MISSED: Cause = Cause {
    probe: "bpf",
    name: "program_missed",
    meaning: "The kernel did not run a program, because the same one was running on that CPU.",
};

/// See [`super::profiler`].
pub const SYMBOLIZER_TOO_SLOW: Cause = Cause {
    probe: "cpu",
    name: "symbolizer_too_slow",
    meaning: "CPU samples were dropped: too many profiles waited for their names.",
};

/// See [`crate::stacks::unwinder`].
pub const MAPPING_LIST_FULL: Cause = Cause {
    probe: "cpu",
    name: "mapping_list_full",
    meaning: "There was no room to tell the kernel half of a process's mappings: its stacks are walked by frame pointers.",
};

/// All of them.
pub const ALL: [Cause; 4] = [
    SPAN_RATE_LIMITED,
    PROGRAM_MISSED,
    SYMBOLIZER_TOO_SLOW,
    MAPPING_LIST_FULL,
];
