//! Where the signals leave: to an OTLP endpoint, or to the terminal when none
//! is configured; spans alone, line by line, for `observer trace`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};

use super::health::{Health, Stopwatch};
use super::lines::Lines;
use crate::config::Config;
use crate::export::otlp::delta::Delta;
use crate::export::otlp::variables::{Layer, Layers};
use crate::export::telemetry::Telemetry;
use crate::export::terminal::{self, OwnCost};
use crate::export::{Exporter, OtlpSettings};
use crate::identity::Host;
use crate::signals::metric::{MetricBatch, ResourceMetrics};
use crate::signals::profile::ProfileKind;
use crate::signals::{Instrument, Metric, Profile, Span};

/// Time that one exported profile covers.
const PROFILE_PERIOD: Duration = Duration::from_secs(10);

/// The first summary on a terminal comes no later.
const FIRST_SUMMARY: Duration = Duration::from_secs(5);

/// So long before a summary a profile ends: looking its symbols up takes a
/// moment, and the summary shows the hottest functions.
const NAMING_TIME: Duration = Duration::from_secs(1);

/// The way out.
pub enum Outlet {
    /// To an OTLP endpoint.
    Otlp {
        /// The signals.
        exporter: Exporter,
        /// The daemon's own telemetry, if wanted.
        telemetry: Option<Telemetry>,
    },
    /// To standard output.
    Terminal(Box<Summary>),
    /// Spans only, to standard output.
    Lines(Box<Lines>),
}

/// The OTLP settings that flags, environment and file make together.
///
/// # Errors
///
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

impl Outlet {
    /// OTLP if an endpoint is configured, else the terminal.
    pub fn new(config: &Config, host: &Host, health: &Health) -> Result<Self> {
        let settings = settings(config)?;
        if !settings.is_enabled() {
            return Ok(Self::Terminal(Box::new(Summary::new(host))));
        }
        let exporter = Exporter::start(&settings).context("the OTLP exporter can't be set up")?;
        let telemetry = if config.own_telemetry {
            Telemetry::start(
                &settings,
                &exporter,
                &host.daemon,
                config.interval,
                health.shared(),
            )?
        } else {
            None
        };
        Ok(Self::Otlp {
            exporter,
            telemetry,
        })
    }

    /// How often profiles are handed on: as receivers expect them, but on the
    /// terminal with each summary.
    pub fn profile_period(&self, interval: Duration) -> Duration {
        match self {
            Self::Otlp { .. } => PROFILE_PERIOD,
            Self::Terminal(_) | Self::Lines(_) => interval,
        }
    }

    /// How long the first interval is: nobody at a terminal likes to wait.
    pub fn first_interval(&self, interval: Duration) -> Duration {
        match self {
            Self::Otlp { .. } | Self::Lines(_) => interval,
            Self::Terminal(_) => interval.min(FIRST_SUMMARY),
        }
    }

    /// How long the first profile is.
    pub fn first_profile(&self, interval: Duration) -> Duration {
        match self {
            Self::Otlp { .. } | Self::Lines(_) => PROFILE_PERIOD,
            Self::Terminal(_) => {
                let first = self.first_interval(interval);
                first.saturating_sub(NAMING_TIME.min(first / 4))
            }
        }
    }

    /// The first interval begins now.
    pub fn begin(&mut self) {
        if let Self::Terminal(summary) = self {
            summary.watch.lap();
        }
    }

    /// Hands on an interval's metrics.
    pub fn metrics(&mut self, batch: &MetricBatch, own: OwnCost) {
        match self {
            Self::Otlp { exporter, .. } => exporter.export_metrics(batch),
            Self::Terminal(summary) => summary.print(batch, own),
            Self::Lines(_) => {}
        }
    }

    /// Whether spans go anywhere.
    pub fn takes_spans(&self) -> bool {
        !matches!(self, Self::Terminal(_))
    }

    /// Hands on spans, several times a second even if there are none; the
    /// terminal's summary has no place for them.
    pub fn spans(&mut self, spans: Vec<Span>) {
        match self {
            Self::Otlp { exporter, .. } => exporter.export_spans(&spans),
            Self::Terminal(_) => {}
            Self::Lines(lines) => lines.take(spans),
        }
    }

    /// Hands on a profile; on the terminal it becomes the hottest functions.
    pub fn profile(&mut self, profile: &Profile) {
        match self {
            Self::Otlp { exporter, .. } => exporter.export_profile(profile),
            Self::Terminal(summary) => summary.learn(profile),
            Self::Lines(_) => {}
        }
    }

    /// Sends what waits, within `limit`.
    pub async fn shutdown(self, limit: Duration) {
        match self {
            Self::Otlp {
                exporter,
                telemetry,
            } => {
                if let Some(telemetry) = telemetry {
                    telemetry.shutdown();
                }
                exporter.shutdown(limit).await;
            }
            Self::Terminal(_) => {}
            Self::Lines(lines) => lines.end(),
        }
    }
}

/// The summary on standard output.
pub struct Summary {
    host: String,
    delta: Delta,
    watch: Stopwatch,
    hottest: Vec<(String, Vec<(String, f64)>)>,
    waits: Vec<terminal::Waits>,
}

impl Summary {
    fn new(host: &Host) -> Self {
        let host = host
            .daemon
            .get_str("host.name")
            .unwrap_or("this host")
            .to_string();
        Self {
            host,
            delta: Delta::default(),
            watch: Stopwatch::start(),
            hottest: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn learn(&mut self, profile: &Profile) {
        match profile.kind {
            ProfileKind::OnCpu => self.hottest = terminal::hottest(profile),
            ProfileKind::OffCpu | ProfileKind::Wall => self.waits = terminal::waits(profile),
        }
    }

    fn print(&mut self, batch: &MetricBatch, own: OwnCost) {
        let seconds = self.watch.lap().as_secs_f64().max(1e-3);
        let out = std::io::stdout();
        let colours = out.is_terminal() && crate::logging::colours_wanted();
        let width = if out.is_terminal() {
            terminal::width().unwrap_or(100)
        } else {
            160
        };
        let metrics = self.added(batch);
        let text = terminal::render(&terminal::Interval {
            clock: &terminal::local_time(batch.time),
            host: &self.host,
            seconds,
            metrics: &metrics,
            hottest: &self.hottest,
            waits: &self.waits,
            own,
            width,
            colours,
        });
        // A closed pipe is nobody's mistake: the daemon goes on.
        let _ = writeln!(out.lock(), "{text}");
    }

    /// What was added since the batch before; gauges as they are.
    fn added(&mut self, batch: &MetricBatch) -> Vec<ResourceMetrics> {
        let mut added = Vec::with_capacity(batch.resources.len());
        for group in &batch.resources {
            let resource = Delta::resource_key(&group.resource);
            let mut metrics = Vec::new();
            for metric in &group.metrics {
                let levels = matches!(
                    metric.def.instrument,
                    Instrument::Gauge | Instrument::UpDownCounter
                );
                let points: Vec<_> = metric
                    .points
                    .iter()
                    .filter_map(|point| {
                        if levels {
                            return Some(point.clone());
                        }
                        let key = Delta::series_key(resource, metric.def, &point.attributes);
                        self.delta.step(key, point, batch.time)
                    })
                    .collect();
                if !points.is_empty() {
                    metrics.push(Metric {
                        def: metric.def,
                        points,
                    });
                }
            }
            if !metrics.is_empty() {
                added.push(ResourceMetrics {
                    resource: group.resource.clone(),
                    metrics,
                });
            }
        }
        self.delta.end_batch(batch.time);
        added
    }
}
