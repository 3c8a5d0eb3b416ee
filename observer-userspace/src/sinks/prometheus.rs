//! Prometheus as a sink: the newest batch, for who scrapes.
//!
//! The agent's thread hands a pointer over; what is made of it is the server's business.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::otlp::Otlp;
use super::{Cadence, Shutdown, Sink, Standing, Wants};
use crate::config::Config;
use crate::identity::Host;
use observer_export::degraded::Degradation;
use observer_export::otlp::ExportStats;
use observer_export::otlp::telemetry::own_resource;
use observer_export::prometheus::Snapshot;
use observer_export::prometheus::answers::Shared;
use observer_export::prometheus::guard::Token;
use observer_export::prometheus::own::own_metrics;
use observer_export::prometheus::server::Server;
use observer_export::prometheus::tls::server_config;
use observer_export::self_stats::SelfStats;
use observer_signals::UnixNanos;
use observer_signals::attribute::SharedResource;
use observer_signals::metric::MetricBatch;

/// Without OTLP the first figures come no later: nobody likes to wait for the first scrape.
const FIRST: Duration = Duration::from_secs(1);

/// The server, and what it is given.
pub(super) struct Prometheus {
    shared: Arc<Shared>,
    _server: Server,
    wants: Wants,
    /// Whom the daemon's own figures are about, if they are told.
    own: Option<SharedResource>,
    /// What the way to a collector did, if there is one.
    export: Option<Box<dyn Fn() -> ExportStats + Send + Sync>>,
    degradation: Degradation,
    /// When the daemon began to count.
    start: UnixNanos,
}

/// The server at the configured address, if there is one. It answers from now on.
///
/// # Errors
/// The address can't be had, or a file can't be read.
pub(super) fn configured(
    config: &Config,
    host: &Host,
    otlp: Option<&Otlp>,
) -> Result<Option<Prometheus>> {
    let Some(settings) = &config.prometheus else {
        return Ok(None);
    };
    let token = settings
        .token_file
        .as_deref()
        .map(Token::read)
        .transpose()?;
    let tls = settings.tls.as_ref();
    let tls = tls.map(|(certificate, key)| server_config(certificate, key));
    let shared = Arc::new(Shared {
        token,
        ..Shared::default()
    });
    let server = Server::start(settings.address, tls.transpose()?, Arc::clone(&shared))?;
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let address = server.address();
    tracing::info!("Prometheus can scrape {scheme}://{address}/metrics");
    // At the same ticks as OTLP, with the same points.
    let first = match otlp {
        Some(_) => config.interval,
        None => config.interval.min(FIRST),
    };
    let resource = own_resource(&super::otlp::settings(config)?, &host.daemon);
    Ok(Some(Prometheus {
        shared,
        _server: server,
        wants: Wants {
            metrics: Some(Cadence {
                first,
                period: config.interval,
            }),
            ..Wants::default()
        },
        own: config.own_telemetry.then(|| Arc::new(resource)),
        export: otlp.map(|otlp| Box::new(otlp.stats()) as Box<_>),
        degradation: Degradation::default(),
        start: 0,
    }))
}

impl Prometheus {
    fn publish(&mut self, batch: Arc<MetricBatch>, own: &SelfStats) {
        let export = self.export.as_ref().map(|read| read());
        let degraded = self.degradation.look(own, export.as_ref());
        let resource = self.own.clone();
        let own = resource.map(|of| own_metrics(of, own, export, self.start));
        self.shared.board.publish(Snapshot {
            batch,
            own: own.into_iter().collect(),
        });
        self.shared.health.observing(degraded);
    }
}

impl Sink for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn watched(&mut self, standing: &Standing) {
        let standing = Arc::clone(standing);
        self.shared.health.watched(Box::new(move || standing()));
    }

    fn begin(&mut self, before: &MetricBatch, own: &SelfStats) {
        self.start = before.time;
        // Of workloads nothing before their first interval: what they are called may change.
        let nothing = MetricBatch {
            time: before.time,
            resources: Vec::new(),
        };
        self.publish(Arc::new(nothing), own);
    }

    fn metrics(&mut self, batch: &Arc<MetricBatch>, own: &SelfStats) -> Result<()> {
        self.publish(Arc::clone(batch), own);
        Ok(())
    }

    fn shutdown(self: Box<Self>, _limit: Duration) -> Shutdown {
        Box::pin(async { Ok(()) })
    }
}
