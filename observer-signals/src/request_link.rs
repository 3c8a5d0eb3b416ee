//! Which request a sample's thread served.

use std::sync::Arc;

/// A request that a thread served, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestLink {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Its span.
    pub span_id: [u8; 8],
    /// Its route, e.g. `/users/{id}`; known when it is over.
    pub route: Option<Arc<str>>,
    /// How long it took in nanoseconds; `None` while it is open.
    pub duration: Option<u64>,
    /// Whether its span is kept, as far as that is known.
    pub sampled: bool,
}
