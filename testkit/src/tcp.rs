//! The tcp family, attached for one test: its metrics and spans as exporters
//! would get them.

use observer_common::workload::WorkloadId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::loss::Loss;
use observer_common::names::maps;
use observer_signals::{
    Attribute, Histogram, Metric, MetricPoint, PointValue, Resource, Span, Value,
};
use observer_userspace::kernel::LoadOptions;
use observer_userspace::kernel::clock;
use observer_userspace::kernel::ring::Ring;
use observer_userspace::probes::{MetricBuilder, Probe, SpanCollector, Tick, syscalls, tcp};
use tokio::runtime::{Builder, Runtime};

use crate::kernel::{Fixture, comm};

/// Time for the last FIN and ACK, which no program waits for.
pub const SETTLE: Duration = Duration::from_millis(300);

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each sees the connections of all: one test at a time, so that none fills the
/// ring of another.
static ALONE: Mutex<()> = Mutex::new(());

/// The attached family.
pub struct Observed {
    fixture: Fixture,
    probe: tcp::Tcp,
    ring: Ring,
    // Dropped after the ring, which is registered with it.
    _runtime: Runtime,
    _alone: MutexGuard<'static, ()>,
}

impl Observed {
    /// Attaches and takes stock.
    pub fn attach() -> Result<Self> {
        Self::attach_with(&LoadOptions::default())
    }

    /// The same with options.
    pub fn attach_with(options: &LoadOptions) -> Result<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fixture = Fixture::with_options(options, &[&syscalls::SPEC, &tcp::SPEC])?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ring = {
            let _guard = runtime.enter();
            Ring::take(&mut fixture.kernel, maps::TCP_RING)?
        };
        let mut probe = tcp::Tcp::default();
        probe.start(&mut fixture.kernel)?;
        Ok(Self {
            fixture,
            probe,
            ring,
            _runtime: runtime,
            _alone: alone,
        })
    }

    /// One tick; the metrics that are nobody's.
    pub fn host_metrics(&mut self) -> Result<Metrics> {
        self.metrics_of("", None)
    }

    /// One tick; the metrics of the workloads called `name`, added up.
    pub fn metrics(&mut self, name: &str) -> Result<Metrics> {
        self.metrics_of(name, Some(name))
    }

    /// Ticks until the metrics of the workloads called `name` are as wanted, for a minute
    /// at most, and then waits for what should not come behind; those of the last tick.
    pub fn settled(&mut self, name: &str, wanted: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let begin = Instant::now();
        while !wanted(&self.metrics(name)?) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(SETTLE);
        self.metrics(name)
    }

    fn metrics_of(&mut self, name: &str, wanted: Option<&str>) -> Result<Metrics> {
        let resource = self.resource(name)?;
        self.probe.before_tick(&mut self.fixture.kernel)?;
        let tallies = self.fixture.cells.read();
        let mut builder = MetricBuilder::default();
        let tick = Tick {
            tallies: &tallies,
            clock: clock::measure(),
            resource: &|_| None,
        };
        self.probe.collect(&tick, &mut builder);
        for (cause, count) in self.fixture.kernel.losses()? {
            // A full ring loses spans, not counts; tests look at those
            // themselves. Switches may be anybody's.
            let expected = matches!(
                cause,
                Loss::TcpRingFull | Loss::SpanRateLimited | Loss::SwitchUnseen
            );
            ensure!(expected || count == 0, "{count} × {}", cause.name());
        }
        let all = builder.finish(Arc::default(), resource);
        let mine = all
            .into_iter()
            .find(|group| group.resource.get_str("comm") == wanted)
            .map(|group| group.metrics);
        Ok(Metrics(mine.unwrap_or_default()))
    }

    /// What was lost by this cause.
    pub fn lost(&mut self, cause: &str) -> Result<u64> {
        let losses = self.fixture.kernel.losses()?;
        let lost = losses.iter().find(|(loss, _)| loss.name() == cause);
        Ok(lost.context("no such cause")?.1)
    }

    /// Spans of the workloads called `name` that ended since the last call;
    /// those of others are dropped.
    pub fn spans(&mut self, name: &str) -> Result<Vec<Span>> {
        let mut spans = self.all_spans()?;
        spans.retain(|span| span.resource.get_str("comm") == Some(name));
        Ok(spans)
    }

    /// Spans that ended since the last call; the resource has the `comm`.
    pub fn all_spans(&mut self) -> Result<Vec<Span>> {
        let names: HashMap<WorkloadId, Arc<Resource>> = self
            .fixture
            .kernel
            .workloads()?
            .into_iter()
            .map(|one| (one.id, named(comm(&one.key))))
            .collect();
        let mut resource = |id| names.get(&id).cloned().unwrap_or_default();
        let mut out = SpanCollector {
            clock: clock::measure(),
            resource: &mut resource,
            spans: vec![],
            kept: vec![],
            wants_spans: true,
        };
        let Self { ring, probe, .. } = self;
        ring.drain(usize::MAX, |bytes| probe.record(bytes, &mut out));
        Ok(out.spans.into_iter().map(|(_, span)| span).collect())
    }

    /// Gives workloads called `name` one resource and all others another.
    fn resource(&mut self, name: &str) -> Result<impl FnMut(WorkloadId) -> Arc<Resource> + use<>> {
        let ids: Vec<WorkloadId> = self
            .fixture
            .kernel
            .workloads()?
            .into_iter()
            .filter(|one| comm(&one.key) == name)
            .map(|one| one.id)
            .collect();
        let (mine, others) = (named(name), named(""));
        Ok(move |id| {
            if ids.contains(&id) {
                mine.clone()
            } else {
                others.clone()
            }
        })
    }
}

