//! OTLP as a sink: all three signals, and the daemon's own telemetry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Cadence, Shutdown, Sink, Wants};
use crate::config::Config;
use crate::identity::Host;
use observer_export::otlp::telemetry::Telemetry;
use observer_export::otlp::variables::{Layer, Layers};
use observer_export::otlp::{ExportStats, Exporter, OtlpSettings, Signal};
use observer_export::self_stats::SelfStats;
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::{Profile, Span, UnixNanos};

/// Time that one exported profile covers, as receivers expect it.
const PROFILE_PERIOD: Duration = Duration::from_secs(10);

/// The way to a collector. Encodes on the agent's thread; what goes over the
/// network waits in the exporter's own queue.
pub struct Otlp {
    exporter: Exporter,
    /// The daemon's own telemetry, if wanted.
    telemetry: Option<Telemetry>,
    /// What that tells.
    own: Arc<Mutex<SelfStats>>,
    wants: Wants,
}

/// The OTLP settings that flags, environment and file make together.
///
/// # Errors
/// The first setting that can't be, by the name under which it was given.
pub fn settings(config: &Config) -> Result<OtlpSettings> {
    let layers = Layers(vec![
        Layer::given(config.otlp.flags.flag_variables()),
        Layer::environment(|name| std::env::var(name).ok()),
        Layer::given(config.otlp.file.file_variables()),
    ]);
    let mut settings = OtlpSettings::from_layers(&layers)?;
    let queue = config.otlp.flags.queue_size.or(config.otlp.file.queue_size);
    if let Some(bytes) = queue {
        settings.queue_bytes = usize::try_from(bytes.0).unwrap_or(usize::MAX);
    }
    Ok(settings)
}

/// The way to the configured endpoint, if there is one.
///
/// # Errors
/// A setting is wrong, or the exporter can't be set up.
pub(super) fn configured(config: &Config, host: &Host) -> Result<Option<Otlp>> {
    let settings = settings(config)?;
    if !settings.is_enabled() {
        return Ok(None);
    }
    let exporter = Exporter::start(&settings).context("the OTLP exporter can't be set up")?;
    let own = Arc::new(Mutex::new(SelfStats::default()));
    let telemetry = if config.own_telemetry {
        let own = Arc::clone(&own);
        Telemetry::start(&settings, &exporter, &host.daemon, config.interval, own)?
    } else {
        None
    };
    let exports = |signal| settings.signal(signal).is_some();
    let wants = Wants {
        metrics: exports(Signal::Metrics).then_some(Cadence::each(config.interval)),
        spans: exports(Signal::Traces),
        profiles: exports(Signal::Profiles).then_some(Cadence::each(PROFILE_PERIOD)),
    };
    Ok(Some(Otlp {
        exporter,
        telemetry,
        own,
        wants,
    }))
}

impl Otlp {
    /// What the exporter did and does, for whoever asks.
    pub(super) fn stats(&self) -> impl Fn() -> ExportStats + Send + Sync + 'static {
        self.exporter.stats_reader()
    }
}

impl Sink for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn metrics(&mut self, batch: &Arc<MetricBatch>, own: &SelfStats) -> Result<()> {
        if self.telemetry.is_some() {
            *self.own.lock().unwrap_or_else(PoisonError::into_inner) = own.clone();
        }
        self.exporter.export_metrics(batch);
        Ok(())
    }

    fn ended(&mut self, ended: &[ResourceMetrics], time: UnixNanos) -> Result<()> {
        self.exporter.export_ended(ended, time);
        Ok(())
    }

    fn spans(&mut self, spans: &[Span]) -> Result<()> {
        self.exporter.export_spans(spans);
        Ok(())
    }

    fn profile(&mut self, profile: &Profile) -> Result<()> {
        self.exporter.export_profile(profile);
        Ok(())
    }

    fn shutdown(self: Box<Self>, limit: Duration) -> Shutdown {
        Box::pin(async move {
            // Its last figures go through the exporter.
            if let Some(telemetry) = self.telemetry {
                telemetry.shutdown();
            }
            let stats = self.exporter.shutdown(limit).await;
            let sent: u64 = stats.signals.iter().map(|of| of.sent_requests).sum();
            let lost: u64 = stats
                .signals
                .iter()
                .map(|of| of.lost.iter().sum::<u64>())
                .sum();
            ensure!(
                sent != 0 || lost == 0,
                "nothing arrived at the OTLP endpoint: why stands in the log lines above"
            );
            Ok(())
        })
    }
}
