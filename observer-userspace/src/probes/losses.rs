//! Losses that the daemon counts itself, each named once. The kernel half's are
//! in [`observer_common::loss`], the exporter's in [`observer_export::otlp::signal`].

use observer_common::family::{Family, Part};

/// Something that the daemon can lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The part that lost it: the word of a [`Part`], or of one of the daemon's own.
    pub part: &'static str,
    /// The name that users see.
    pub name: &'static str,
    /// What exactly was lost.
    pub meaning: &'static str,
}

/// See [`crate::kernel::stats`].
pub const PROGRAM_MISSED: Cause = Cause {
    part: Part::Bpf.as_str(),
    name: "program_missed",
    meaning: "The kernel did not run a program, because the same one was running on that CPU, or a thread was in it that had lost that CPU.",
};

/// Likewise.
pub const SYSCALL_MISSED: Cause = Cause {
    part: Part::Family(Family::Syscalls).as_str(),
    name: "syscall_missed",
    meaning: "Syscalls that were not counted: the kernel ran no program at their end, nor when their thread made its next. (With a filter, those that it leaves out are in it.)",
};

/// See `agent::profiler`.
pub const SYMBOLIZER_TOO_SLOW: Cause = Cause {
    part: Part::Family(Family::Cpu).as_str(),
    name: "symbolizer_too_slow",
    meaning: "CPU samples were dropped: too many profiles waited for their names.",
};

/// See [`super::cpu::Sampler::unknown_stacks`].
pub const STACK_UNKNOWN: Cause = Cause {
    part: Part::Family(Family::Cpu).as_str(),
    name: "stack_unknown",
    meaning: "Stacks that were counted but never arrived: their samples have none.",
};

/// See [`crate::stacks::unwinder`].
pub const MAPPING_LIST_FULL: Cause = Cause {
    part: Part::Family(Family::Cpu).as_str(),
    name: "mapping_list_full",
    meaning: "There was no room to tell the kernel half of a process's mappings: its stacks are walked by frame pointers.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_MALFORMED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_malformed",
    meaning: "A record of the kernel half was not understood.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_OVERRUN: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_overrun",
    meaning: "Pieces of connections came faster than they were put into order, and were dropped.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_MISSED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_missed",
    meaning: "Records of connections that never came, by gaps in their numbers; requests in them may be missing.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_EVICTED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_evicted",
    meaning: "Connections that were forgotten since there were too many.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_UNPARSED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_unparsed",
    meaning: "Pieces or messages that were not what their protocol allows.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_ABANDONED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_abandoned",
    meaning: "Requests whose end was not seen: they are in no metric.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_LEFT: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_left",
    meaning: "Connections that went on in something that is not followed: behind CONNECT or an upgrade (WebSocket), in MySQL's compressed protocol, in a replica's stream. What they carried then is in no metric.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_HEAD_PARTIAL: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_head_partial",
    meaning: "Requests of whose heads not every field is known: behind what is captured, or told by reference to a table of HTTP/2's that is older than the daemon. A caller's context may have been among them; their spans say so (observer.head).",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_CLOCK: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_clock",
    meaning: "Requests of servers whose thread's clock did not fit their duration: where their time went is not told.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_LIMITED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_limited",
    meaning: "Spans of requests that were not kept, since too many traces began.",
};

/// See [`observer_requests::tracer::Losses`].
pub const REQUEST_UNBUFFERED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "request_unbuffered",
    meaning: "Spans that waited for their trace to be kept, and made room for others.",
};

/// See [`super::requests::tls::Figures`].
pub const TLS_FILE_FAILED: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "tls_file_failed",
    meaning: "TLS libraries, or programs that contain one, to whose functions nothing could be attached: what goes through them is not seen.",
};

/// See [`super::requests::tls::Figures`].
pub const TLS_FILE_NO_ROOM: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "tls_file_no_room",
    meaning: "TLS libraries to which nothing was attached: as many are as the daemon may have open, or as one user or container may have of that. The log names them; a higher limit of open files may help.",
};

