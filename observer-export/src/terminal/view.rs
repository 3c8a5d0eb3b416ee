//! Looking things up in the metrics of an interval.

use std::collections::{BTreeMap, HashSet};

use observer_signals::metric::ResourceMetrics;
use observer_signals::{Histogram, MetricPoint, PointValue, Resource, Value};

/// The metrics of one interval by name.
pub struct View<'a> {
    points: BTreeMap<&'static str, Vec<(&'a Resource, &'a MetricPoint)>>,
    workloads: usize,
}

impl<'a> View<'a> {
    /// Indexes the metrics.
    pub fn new(metrics: &'a [ResourceMetrics]) -> Self {
        let mut points: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut labels = HashSet::new();
        for resource in metrics {
            labels.insert(label(&resource.resource));
            for metric in &resource.metrics {
                points
                    .entry(metric.def.name)
                    .or_default()
                    .extend(metric.points.iter().map(|p| (&*resource.resource, p)));
            }
        }
        Self {
            points,
            workloads: labels.len(),
        }
    }

    /// Number of workloads that did anything.
    pub fn workloads(&self) -> usize {
        self.workloads
    }

    /// All points of a metric with the resource that each belongs to.
    pub fn points(&self, name: &str) -> impl Iterator<Item = (&'a Resource, &'a MetricPoint)> + '_ {
        self.points.get(name).into_iter().flatten().copied()
    }

    /// Sum of a metric's numbers over the points that `keep` accepts.
    pub fn sum(&self, name: &str, keep: impl Fn(&Resource, &MetricPoint) -> bool) -> f64 {
        self.points(name)
            .filter(|(r, p)| keep(r, p))
            // Not `sum`: that of nothing is -0.
            .fold(0.0, |sum, (_, p)| sum + number(p))
    }

    /// Merged histogram of a metric over the points that `keep` accepts.
    pub fn histogram(
        &self,
        name: &str,
        keep: impl Fn(&Resource, &MetricPoint) -> bool,
    ) -> Histogram {
        let mut merged = Histogram::default();
        for (_, point) in self.points(name).filter(|(r, p)| keep(r, p)) {
            if let PointValue::Histogram(histogram) = &point.value {
                merged.merge(histogram);
            }
        }
        merged
    }
}

/// The number of a point; of a histogram its count.
pub fn number(point: &MetricPoint) -> f64 {
    match &point.value {
        PointValue::Int(n) => *n as f64,
        PointValue::Double(n) => *n,
        PointValue::Histogram(h) => h.count() as f64,
    }
}

/// The string value of a point's attribute, empty if it has none.
pub fn attribute<'a>(point: &'a MetricPoint, key: &str) -> &'a str {
    point
        .attributes
        .iter()
        .find(|a| a.key == key)
        .map_or("", |a| {
            if let Value::String(s) = &a.value {
                s
            } else {
                ""
            }
        })
}

/// Does a point's boolean attribute hold?
pub fn is_true(point: &MetricPoint, key: &str) -> bool {
    point
        .attributes
        .iter()
        .any(|a| a.key == key && a.value == Value::Bool(true))
}

/// How a workload is called in tables: its process's own name, behind the
/// service's where that isn't just the executable's. As it came from outside.
pub fn label(resource: &Resource) -> String {
    let service = resource.get_str("service.name").unwrap_or("host");
    let executable = resource
        .get_str("process.executable.name")
        .unwrap_or(service);
    let process = resource
        .get_str("observer.workload.comm")
        .unwrap_or(executable);
    if service == executable || service == process {
        process.to_owned()
    } else {
        format!("{service}/{process}")
    }
}
