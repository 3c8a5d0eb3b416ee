//! Metrics for tests of sections.

use super::view::View;
use super::{Interval, Shown};
use observer_signals::attribute::SharedResource;
use observer_signals::metric::{Metric, ResourceMetrics};
use observer_signals::{Attribute, Instrument, MetricDef, MetricPoint, PointValue, Resource};

/// A definition, of which sections read only the name.
pub const fn definition(name: &'static str) -> MetricDef {
    MetricDef {
        name,
        unit: "",
        instrument: Instrument::Counter,
        description: "",
        attributes: &[],
    }
}

/// A point with these attributes.
pub fn point(attributes: &[(&'static str, &'static str)], value: PointValue) -> MetricPoint {
    let attributes = attributes.iter();
    MetricPoint {
        attributes: attributes
            .map(|(key, value)| Attribute::new(*key, *value))
            .collect(),
        start: 0,
        value,
        exemplars: Vec::new(),
    }
}

/// The metrics of a service.
pub fn service(
    name: &'static str,
    metrics: impl IntoIterator<Item = (&'static MetricDef, Vec<MetricPoint>)>,
) -> ResourceMetrics {
    let metrics = metrics.into_iter();
    ResourceMetrics {
        resource: SharedResource::new(Resource {
            attributes: vec![Attribute::new("service.name", name)],
        }),
        metrics: metrics
            .map(|(def, points)| Metric { def, points })
            .collect(),
    }
}

/// Words of a section of these metrics, in ten seconds, on a terminal of this width, into
/// which each of its lines must fit.
pub fn words(
    section: fn(&View<'_>, &Interval<'_>) -> Option<Shown>,
    metrics: &[ResourceMetrics],
    width: usize,
) -> String {
    let shown = shown(section, metrics, width);
    let widest = shown.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(width), "{shown}");
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The section itself.
pub fn shown(
    section: fn(&View<'_>, &Interval<'_>) -> Option<Shown>,
    metrics: &[ResourceMetrics],
    width: usize,
) -> String {
    let interval = Interval {
        seconds: 10.0,
        metrics,
        width,
        ..Interval::default()
    };
    let shown = section(&View::new(metrics), &interval).expect("a section");
    shown.as_str().to_owned()
}
