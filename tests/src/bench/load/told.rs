//! What Observer told a collector of a workload.

use std::collections::HashMap;

use anyhow::Result;
use observer_userspace::export::Signal;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use prost::Message;

use crate::bench::collector::{Collector, text};

/// The attributes of a series.
pub struct Series<'a> {
    resource: &'a [KeyValue],
    point: &'a [KeyValue],
}

impl Series<'_> {
    /// Is it of programs called so?
    pub fn of(&self, name: &str) -> bool {
        ["observer.workload.comm", "process.executable.name"]
            .into_iter()
            .any(|key| text(self.resource, key) == Some(name))
    }

    /// Has its point this attribute?
    pub fn has(&self, key: &str, value: &str) -> bool {
        text(self.point, key) == Some(value)
    }
}

/// The sum of the last values of all series of `metric` that are `wanted`; a
/// histogram's value is how many it counted.
///
/// # Errors
/// When a message can't be decoded.
pub fn sum(collector: &Collector, metric: &str, wanted: impl Fn(&Series) -> bool) -> Result<u64> {
    // Of each series the last, since a message needn't have all of them; one
    // that began anew is another.
    let mut last = HashMap::new();
    for request in collector.receiver().taken(Signal::Metrics) {
        let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
        for group in request.resource_metrics {
            let resource = group.resource.unwrap_or_default().attributes;
            let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
            for found in metrics.filter(|found| found.name == metric) {
                for (point, begin, value) in points(found.data) {
                    let (resource, point) = (&resource[..], &point[..]);
                    if wanted(&Series { resource, point }) {
                        last.insert(format!("{begin} {resource:?} {point:?}"), value);
                    }
                }
            }
        }
    }
    Ok(last.values().sum())
}

/// Attributes, beginning and value of each point.
fn points(data: Option<Data>) -> Vec<(Vec<KeyValue>, u64, u64)> {
    match data {
        Some(Data::Sum(data)) => {
            let points = data.data_points.into_iter();
            let counted = points.map(|point| {
                let value = match point.value {
                    Some(number_data_point::Value::AsInt(n)) => n as u64,
                    _ => 0,
                };
                (point.attributes, point.start_time_unix_nano, value)
            });
            counted.collect()
        }
        Some(Data::ExponentialHistogram(data)) => {
            let points = data.data_points.into_iter();
            let counted = points.map(|p| (p.attributes, p.start_time_unix_nano, p.count));
            counted.collect()
        }
        _ => Vec::new(),
    }
}
