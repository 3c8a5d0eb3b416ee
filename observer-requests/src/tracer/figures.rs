//! What a tracer tells beside requests that are over.

use observer_common::requests::Protocol;
use observer_common::workload::WorkloadId;

use crate::Role;

/// What was lost on the way, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that were no records, or of something unknown.
    pub malformed: u64,
    /// Records that came faster than they were handled.
    pub overrun: u64,
    /// Records of connections that didn't come (gaps in their numbers).
    pub missed: u64,
    /// Connections that were forgotten since there were too many.
    pub evicted: u64,
    /// Chunks or messages that a parser couldn't understand.
    pub failed: u64,
    /// Requests whose end wasn't seen: left behind by their parser, or open on
    /// a connection that was forgotten, or too many.
    pub abandoned: u64,
    /// Connections that went on in something that isn't followed.
    pub left: u64,
    /// Requests of whose heads not every field is known.
    pub partial: u64,
    /// Server requests whose clock didn't fit their duration.
    pub clocks: u64,
    /// Spans that weren't kept since too many traces began.
    pub limited: u64,
    /// Spans that would have waited for the end of their trace, but for others.
    pub unbuffered: u64,
}

/// Requests that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Workload of these requests.
    pub workload: WorkloadId,
    /// On which side.
    pub role: Role,
    /// Protocol of the connections.
    pub protocol: Protocol,
    /// Whether by TLS.
    pub tls: bool,
    /// Number of open requests.
    pub count: u64,
}
