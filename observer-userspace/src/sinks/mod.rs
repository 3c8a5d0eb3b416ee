//! Ways out: what becomes of metrics, spans and profiles. Several work at the
//! same time; each is a [`Sink`], and [`Sinks`] hands every signal to all that
//! want it.
//!
//! To add one: its own folder, a line in [`configured`], and its options in
//! [`crate::config::layer::SinkLayer`].

mod cadence;
mod fanout;
pub(crate) mod otlp;
mod printer;
mod prometheus;
mod summary;
pub(crate) mod traces;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

pub use cadence::Cadence;
pub use fanout::{Recipients, Sinks};

use crate::config::Config;
use crate::identity::Host;
use observer_export::self_stats::SelfStats;
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::{Profile, Span, UnixNanos};
use summary::Summary;

/// Which signals a sink wants, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Batches of metrics, and the daemon's own figures with them.
    pub metrics: Option<Cadence>,
    /// Spans, as they end. Where nobody wants them none are made.
    pub spans: bool,
    /// Profiles. Each is made once for all, so one may cover less time than its
    /// sink asked for where another asked for shorter ones: profiles add up.
    pub profiles: Option<Cadence>,
}

/// Says why the daemon's loop stands, if it does.
pub type Standing = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What [`Sink::shutdown`] returns: resolves to what kept all that it took from getting
/// anywhere, if nothing did.
pub type Shutdown = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A way out.
///
/// Its methods run on the agent's thread and must not wait: what takes time
/// belongs on a task or a thread of the sink's own, behind a bounded queue. An
/// error is logged under the sink's name and touches no other; what is lost that
/// way is the sink's to count.
pub trait Sink {
    /// Its name in log lines.
    fn name(&self) -> &'static str;

    /// Asked once, before anything is attached.
    fn wants(&self) -> Wants;

    /// The first interval begins; `before` and `own` have what was counted and the
    /// daemon's figures so far.
    fn begin(&mut self, _before: &MetricBatch, _own: &SelfStats) {}

    /// The loop begins; this says, from any thread, whether it goes on.
    fn watched(&mut self, _standing: &Standing) {}

    /// Takes a batch of metrics and the daemon's own figures, all of them since
    /// the start, but for exemplars: those are of the time since the batch
    /// before. A sink may keep the batch for as long as it takes for another to come.
    ///
    /// # Errors
    /// The batch, or what went before it, can't be handed on.
    fn metrics(&mut self, _batch: &Arc<MetricBatch>, _own: &SelfStats) -> Result<()> {
        Ok(())
    }

    /// Series have ended: their last values came with an earlier batch. `time` is
    /// that of the batch that follows, in which they aren't any more.
    ///
    /// # Errors
    /// That, or what went before it, can't be handed on.
    fn ended(&mut self, _ended: &[ResourceMetrics], _time: UnixNanos) -> Result<()> {
        Ok(())
    }

    /// Takes finished spans; called several times a second even if there are
    /// none.
    ///
    /// # Errors
    /// The spans, or what went before them, can't be handed on.
    fn spans(&mut self, _spans: &[Span]) -> Result<()> {
        Ok(())
    }

    /// Takes a profile.
    ///
    /// # Errors
    /// The profile, or what went before it, can't be handed on.
    fn profile(&mut self, _profile: &Profile) -> Result<()> {
        Ok(())
    }

    /// Hands on what still waits, and resolves when that is done or `limit` is
    /// over; to an error if nothing of all that it took got anywhere.
    fn shutdown(self: Box<Self>, limit: Duration) -> Shutdown;
}

/// The sinks that the configuration asks for. Must run inside a tokio runtime.
///
/// # Errors
/// A setting is wrong, or one of them can't be set up.
pub fn configured(config: &Config, host: &Host) -> Result<Sinks> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let otlp = otlp::configured(config, host)?;
    if let Some(prometheus) = prometheus::configured(config, host, otlp.as_ref())? {
        sinks.push(Box::new(prometheus));
    }
    if let Some(otlp) = otlp {
        sinks.push(Box::new(otlp));
    }
    let others = !sinks.is_empty();
    if prints_summary(config, others) {
        let summary = Summary::start(host, config.interval, others, config.sinks.idle)?;
        sinks.push(Box::new(summary));
    }
    Ok(Sinks::new(sinks, config.interval))
}

/// Finds what is wrong with the settings of sinks before anything is started.
///
/// # Errors
/// The first setting that can't be, by the name under which it was given; or
/// nothing would leave.
pub fn check(config: &Config) -> Result<()> {
    let others = otlp::settings(config)?.is_enabled() || config.prometheus.is_some();
    ensure!(
        others || prints_summary(config, others),
        "nothing that is observed would leave: set --otlp-endpoint or --prometheus, or leave out --summary=false"
    );
    Ok(())
}

/// Whether the summary is printed, beside `others` or alone.
fn prints_summary(config: &Config, others: bool) -> bool {
    config.sinks.summary.unwrap_or(!others)
}

#[cfg(test)]
mod tests;
