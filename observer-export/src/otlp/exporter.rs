//! The way to a collector, as the agent sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::{Client, Transport, pack, pack_encoded};
use super::metrics::MetricEncoder;
use super::queue::Request;
use super::sender::{Sender, Shared};
use super::settings::{OtlpSettings, Protocol, SignalSettings, TlsFiles};
use super::shares::{Shares, Whose};
use super::signal::{BySignal, DropCause, ExportStats, Signal};
use super::{profiles, traces};
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::{Attribute, Profile, Span, UnixNanos};

/// Encodes signals and sends them in the background.
///
/// `export_*` never wait: they encode, queue and return. A signal that the
/// settings leave out costs nothing.
pub struct Exporter {
    signals: BySignal<Option<Arc<SignalSettings>>>,
    extra: Vec<Attribute>,
    metrics: Mutex<MetricEncoder>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Exporter {
    /// Starts one small task per signal on the current tokio runtime; nothing
    /// connects before there is something to send.
    ///
    /// # Errors
    /// TLS files that can't be read or don't fit, no root certificates.
    pub fn start(settings: &OtlpSettings) -> Result<Self> {
        let shared = Shared::new(settings.queue_bytes);
        let mut transports = Transports::default();
        let mut tasks = Vec::new();
        for signal in Signal::ALL {
            let Some(own) = settings.signal(signal) else {
                continue;
            };
            let transport = transports
                .get(own)
                .with_context(|| format!("preparing the OTLP export of {}", signal.as_str()))?;
            let client = Client::new(signal, own.clone(), transport);
            let sender = Sender::new(shared.clone(), client, settings.backoff);
            tasks.push(sender);
        }
        Ok(Self {
            signals: settings.signals.clone().map(|s| s.map(Arc::new)),
            extra: settings.resource_attributes.clone(),
            metrics: Mutex::new(MetricEncoder::new(
                settings.temporality,
                settings.resource_attributes.clone(),
            )),
            shared,
            tasks: tasks
                .into_iter()
                .map(|sender| tokio::spawn(sender.run()))
                .collect(),
        })
    }

    /// Queues all points of a batch.
    pub fn export_metrics(&self, batch: &MetricBatch) {
        let points = batch
            .resources
            .iter()
            .flat_map(|r| &r.metrics)
            .map(|m| m.points.len() as u64)
            .sum();
        let signal = Signal::Metrics;
        let Some(settings) = self.ready(signal, points) else {
            return;
        };
        let mut encoder = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.encode(batch, self.queueing(signal, settings));
    }

    /// Queues that series have ended.
    pub fn export_ended(&self, ended: &[ResourceMetrics], time: UnixNanos) {
        let signal = Signal::Metrics;
        // Whatever the endpoint takes: it is forgotten here.
        let mut encoder = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = self.ready(signal, 1);
        let mut queueing = settings.map(|settings| self.queueing(signal, settings));
        encoder.encode_ended(ended, time, |message, items, shares| {
            if let Some(queueing) = &mut queueing {
                queueing(message, items, shares);
            }
        });
    }

    /// Queues spans.
    pub fn export_spans(&self, spans: &[Span]) {
        let signal = Signal::Traces;
        if let Some(settings) = self.ready(signal, spans.len() as u64) {
            traces::encode_all(spans, &self.extra, self.queueing(signal, settings));
        }
    }

    /// Queues a profile.
    pub fn export_profile(&self, profile: &Profile) {
        let signal = Signal::Profiles;
        if let Some(settings) = self.ready(signal, profile.samples.len() as u64) {
            profiles::encode_all(profile, &self.extra, |message, items, shares| {
                queue(
                    &self.shared,
                    signal,
                    pack(settings, &message),
                    items,
                    shares,
                );
            });
        }
    }

    /// A way in for metrics that somebody else encoded (the SDK's exporter);
    /// `None` when metrics aren't exported.
    pub fn raw_metrics(&self) -> Option<RawMetrics> {
        Some(RawMetrics {
            settings: self.signals[Signal::Metrics].clone()?,
            shared: self.shared.clone(),
        })
    }

    /// The queue's state and what was sent and lost since start.
    pub fn stats(&self) -> ExportStats {
        self.shared.stats()
    }

    /// A closure with the same figures, for whoever outlives a borrow.
    pub fn stats_reader(&self) -> impl Fn() -> ExportStats + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.stats()
    }

