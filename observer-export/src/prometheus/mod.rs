//! Prometheus: what OTLP gets, for whoever scrapes.
//!
//! A [`Snapshot`] holds the points of one interval, the very ones that OTLP's encoder got.
//! [`pages`] makes of it, when somebody asks, OpenMetrics text, the older text, or the
//! protobuf exposition with native histograms, each once; [`server`] serves them from a
//! thread of its own.
//!
//! Names, units and labels follow OpenTelemetry's "Prometheus and OpenMetrics
//! Compatibility" (specification/compatibility/prometheus_and_openmetrics.md, "OTLP Metric
//! points to Prometheus"), but for this:
//!
//! - A resource without `service.instance.id` has an `instance` all the same, since one
//!   target tells of many services, some of one name ([`targets`]).
//! - There are no `_created` series in text: Prometheus stores each as one more series of
//!   a name that nobody asks for. The protobuf exposition has the time in its own field.
//! - A bucket without an exemplar has none, instead of a lower bucket's.

pub mod answers;
pub mod families;
pub mod guard;
pub mod health;
mod histogram;
mod labels;
mod names;
pub mod negotiation;
mod number;
pub mod own;
pub mod pages;
mod protobuf;
#[cfg(test)]
mod samples;
pub mod server;
pub mod targets;
mod text;
pub mod tls;

use std::sync::Arc;

use observer_signals::metric::{MetricBatch, ResourceMetrics};

/// All that one scrape can tell.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The interval's points, shared with the other sinks.
    pub batch: Arc<MetricBatch>,
    /// The daemon's own figures.
    pub own: Vec<ResourceMetrics>,
}

impl Snapshot {
    /// All resources with their metrics.
    fn resources(&self) -> impl Iterator<Item = &ResourceMetrics> {
        self.batch.resources.iter().chain(&self.own)
    }
}
