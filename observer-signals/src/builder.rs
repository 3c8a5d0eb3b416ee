//! Gathers points by workload and metric.

use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use observer_common::workload::WorkloadId;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::attribute::{SharedAttributes, SharedResource};
use crate::metric::ResourceMetrics;
use crate::{Metric, MetricDef, MetricPoint, PointValue, Resource, UnixNanos};

/// Metrics of one resource: a dozen or two.
type Group = Vec<Metric>;

/// The points of one tick, grouped as OTLP wants them.
#[derive(Default)]
pub struct MetricBuilder {
    workloads: FxHashMap<WorkloadId, Group>,
    host: Group,
}

impl MetricBuilder {
    /// Adds a point of a workload.
    pub fn workload(
        &mut self,
        workload: WorkloadId,
        def: &'static MetricDef,
        attributes: impl Into<SharedAttributes>,
        start: UnixNanos,
        value: PointValue,
    ) {
        push(
            self.workloads.entry(workload).or_default(),
            def,
            point(attributes.into(), start, value),
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
        attributes: impl Into<SharedAttributes>,
        start: UnixNanos,
        value: PointValue,
    ) {
        push(&mut self.host, def, point(attributes.into(), start, value));
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
        let mut groups: FxHashMap<*const Resource, (SharedResource, Group)> = FxHashMap::default();
        let mut shared: FxHashSet<*const Resource> = FxHashSet::default();
        if !self.host.is_empty() {
            groups.insert(Arc::as_ptr(&host), (host, self.host));
        }
        // In order: seconds are added up as floating-point numbers, whose sum
        // depends on it. In one order sums of what only grows only grow; in
        // another at each tick they'd now and then fall by the last digit, which
        // readers of a counter take for a restart.
        let mut workloads: Vec<(WorkloadId, Group)> = self.workloads.into_iter().collect();
        workloads.sort_unstable_by_key(|(id, _)| *id);
        for (id, metrics) in workloads {
            let resource = resource(id);
            let (_, group) = match groups.entry(Arc::as_ptr(&resource)) {
                // The points of one workload differ from each other.
                Entry::Vacant(first) => {
                    first.insert((resource, metrics));
                    continue;
                }
                Entry::Occupied(known) => known.into_mut(),
            };
            for Metric { def, points } in metrics {
                if let Some(all) = metric(group, def) {
                    all.extend(points);
                }
            }
            shared.insert(Arc::as_ptr(&resource));
        }
        let mut out: Vec<ResourceMetrics> = groups
            .into_values()
            .map(|(resource, mut metrics)| {
                if shared.contains(&Arc::as_ptr(&resource)) {
                    for metric in &mut metrics {
                        metric.points = added_up(std::mem::take(&mut metric.points));
                    }
                }
                metrics.sort_unstable_by_key(|metric| metric.def.name);
                ResourceMetrics { resource, metrics }
            })
            .collect();
        let name = |r: &ResourceMetrics| r.resource.get_str("service.name").map(str::to_string);
        out.sort_by_cached_key(name);
        out
    }
}

/// The points in their order, those of the same attributes as one. There may be thousands.
fn added_up(points: Vec<MetricPoint>) -> Vec<MetricPoint> {
    let mut sums: Vec<MetricPoint> = Vec::with_capacity(points.len());
    let mut places: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    for point in points {
        let mut hasher = FxHasher::default();
        point.attributes.hash(&mut hasher);
        let alike = places.entry(hasher.finish()).or_default();
        let is_same = |at: &&usize| {
            let sum = sums.get(**at);
            sum.is_some_and(|sum| sum.attributes == point.attributes)
        };
        match alike.iter().find(is_same).and_then(|at| sums.get_mut(*at)) {
            Some(sum) => add(sum, point),
            None => {
                alike.push(sums.len());
                sums.push(point);
            }
        }
    }
    sums
}

/// Adds a point to one with the same attributes.
fn add(same: &mut MetricPoint, point: MetricPoint) {
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

fn point(attributes: SharedAttributes, start: UnixNanos, value: PointValue) -> MetricPoint {
    MetricPoint {
        attributes,
        start,
        value,
        exemplars: Vec::new(),
    }
}

fn push(metrics: &mut Group, def: &'static MetricDef, point: MetricPoint) {
    if let Some(points) = metric(metrics, def) {
        points.push(point);
    }
}

/// The points of a metric, which come one metric after the other.
fn metric<'a>(metrics: &'a mut Group, def: &'static MetricDef) -> Option<&'a mut Vec<MetricPoint>> {
    let is_it = |metric: &Metric| std::ptr::eq(metric.def, def);
    let known = metrics.iter().rposition(is_it);
    // A constant may be in more than one place.
    let known = known.or_else(|| metrics.iter().position(|m| m.def.name == def.name));
    let at = known.unwrap_or(metrics.len());
    if known.is_none() {
        let points = Vec::new();
        metrics.push(Metric { def, points });
    }
    metrics.get_mut(at).map(|metric| &mut metric.points)
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
                out.workload(id, &SECONDS, [], UnixNanos::default(), seconds);
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

    // Checks that of workloads of one resource points with the same attributes are one, and
    // others stay apart, in their order.
    #[test]
    fn the_same_attributes_are_one_point() {
        let one: SharedResource = Arc::new(Resource::default());
        let mut out = MetricBuilder::default();
        for id in 1..=4_i64 {
            let name = if id % 2 == 0 { "even" } else { "odd" };
            let attributes = [crate::Attribute::new("name", name)];
            let workload = WorkloadId(id as u32);
            out.workload(
                workload,
                &SECONDS,
                attributes,
                id as u64,
                PointValue::Int(id),
            );
        }
        let groups = out.finish(Arc::new(Resource::default()), |_| Arc::clone(&one));
        let points = groups[0].metrics[0].points.iter();
        let found: Vec<_> = points.map(|it| (it.start, it.value.clone())).collect();
        assert_eq!(found, [(1, PointValue::Int(4)), (2, PointValue::Int(6))]);
    }
}
