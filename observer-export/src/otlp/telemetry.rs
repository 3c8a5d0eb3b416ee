//! The daemon's own telemetry, through the OpenTelemetry SDK.
//!
//! The SDK collects and opentelemetry-otlp encodes; the encoded request then
//! takes the way of all other metrics, so that headers, TLS, gRPC, retries and
//! the bound on memory are the same for it. That also means that neither
//! collecting nor shutting down ever waits for the network.

use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::CONTENT_ENCODING;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::Resource as SdkResource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality as SdkTemporality};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use prost::Message;

use super::exporter::{Exporter, RawMetrics};
use super::self_metrics::{CATALOGUE, Reading, SelfMetric, Snapshot};
use super::settings::{OtlpSettings, Temporality};
use super::signal::ExportStats;
use super::{SCHEMA_URL, SCOPE_NAME};
use crate::self_stats::{ProcessUsage, SelfStats};
use observer_signals::{Attribute, Instrument, Resource, Value};

/// The running telemetry; [`Telemetry::shutdown`] sends the last figures.
pub struct Telemetry {
    provider: SdkMeterProvider,
}

impl Telemetry {
    /// Starts collecting `stats` and the exporter's figures every `interval`,
    /// on a thread of the SDK's. `None` when metrics aren't exported.
    ///
    /// `host` is the resource that all of the daemon's signals share; it is
    /// completed with `service.name` (`observer`, unless the user named it
    /// otherwise) and the user's resource attributes.
    ///
    /// # Errors
    /// opentelemetry-otlp refuses to be set up.
    pub fn start(
        settings: &OtlpSettings,
        exporter: &Exporter,
        host: &Resource,
        interval: Duration,
        stats: Arc<Mutex<SelfStats>>,
    ) -> Result<Option<Self>> {
        let Some(queue) = exporter.raw_metrics() else {
            return Ok(None);
        };
        let otlp = MetricExporter::builder()
            .with_http()
            .with_http_client(QueueClient(queue))
            // Never resolved: the client above hands over to the queue.
            .with_endpoint("http://observer.invalid/v1/metrics")
            .with_protocol(Protocol::HttpBinary)
            .with_temporality(match settings.temporality {
                Temporality::Cumulative => SdkTemporality::Cumulative,
                Temporality::Delta => SdkTemporality::Delta,
                Temporality::LowMemory => SdkTemporality::LowMemory,
            })
            .build()
            .context("setting up the export of Observer's own metrics")?;
        let provider = SdkMeterProvider::builder()
            .with_reader(
                PeriodicReader::builder(otlp)
                    .with_interval(interval)
                    .build(),
            )
            .with_resource(sdk_resource(&own_resource(settings, host)))
            .build();
        let meter = provider.meter(SCOPE_NAME);
        let source = Arc::new(Source {
            stats,
            export: Box::new(exporter.stats_reader()),
        });
        for metric in CATALOGUE {
            register(&meter, metric, source.clone());
        }
        Ok(Some(Self { provider }))
    }

    /// Collects once more into the exporter's queue and stops; to be called
    /// before [`Exporter::shutdown`]. Doesn't wait for the network.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!("Observer's own last metrics were not collected: {error}");
        }
    }
}

/// The daemon's resource: the host, the user's attributes, and its name.
pub fn own_resource(settings: &OtlpSettings, host: &Resource) -> Resource {
    let name = settings.service_name.as_deref().unwrap_or("observer");
    let mut attributes = vec![
        Attribute::new("service.name", name.to_owned()),
        Attribute::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    for list in [&settings.resource_attributes, &host.attributes] {
        for attribute in list {
            if attributes.iter().all(|a| a.key != attribute.key) {
                attributes.push(attribute.clone());
            }
        }
    }
    Resource { attributes }
}

fn sdk_resource(resource: &Resource) -> SdkResource {
    let attributes = resource.attributes.iter().map(|attribute| {
        let key = attribute.key.to_string();
        match &attribute.value {
            Value::String(s) => KeyValue::new(key, s.to_string()),
            Value::Int(i) => KeyValue::new(key, *i),
            Value::Double(d) => KeyValue::new(key, *d),
            Value::Bool(b) => KeyValue::new(key, *b),
            Value::Strings(list) => {
                let list = list.iter().map(|s| s.clone().into()).collect();
                let array = opentelemetry::Array::String(list);
                KeyValue::new(key, opentelemetry::Value::Array(array))
            }
            Value::Doubles(list) => {
                let array = opentelemetry::Array::F64(list.clone());
                KeyValue::new(key, opentelemetry::Value::Array(array))
            }
        }
    });
    SdkResource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_schema_url(attributes, SCHEMA_URL)
        .build()
}

/// Where the instruments' callbacks get their figures.
struct Source {
    stats: Arc<Mutex<SelfStats>>,
    export: Box<dyn Fn() -> ExportStats + Send + Sync>,
}

impl Source {
    fn read(&self, reading: fn(&Snapshot<'_>, &mut Reading<'_>), into: &mut Reading<'_>) {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Snapshot {
            own: &stats,
            export: (self.export)(),
            // Without /proc there's nothing to say about memory and CPU.
            usage: ProcessUsage::read().ok(),
        };
        reading(&snapshot, into);
    }
}

