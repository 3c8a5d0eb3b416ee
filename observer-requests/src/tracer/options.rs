//! What a tracer is told at its beginning.

use super::parsers::{Make, parser_for};
use super::sampling::Sampler;
use crate::routes::Routes;

/// What a tracer is told at its beginning.
pub struct Options {
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Traces that may be kept per second and workload, and how many at once.
    /// (As many again may be kept for errors and slowness.)
    pub span_limit: Option<(f64, f64)>,
    /// Connections that are known at once; beyond, those that weren't used for
    /// longest are forgotten.
    pub max_connections: usize,
    /// Nanoseconds for which a record waits for those that come late.
    pub hold: u64,
    /// Makes a connection's parser.
    pub parsers: Make,
    /// Finds the routes of HTTP requests.
    pub routes: Routes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampler: Sampler::default(),
            span_limit: None,
            max_connections: 65_536,
            hold: 2_000_000,
            parsers: parser_for,
            routes: Routes::new(),
        }
    }
}
