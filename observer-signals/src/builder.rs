//! Gathers points by workload and metric.

use observer_common::workload::WorkloadId;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::attribute::SharedResource;
use crate::metric::ResourceMetrics;
use crate::{Attribute, Metric, MetricDef, MetricPoint, PointValue, Resource, UnixNanos};

/// Metrics of one resource by name.
type Group = HashMap<&'static str, Metric>;

/// The points of one tick, grouped as OTLP wants them.
#[derive(Default)]
pub struct MetricBuilder {
    /// In order: seconds are added up as floating-point numbers, whose sum
    /// depends on it. In one order sums of what only grows only grow; in
    /// another at each tick they'd now and then fall by the last digit, which
    /// readers of a counter take for a restart.
    workloads: BTreeMap<WorkloadId, Group>,
    host: Group,
}

impl MetricBuilder {
    /// Adds a point of a workload.
    pub fn workload(
        &mut self,
        workload: WorkloadId,
        def: &'static MetricDef,
        attributes: Vec<Attribute>,
        start: UnixNanos,
        value: PointValue,
    ) {
        push(
            self.workloads.entry(workload).or_default(),
            def,
            point(attributes, start, value),
        );
    }

    /// Adds a point of a workload with some of the values that it is made of.
    pub fn workload_point(
        &mut self,
        workload: WorkloadId,
        def: &'static MetricDef,
        point: MetricPoint,
    ) {
        push(self.workloads.entry(workload).or_default(), def, point);
    }

    /// Adds a point of the host as a whole.
    pub fn host(
        &mut self,
        def: &'static MetricDef,
        attributes: Vec<Attribute>,
        start: UnixNanos,
        value: PointValue,
    ) {
        push(&mut self.host, def, point(attributes, start, value));
    }

    /// The workloads that have points.
    pub fn workloads(&self) -> impl Iterator<Item = WorkloadId> {
        self.workloads.keys().copied()
    }

    /// Keeps the points of those workloads only.
    pub fn retain(&mut self, mut keep: impl FnMut(WorkloadId) -> bool) {
        self.workloads.retain(|id, _| keep(*id));
    }

    /// The result; `resource` names a workload's resource, `host` the host's.
    /// Workloads that share a resource (by pointer) are one to whoever reads
    /// it, so their series are added up.
    pub fn finish(
        self,
        host: SharedResource,
        mut resource: impl FnMut(WorkloadId) -> SharedResource,
    ) -> Vec<ResourceMetrics> {
        let mut groups: HashMap<*const Resource, (SharedResource, Group)> = HashMap::new();
        if !self.host.is_empty() {
            groups.insert(Arc::as_ptr(&host), (host, self.host));
        }
        for (id, metrics) in self.workloads {
            let resource = resource(id);
            let (_, group) = match groups.entry(Arc::as_ptr(&resource)) {
                // The points of one workload differ from each other.
                Entry::Vacant(first) => {
                    first.insert((resource, metrics));
                    continue;
                }
                Entry::Occupied(shared) => shared.into_mut(),
            };
            for (name, metric) in metrics {
                let shared = group.entry(name).or_insert_with(|| Metric {
                    def: metric.def,
                    points: vec![],
                });
                for point in metric.points {
                    add(&mut shared.points, point);
                }
            }
        }
        let mut out: Vec<ResourceMetrics> = groups
            .into_values()
            .map(|(resource, group)| ResourceMetrics {
                resource,
                metrics: sorted(group),
            })
            .collect();
        out.sort_by(|a, b| {
            let name = |r: &ResourceMetrics| r.resource.get_str("service.name").map(str::to_string);
            name(a).cmp(&name(b))
        });
        out
    }
}

/// Adds a point to the one with the same attributes, if there is one.
fn add(points: &mut Vec<MetricPoint>, point: MetricPoint) {
    let Some(same) = points.iter_mut().find(|p| p.attributes == point.attributes) else {
        points.push(point);
        return;
    };
    same.start = same.start.min(point.start);
    same.exemplars.extend(point.exemplars);
    match (&mut same.value, point.value) {
        (PointValue::Int(sum), PointValue::Int(n)) => *sum = sum.saturating_add(n),
        (PointValue::Double(sum), PointValue::Double(n)) => *sum += n,
        (PointValue::Histogram(sum), PointValue::Histogram(h)) => sum.merge(&h),
        // One metric has one type of value.
        _ => {}
    }
}

fn point(attributes: Vec<Attribute>, start: UnixNanos, value: PointValue) -> MetricPoint {
    MetricPoint {
        attributes,
        start,
        value,
        exemplars: Vec::new(),
    }
}

fn push(metrics: &mut Group, def: &'static MetricDef, point: MetricPoint) {
    let metric = metrics.entry(def.name).or_insert_with(|| Metric {
        def,
        points: Vec::new(),
    });
    metric.points.push(point);
}

fn sorted(metrics: Group) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = metrics.into_values().collect();
    metrics.sort_by_key(|metric| metric.def.name);
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instrument;

    static SECONDS: MetricDef = MetricDef {
        name: "test.seconds",
        unit: "s",
        instrument: Instrument::Counter,
        description: "",
        attributes: &[],
    };

    // Checks that the sum over workloads of one resource doesn't depend on the
    // order in which they come or a hash puts them: a counter may not fall.
    #[test]
    fn sums_of_one_resource_are_the_same_at_each_tick() {
        let one: SharedResource = Arc::new(Resource::default());
        let sum = |ids: &mut dyn Iterator<Item = WorkloadId>| {
            let mut out = MetricBuilder::default();
            for id in ids {
                let seconds = PointValue::Double(1.0 / f64::from(id.0));
                out.workload(id, &SECONDS, vec![], UnixNanos::default(), seconds);
            }
            let groups = out.finish(Arc::new(Resource::default()), |_| Arc::clone(&one));
            groups[0].metrics[0].points[0].value.clone()
        };
        let wanted: f64 = (1..200u32).map(|id| 1.0 / f64::from(id)).sum();
        for _ in 0..20 {
            assert_eq!(
                sum(&mut (1..200).map(WorkloadId)),
                PointValue::Double(wanted)
            );
            assert_eq!(
                sum(&mut (1..200).rev().map(WorkloadId)),
                PointValue::Double(wanted)
            );
        }
    }
}
