//! Plain data: what Observer knows, before anybody decides where it goes.
//!
//! Nothing in here does I/O, knows a kernel or a network. Probes make signals,
//! exporters consume them.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

pub mod attribute;
pub mod budget;
pub mod builder;
pub mod clock;
pub mod hottest;
pub mod interner;
pub mod metric;
pub mod outside;
pub mod profile;
pub mod request_link;
pub mod span;
pub mod wait;

pub use attribute::{Attribute, Resource, Value};
pub use budget::{BudgetStatus, StepCounts};
pub use builder::MetricBuilder;
pub use clock::WallClock;
pub use interner::Interner;
pub use metric::{Exemplar, Histogram, Instrument, Metric, MetricDef, MetricPoint, PointValue};
pub use profile::Profile;
pub use request_link::RequestLink;
pub use span::{Span, SpanEvent, SpanKind, SpanStatus};
pub use wait::{Reason, ThreadState, Waited};

/// Nanoseconds since the Unix epoch (wall clock), as OTLP's `*_unix_nano`.
pub type UnixNanos = u64;
