//! Spans: something with a beginning, an end and a story.

use super::attribute::SharedResource;
use super::{Attribute, UnixNanos};

/// OTLP's `Span.SpanKind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside the workload.
    #[default]
    Internal,
    /// The workload serves.
    Server,
    /// The workload asks.
    Client,
}

/// OTLP's `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Nothing to say.
    #[default]
    Unset,
    /// It failed, and this is why.
    Error(String),
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub time: UnixNanos,
    /// What, e.g. `tcp.retransmit`.
    pub name: &'static str,
    /// More about it.
    pub attributes: Vec<Attribute>,
}

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Whom it is about.
    pub resource: SharedResource,
    /// 16 random bytes, never all zero.
    pub trace_id: [u8; 16],
    /// 8 random bytes, never all zero.
    pub span_id: [u8; 8],
    /// The parent span, or zero bytes.
    pub parent_span_id: [u8; 8],
    /// Low-cardinality name, e.g. `tcp connect`.
    pub name: String,
    /// Client, server, producer, consumer or internal.
    pub kind: SpanKind,
    /// Beginning.
    pub start: UnixNanos,
    /// Time at which it ended.
    pub end: UnixNanos,
    /// More about it.
    pub attributes: Vec<Attribute>,
    /// In order of time.
    pub events: Vec<SpanEvent>,
    /// Events that happened but aren't in `events`.
    pub dropped_events: u32,
    /// How it ended.
    pub status: SpanStatus,
}
