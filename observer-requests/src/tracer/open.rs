//! An exchange that is open.

use observer_common::workload::WorkloadId;
use std::sync::Arc;

use observer_common::requests::ThreadClock;

use super::connections::Slot;
use super::sampling::Decision;
use super::slab::Key;
use crate::{Parent, RemoteContext, Role};

/// One end's view of a request under way.
#[derive(Debug)]
pub struct Open {
    /// Its connection.
    pub connection: Slot,
    /// Whose it is.
    pub workload: WorkloadId,
    /// Process.
    pub tgid: u32,
    /// Thread that sent or received it.
    pub tid: u32,
    /// Its side.
    pub role: Role,
    /// Who it is, and whose child.
    pub span: Ids,
    /// Kernel time.
    pub begun: u64,
    /// Its thread's clock then.
    pub clock: ThreadClock,
    /// Segments sent again on its connection until then.
    pub retransmits: u32,
    /// Those on the connections of its calls, while these were open.
    pub calls_retransmits: u32,
    /// What its thread waited for on the network, by call.
    pub waited_for: Vec<(Arc<str>, u64)>,
    /// The request that it was made for (a client's).
    pub made_for: Key,
    /// Whether the server's view was joined with it, or mustn't be (a client's).
    pub paired: bool,
    /// Whether its thread took the next of several events after it, so that what it did
    /// in between was for this one (a server's).
    pub followed: bool,
    /// The client's view of it (a server's).
    pub asked_by: Key,
    /// The kernel half's number of it (a server's), 0 if none.
    pub request: u64,
    /// The next one with the same number.
    pub next_of_number: Key,
    /// Waits with others for whom its thread works: see [`super::pending`].
    pub pending: Key,
}

/// Who a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Never all zero.
    pub trace: [u8; 16],
    /// Never all zero.
    pub span: [u8; 8],
    /// Zero without one.
    pub parent: [u8; 8],
    /// How the parent is known.
    pub how: Parent,
    /// Whether it is kept.
    pub decision: Decision,
    /// Its trace among those that aren't decided on: see [`super::traces`].
    pub undecided: Key,
    /// Whether it is the first of its trace on this host.
    pub root: bool,
}

impl Ids {
    /// Its child.
    pub fn child(&self, span: [u8; 8], how: Parent) -> Self {
        Self {
            trace: self.trace,
            span,
            parent: self.span,
            how,
            decision: self.decision,
            undecided: self.undecided,
            root: false,
        }
    }

    /// The child of a span of another host, or of a program that makes its own.
    pub fn remote(
        context: &RemoteContext,
        span: [u8; 8],
        decision: Decision,
        undecided: Key,
    ) -> Self {
        Self {
            trace: context.trace_id,
            span,
            parent: context.span_id,
            how: Parent::Remote,
            decision,
            undecided,
            root: true,
        }
    }
}