/// Makes the instrument of a catalogue entry.
fn register(meter: &Meter, metric: &'static SelfMetric, source: Arc<Source>) {
    let def = metric.def;
    macro_rules! observe {
        ($constructor:ident, $number:ty) => {{
            meter
                .$constructor(def.name)
                .with_unit(def.unit)
                .with_description(def.description)
                .with_callback(move |observer| {
                    source.read(metric.read, &mut |value: f64, attributes: &[KeyValue]| {
                        observer.observe(value as $number, attributes);
                    });
                })
                .build();
        }};
    }
    // Whole numbers of any practical size survive the way through f64.
    match (def.instrument, metric.whole) {
        (Instrument::Counter, true) => observe!(u64_observable_counter, u64),
        (Instrument::Counter, false) => observe!(f64_observable_counter, f64),
        (Instrument::UpDownCounter, true) => observe!(i64_observable_up_down_counter, i64),
        (Instrument::UpDownCounter, false) => observe!(f64_observable_up_down_counter, f64),
        (Instrument::Gauge | Instrument::Histogram, _) => observe!(f64_observable_gauge, f64),
    }
}

/// Stands in for the network under opentelemetry-otlp's exporter.
struct QueueClient(RawMetrics);

impl std::fmt::Debug for QueueClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueClient")
    }
}

#[async_trait]
impl HttpClient for QueueClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        // The exporter reads OTEL_EXPORTER_OTLP_COMPRESSION by itself; the
        // queue compresses as its own settings say.
        let body = if parts.headers.contains_key(CONTENT_ENCODING) {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
            Bytes::from(plain)
        } else {
            body
        };
        let mut request = ExportMetricsServiceRequest::decode(&body[..])?;
        let (points, changed) = order_times(&mut request);
        match changed {
            true => self.0.export(&request.encode_to_vec(), points),
            false => self.0.export(&body, points),
        }
        Ok(Response::new(Bytes::new()))
    }
}

/// Counts points. Of those that begin after they end, since the clock was set back, when
/// they began isn't known (OpenTelemetry data model, "Cumulative streams: handling unknown
/// start time"); returns whether there is one, too.
fn order_times(request: &mut ExportMetricsServiceRequest) -> (u64, bool) {
    let (mut count, mut changed) = (0, false);
    let scopes = request.resource_metrics.iter_mut();
    let scopes = scopes.flat_map(|resource| &mut resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &mut scope.metrics) {
        let points = match &mut metric.data {
            Some(Data::Sum(sum)) => &mut sum.data_points,
            Some(Data::Gauge(gauge)) => &mut gauge.data_points,
            _ => continue,
        };
        count += points.len() as u64;
        for point in points {
            if point.start_time_unix_nano > point.time_unix_nano {
                point.start_time_unix_nano = 0;
                changed = true;
            }
        }
    }
    (count, changed)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    };

    use super::*;

    /// Checks that a point that would begin after it ends has no beginning, and others
    /// stay as they are.
    #[test]
    fn times_are_ordered() {
        let point = |start, time| NumberDataPoint {
            start_time_unix_nano: start,
            time_unix_nano: time,
            ..Default::default()
        };
        let request = |points: &[(u64, u64)]| ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![Metric {
                        data: Some(Data::Sum(Sum {
                            data_points: points.iter().map(|(s, t)| point(*s, *t)).collect(),
                            ..Default::default()
                        })),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let mut right = request(&[(5, 10), (10, 10)]);
        assert_eq!(order_times(&mut right), (2, false));
        let mut wrong = request(&[(5, 10), (11, 10)]);
        assert_eq!(order_times(&mut wrong), (2, true));
        assert_eq!(wrong, request(&[(5, 10), (0, 10)]));
    }
}