fn named(comm: &str) -> Arc<Resource> {
    Arc::new(Resource {
        attributes: vec![Attribute::new("comm", comm.to_string())],
    })
}

/// The metrics of one workload at one tick.
pub struct Metrics(Vec<Metric>);

impl Metrics {
    fn points(&self, name: &str, with: &[(&str, &str)]) -> impl Iterator<Item = &MetricPoint> {
        let points = self.0.iter().filter(move |metric| metric.def.name == name);
        points
            .flat_map(|metric| &metric.points)
            .filter(move |point| {
                with.iter()
                    .all(|(key, value)| attribute(&point.attributes, key) == Some(value))
            })
    }

    /// Sum of a metric's points that have these attributes.
    pub fn sum(&self, name: &str, with: &[(&str, &str)]) -> u64 {
        self.points(name, with)
            .map(|point| match point.value {
                PointValue::Int(n) => n as u64,
                _ => 0,
            })
            .sum()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares payload bytes with what they should be.
    pub fn check_bytes(&self, network: &str, sent: u64, received: u64) -> Result<()> {
        for (direction, expected) in [("transmit", sent), ("receive", received)] {
            let with = [
                ("network.io.direction", direction),
                ("network.type", network),
            ];
            let counted = self.sum("observer.tcp.io", &with);
            ensure!(counted == expected, "{direction}: {counted} of {expected}");
        }
        Ok(())
    }

    /// The one histogram with these attributes.
    pub fn histogram(&self, name: &str, with: &[(&str, &str)]) -> Result<&Histogram> {
        match &self
            .points(name, with)
            .next()
            .context(name.to_string())?
            .value
        {
            PointValue::Histogram(histogram) => Ok(histogram),
            other => anyhow::bail!("{name} is {other:?}"),
        }
    }
}

/// The string value of an attribute.
pub fn attribute<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes
        .iter()
        .find(|a| a.key == key)
        .and_then(|a| match &a.value {
            Value::String(s) => Some(s.as_ref()),
            _ => None,
        })
}

/// The whole-number value of an attribute.
pub fn number(attributes: &[Attribute], key: &str) -> Option<i64> {
    attributes
        .iter()
        .find(|a| a.key == key)
        .and_then(|a| match a.value {
            Value::Int(n) => Some(n),
            _ => None,
        })
}
