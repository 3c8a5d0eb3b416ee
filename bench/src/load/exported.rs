//! What Observer told a collector of a workload.

use std::collections::HashMap;

use anyhow::Result;
use observer_export::otlp::Signal;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use prost::Message;

use observer_testkit::collector::{Collector, text};

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
    let mut last = Last::default();
    for request in collector.receiver().taken(Signal::Metrics) {
        let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
        last.take(request, metric, &wanted);
    }
    Ok(last.0.values().sum())
}

/// Of each series the last value, since a message needn't have all of them; one
/// that began anew is another.
#[derive(Default)]
struct Last(HashMap<String, u64>);

impl Last {
    fn take(
        &mut self,
        request: ExportMetricsServiceRequest,
        metric: &str,
        wanted: impl Fn(&Series) -> bool,
    ) {
        for group in request.resource_metrics {
            let resource = group.resource.unwrap_or_default().attributes;
            let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
            for found in metrics.filter(|found| found.name == metric) {
                for (point, begin, value) in points(found.data) {
                    let (resource, point) = (&resource[..], &point[..]);
                    if wanted(&Series { resource, point }) {
                        let series = format!("{begin} {resource:?} {point:?}");
                        self.0.insert(series, value);
                    }
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
    use opentelemetry_proto::tonic::metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;

    use super::*;

    fn attribute(key: &str, value: &str) -> KeyValue {
        let value = any_value::Value::StringValue(value.into());
        KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    /// A message with a sum of a workload's, since `begin`.
    fn message(workload: &str, begin: u64, value: i64) -> ExportMetricsServiceRequest {
        let point = NumberDataPoint {
            attributes: vec![attribute("network.type", "ipv4")],
            start_time_unix_nano: begin,
            value: Some(number_data_point::Value::AsInt(value)),
            ..NumberDataPoint::default()
        };
        let sum = Sum {
            data_points: vec![point],
            ..Sum::default()
        };
        let metric = Metric {
            name: "calls".into(),
            data: Some(Data::Sum(sum)),
            ..Metric::default()
        };
        let resource = Resource {
            attributes: vec![attribute("process.executable.name", workload)],
            ..Resource::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource),
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![metric],
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }

    /// Checks that of a series the last value counts, that one which began anew
    /// is added, and that other workloads, metrics and attributes are not.
    #[test]
    fn last_values() {
        let messages = [
            message("wanted", 1, 10),
            message("wanted", 1, 30),
            message("other", 1, 1000),
            message("wanted", 5, 2),
        ];
        let sum = |metric, kind| {
            let mut last = Last::default();
            for message in messages.clone() {
                last.take(message, metric, |series| {
                    series.of("wanted") && series.has("network.type", kind)
                });
            }
            last.0.values().sum::<u64>()
        };
        assert_eq!(sum("calls", "ipv4"), 32);
        assert_eq!(sum("calls", "ipv6"), 0);
        assert_eq!(sum("errors", "ipv4"), 0);
    }
}
