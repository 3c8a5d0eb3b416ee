//! OTLP: settings, encoders, and the client that speaks gRPC and HTTP.
//!
//! Messages come from `opentelemetry-proto`; the kernel's histograms, spans
//! with links to profiles, and profiles can't pass through the SDK.

pub mod attributes;
pub mod client;
pub mod delta;
pub mod endpoint;
pub mod metrics;
pub mod outcome;
pub mod profiles;
pub mod settings;
pub mod tls;
pub mod traces;
pub mod variables;
mod wire;

/// The name of the instrumentation scope of everything Observer makes.
pub const SCOPE_NAME: &str = "observer";

/// The version of the semantic conventions that the names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Encoded size above which a batch is split. gRPC receivers refuse messages
/// above 4 MiB by default, counted after decompression; the rest is slack for
/// the estimate.
pub const MAX_REQUEST_BYTES: usize = 3 << 20;
