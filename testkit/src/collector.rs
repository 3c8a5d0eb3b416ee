//! A receiver on a thread of its own, for benchmarks that aren't async.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use observer_export::otlp::Signal;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, NumberDataPoint, Sum, number_data_point};
use prost::Message;
use tokio::sync::oneshot;

use crate::receiver::Receiver;

/// Takes whatever is sent to it.
pub struct Collector {
    receiver: Arc<Receiver>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Listens on a free port of the loopback.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let receiver = Arc::new(runtime.block_on(Receiver::start())?);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            // An error is what a dropped sender means.
            let _ = runtime.block_on(stopped);
        });
        Ok(Self {
            receiver,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What it has received.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// The base endpoint.
    pub fn endpoint(&self) -> String {
        self.receiver.endpoint()
    }

    /// The latest sum of a metric's series: counters' values, or the number of
    /// values in histograms, of the resources that `whose` picks by their
    /// attributes and the series that `which` picks by theirs.
    pub fn total(
        &self,
        metric: &str,
        whose: impl Fn(&[KeyValue]) -> bool,
        which: impl Fn(&[KeyValue]) -> bool,
    ) -> Result<f64> {
        let mut latest: f64 = 0.0;
        for request in self.receiver.taken(Signal::Metrics) {
            let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
            let mut sum = 0.0;
            for group in request.resource_metrics {
                let attributes = group.resource.map(|r| r.attributes).unwrap_or_default();
                if !whose(&attributes) {
                    continue;
                }
                let metrics = group.scope_metrics.into_iter().flat_map(|s| s.metrics);
                sum += metrics
                    .filter(|found| found.name == metric)
                    .filter_map(|found| found.data)
                    .map(|data| points(data, &which))
                    .sum::<f64>();
            }
            latest = latest.max(sum);
        }
        Ok(latest)
    }

    /// The latest sum of `observer.syscall.calls` of a syscall by the program
    /// called `name`, see [`named`].
    pub fn syscall_calls(&self, name: &str, syscall: &str) -> Result<u64> {
        let calls = self.total("observer.syscall.calls", named(&[name]), |point| {
            text(point, "syscall.name") == Some(syscall)
        })?;
        Ok(calls as u64)
    }

    /// The latest value of a metric of the daemon's own, all its series that
    /// `wanted` by their attributes together.
    pub fn own(&self, metric: &str, wanted: impl Fn(&[KeyValue]) -> bool) -> Result<f64> {
        let sent = self.sent(metric)?;
        let latest = sent.last().into_iter().flatten();
        let wanted = latest.filter(|point| wanted(&point.attributes));
        Ok(wanted.map(|point| number(point.value)).sum())
    }

    /// The latest values of a metric of the daemon's own by an attribute; of a
    /// series that never came, nothing.
    pub fn own_by(&self, metric: &str, attribute: &str) -> Result<BTreeMap<String, f64>> {
        let mut latest = BTreeMap::new();
        for point in self.sent(metric)?.iter().flatten() {
            if let Some(series) = text(&point.attributes, attribute) {
                latest.insert(series.to_owned(), number(point.value));
            }
        }
        Ok(latest)
    }

    /// The points of a sum or gauge, each time that it was sent.
    fn sent(&self, metric: &str) -> Result<Vec<Vec<NumberDataPoint>>> {
        let mut sent = Vec::new();
        for request in self.receiver.taken(Signal::Metrics) {
            let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
            let groups = request.resource_metrics.into_iter();
            let scopes = groups.flat_map(|group| group.scope_metrics);
            let metrics = scopes.flat_map(|scope| scope.metrics);
            let points =
                metrics
                    .filter(|m| m.name == metric)
                    .filter_map(|found| match found.data {
                        Some(Data::Sum(data)) => Some(data.data_points),
                        Some(Data::Gauge(data)) => Some(data.data_points),
                        _ => None,
                    });
            sent.extend(points);
        }
        Ok(sent)
    }

    /// The latest sum of the counts of a histogram's series, whosever they are.
    pub fn histogram_count(&self, metric: &str) -> Result<u64> {
        Ok(self.total(metric, |_| true, |_| true)? as u64)
    }

    /// What the daemon says it lost, by cause.
    pub fn losses(&self) -> Result<BTreeMap<String, u64>> {
        let mut losses = BTreeMap::new();
        for request in self.receiver.taken(Signal::Metrics) {
            let request = ExportMetricsServiceRequest::decode(&request.message[..])?;
            let groups = request.resource_metrics.into_iter();
            let scopes = groups.flat_map(|group| group.scope_metrics);
            let metrics = scopes.flat_map(|scope| scope.metrics);
            for found in metrics.filter(|m| m.name.ends_with(".lost")) {
                let Some(Data::Sum(data)) = found.data else {
                    continue;
                };
                for point in data.data_points {
                    if let Some(number_data_point::Value::AsInt(n)) = point.value {
                        losses.insert(cause(&point.attributes), n as u64);
                    }
                }
            }
        }
        Ok(losses)
    }

    /// Spans that came.
    pub fn spans(&self) -> Result<u64> {
        let mut count = 0;
        for request in self.receiver.taken(Signal::Traces) {
            let request = ExportTraceServiceRequest::decode(&request.message[..])?;
            let groups = request.resource_spans.iter();
            let scopes = groups.flat_map(|group| &group.scope_spans);
            count += scopes.map(|scope| scope.spans.len() as u64).sum::<u64>();
        }
        Ok(count)
    }

    /// The sum of all samples in the profiles of time on CPU.
    pub fn profile_samples(&self) -> Result<u64> {
        let mut sum = 0;
        for request in self.receiver.taken(Signal::Profiles) {
            let request = ExportProfilesServiceRequest::decode(&request.message[..])?;
            let strings = request.dictionary.unwrap_or_default().string_table;
            let groups = request.resource_profiles.into_iter();
            let scopes = groups.flat_map(|group| group.scope_profiles);
            for profile in scopes.flat_map(|scope| scope.profiles) {
                let kind = profile.sample_type.unwrap_or_default().type_strindex;
                if strings.get(kind as usize).map(String::as_str) != Some("samples") {
                    continue;
                }
                let values = profile.samples.iter().flat_map(|sample| &sample.values);
                sum += values.map(|value| *value as u64).sum::<u64>();
            }
        }
        Ok(sum)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Picks the resources of programs with one of these names: of the process, or
/// of its executable where the process is called the same.
pub fn named(names: &[&str]) -> impl Fn(&[KeyValue]) -> bool {
    move |attributes| {
        let executable = text(attributes, "process.executable.name");
        let name = text(attributes, "observer.workload.comm").or(executable);
        name.is_some_and(|name| names.contains(&name))
    }
}

/// A point's value, whichever of its two kinds it is.
pub(crate) fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsInt(n)) => n as f64,
        Some(number_data_point::Value::AsDouble(n)) => n,
        None => 0.0,
    }
}

/// The sum of a metric's points that `which` picks.
fn points(data: Data, which: impl Fn(&[KeyValue]) -> bool) -> f64 {
    match data {
        Data::Sum(Sum { data_points, .. }) | Data::Gauge(Gauge { data_points }) => {
            let points = data_points.iter().filter(|point| which(&point.attributes));
            points.map(|point| number(point.value)).sum()
        }
        Data::ExponentialHistogram(histogram) => {
            let points = histogram.data_points.iter();
            let points = points.filter(|point| which(&point.attributes));
            points.map(|point| point.count as f64).sum()
        }
        _ => 0.0,
    }
}

/// What a loss is called: `family/cause`.
fn cause(attributes: &[KeyValue]) -> String {
    let part = |key| text(attributes, key).unwrap_or_default();
    let (probe, signal) = (part("observer.probe"), part("observer.signal"));
    format!("{probe}{signal}/{}", part("error.type"))
}

/// An attribute's value if it is a text.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
