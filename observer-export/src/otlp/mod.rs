//! OTLP: settings, encoders, one bounded queue, and the client that speaks gRPC
//! and HTTP.
//!
//! [`Exporter`] is the way to a collector. It encodes on the caller's side,
//! never waits, and hands the bytes to a [`queue`] that one task per signal
//! empties by the OTLP rules ([`outcome`]).
//!
//! Profiles' messages come from `opentelemetry-proto`; metrics and spans are written
//! field by field ([`wire`]). The kernel's histograms, spans with links to profiles, and
//! profiles can't pass through the SDK. The daemon's
//! own figures do ([`telemetry`]).

pub mod attributes;
pub mod client;
pub mod endpoint;
mod exporter;
mod group;
pub mod losses;
pub mod metrics;
pub mod outcome;
pub mod profiles;
pub mod queue;
pub mod self_metrics;
mod sender;
pub mod settings;
pub mod shares;
pub mod signal;
pub mod telemetry;
mod timeline;
pub mod tls;
pub mod traces;
pub mod variables;
mod wire;

pub use exporter::{Exporter, RawMetrics};
pub use settings::OtlpSettings;
pub use signal::{ByCause, BySignal, DropCause, ExportStats, Signal, SignalStats};

/// The name of the instrumentation scope of everything Observer makes.
pub const SCOPE_NAME: &str = "observer";

/// The version of the semantic conventions that the names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Encoded size above which a batch is split. gRPC receivers refuse messages
/// above 4 MiB by default, counted after decompression; the rest is slack for
/// the estimate.
pub const MAX_REQUEST_BYTES: usize = 3 << 20;