    /// Sends what can be sent within `limit`, counts the rest as lost, and
    /// returns the final figures. Returns earlier when all is sent or when an
    /// endpoint that fails has had its last chance.
    pub async fn shutdown(mut self, limit: Duration) -> ExportStats {
        let deadline = Instant::now() + limit;
        self.shared.end(deadline);
        for task in &mut self.tasks {
            if tokio::time::timeout_at(deadline, &mut *task).await.is_err() {
                task.abort();
                // Cancelled at its next await, which it is at.
                let _ = task.await;
            }
        }
        self.shared.lose_the_rest();
        self.shared.stats()
    }

    /// Queues encoded requests of a signal.
    fn queueing<'a>(
        &'a self,
        signal: Signal,
        settings: &'a SignalSettings,
    ) -> impl FnMut(&[u8], u64, &Shares) + 'a {
        move |message, items, shares| {
            let body = pack_encoded(settings, message);
            queue(&self.shared, signal, body, items, shares);
        }
    }

    fn ready(&self, signal: Signal, items: u64) -> Option<&Arc<SignalSettings>> {
        let settings = self.signals[signal].as_ref()?;
        if items == 0 {
            return None;
        }
        if !self.shared.accepts(signal) {
            self.shared.lose_unsupported(signal, items);
            return None;
        }
        Some(settings)
    }
}

impl Drop for Exporter {
    /// Without [`Exporter::shutdown`] the tasks end here, and what waits with
    /// them.
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn queue(
    shared: &Shared,
    signal: Signal,
    body: std::io::Result<bytes::Bytes>,
    items: u64,
    shares: &Shares,
) {
    match body {
        Ok(body) => shared.push(Request::new(signal, body, items, shares.clone())),
        Err(error) => {
            let why = format!("encoding failed: {error}");
            shared.lose(signal, DropCause::TooLarge, items, &why);
        }
    }
}

/// See [`Exporter::raw_metrics`].
#[derive(Clone)]
pub struct RawMetrics {
    settings: Arc<SignalSettings>,
    shared: Arc<Shared>,
}

impl RawMetrics {
    /// Queues an encoded `ExportMetricsServiceRequest` with `items` points.
    /// May be called from any thread.
    pub fn export(&self, message: &[u8], items: u64) {
        if self.shared.accepts(Signal::Metrics) {
            let body = pack_encoded(&self.settings, message);
            let shares = Shares::one(Whose::OWN);
            queue(&self.shared, Signal::Metrics, body, items, &shares);
        } else {
            self.shared.lose_unsupported(Signal::Metrics, items);
        }
    }
}

/// Transports, shared by signals that go the same way.
#[derive(Default)]
struct Transports(Vec<(Protocol, bool, TlsFiles, Arc<Transport>)>);

impl Transports {
    fn get(&mut self, settings: &SignalSettings) -> Result<Arc<Transport>> {
        let secure = settings.endpoint.scheme_str() == Some("https");
        let key = (settings.protocol, secure, &settings.tls);
        let known = self
            .0
            .iter()
            .find(|(protocol, was_secure, tls, _)| (*protocol, *was_secure, tls) == key);
        if let Some((_, _, _, transport)) = known {
            return Ok(transport.clone());
        }
        let transport = Arc::new(Transport::new(settings.protocol, &settings.tls, secure)?);
        self.0.push((
            settings.protocol,
            secure,
            settings.tls.clone(),
            transport.clone(),
        ));
        Ok(transport)
    }
}
