//! Gathers points by workload and metric.

use std::collections::HashMap;

use crate::signals::attribute::SharedResource;
use crate::signals::metric::ResourceMetrics;
use crate::signals::{Attribute, Metric, MetricDef, MetricPoint, PointValue, UnixNanos};

/// The points of one tick, grouped as OTLP wants them.
#[derive(Default)]
pub struct MetricBuilder {
    workloads: HashMap<u16, HashMap<&'static str, Metric>>,
    host: HashMap<&'static str, Metric>,
}

impl MetricBuilder {
    /// Adds a point of a workload.
    pub fn workload(
        &mut self,
        workload: u16,
        def: &'static MetricDef,
        attributes: Vec<Attribute>,
        start: UnixNanos,
        value: PointValue,
    ) {
        push(
            self.workloads.entry(workload).or_default(),
            def,
            attributes,
            start,
            value,
        );
    }

    /// Adds a point of the host as a whole.
    pub fn host(
        &mut self,
        def: &'static MetricDef,
        attributes: Vec<Attribute>,
        start: UnixNanos,
        value: PointValue,
    ) {
        push(&mut self.host, def, attributes, start, value);
    }

    /// The result; `resource` names a workload's resource, `host` the host's.
    /// Workloads that resolve to one resource stay apart only if their
    /// resources differ, so `resource` must see to that.
    pub fn finish(
        self,
        host: SharedResource,
        mut resource: impl FnMut(u16) -> SharedResource,
    ) -> Vec<ResourceMetrics> {
        let mut out = Vec::with_capacity(self.workloads.len() + 1);
        if !self.host.is_empty() {
            out.push(ResourceMetrics {
                resource: host,
                metrics: sorted(self.host),
            });
        }
        let mut ids: Vec<u16> = self.workloads.keys().copied().collect();
        ids.sort_unstable();
        let mut workloads = self.workloads;
        for id in ids {
            if let Some(metrics) = workloads.remove(&id) {
                out.push(ResourceMetrics {
                    resource: resource(id),
                    metrics: sorted(metrics),
                });
            }
        }
        out
    }
}

fn push(
    metrics: &mut HashMap<&'static str, Metric>,
    def: &'static MetricDef,
    attributes: Vec<Attribute>,
    start: UnixNanos,
    value: PointValue,
) {
    metrics
        .entry(def.name)
        .or_insert_with(|| Metric {
            def,
            points: Vec::new(),
        })
        .points
        .push(MetricPoint {
            attributes,
            start,
            value,
        });
}

fn sorted(metrics: HashMap<&'static str, Metric>) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = metrics.into_values().collect();
    metrics.sort_by_key(|metric| metric.def.name);
    metrics
}