/// See [`super::requests::tls::Figures`].
pub const TLS_FILE_HELD: Cause = Cause {
    part: Part::Family(Family::Requests).as_str(),
    name: "tls_file_held",
    meaning: "Looks at a TLS library to which nothing was attached: a process keeps its memory map locked, and the kernel, and all forks with it, might wait for that. Its name is in the log.",
};

/// See `agent::programs`.
pub const PROCESS_OVERLOOKED: Cause = Cause {
    part: Part::Identity.as_str(),
    name: "process_overlooked",
    meaning: "New processes that were not looked at, since too many waited for it, or that are one program too many to be told apart: they stay what their cgroup and their name say.",
};

/// See `agent::retire`.
pub const WORKLOAD_FOLDED: Cause = Cause {
    part: Part::Identity.as_str(),
    name: "workload_folded",
    meaning: "Workloads whose last figures were added to `other`, since more of them ended between two exports than the table holds.",
};

/// See [`crate::identity::Resolver::unnamed`].
pub const CONTAINER_UNNAMED: Cause = Cause {
    part: Part::Identity.as_str(),
    name: "container_unnamed",
    meaning: "Workloads of containers that were exported before the container's runtime, or the kubelet, had answered, or since it doesn't: they have the container's id, but no name, image or pod. `observer check` says who doesn't answer.",
};

/// See `foreign`.
pub const UNREADABLE: Cause = Cause {
    part: Part::Identity.as_str(),
    name: "unreadable",
    meaning: "Looks at a process, or at files on a file system, that were given up since it doesn't answer, or not begun since too much doesn't: what it calls itself, the names in its stacks or its TLS are not known.",
};

/// See [`crate::stacks::costly`].
pub const FILE_TOO_COSTLY: Cause = Cause {
    part: Part::Family(Family::Cpu).as_str(),
    name: "file_too_costly",
    meaning: "Files whose debug information costs more memory or time than one file may: inlined functions and lines in them are not known. They are named in the log.",
};

/// See [`observer_signals::outside`].
pub const TEXT_CUT: Cause = Cause {
    part: Part::Identity.as_str(),
    name: "text_cut",
    meaning: "Texts from outside (names of services, attributes, functions) that were longer than is kept, and end in `…`.",
};

/// See `logging`.
pub const LOG_LINE_DROPPED: Cause = Cause {
    part: "log",
    name: "log_line_dropped",
    meaning: "Log lines that could not be written: nobody read standard error, or its disk was full.",
};

/// Records of this part that were left in its ring at the daemon's end: see
/// `agent::rings`.
pub const fn left_at_end(part: Part) -> Cause {
    Cause {
        part: part.as_str(),
        name: "record_left",
        meaning: "Records of the kernel half that still waited when the daemon ended and had no more time for them: what they told of is not known.",
    }
}

/// All of them.
pub const ALL: [Cause; 29] = [
    PROGRAM_MISSED,
    SYSCALL_MISSED,
    SYMBOLIZER_TOO_SLOW,
    STACK_UNKNOWN,
    MAPPING_LIST_FULL,
    REQUEST_MALFORMED,
    REQUEST_OVERRUN,
    REQUEST_MISSED,
    REQUEST_EVICTED,
    REQUEST_UNPARSED,
    REQUEST_ABANDONED,
    REQUEST_LEFT,
    REQUEST_HEAD_PARTIAL,
    REQUEST_CLOCK,
    REQUEST_LIMITED,
    REQUEST_UNBUFFERED,
    TLS_FILE_FAILED,
    TLS_FILE_NO_ROOM,
    TLS_FILE_HELD,
    PROCESS_OVERLOOKED,
    WORKLOAD_FOLDED,
    CONTAINER_UNNAMED,
    UNREADABLE,
    FILE_TOO_COSTLY,
    TEXT_CUT,
    LOG_LINE_DROPPED,
    left_at_end(Part::Family(Family::Block)),
    left_at_end(Part::Family(Family::Requests)),
    left_at_end(Part::Family(Family::Tcp)),
];
