//! The daemon's own figures as points, from the catalogue that OTLP's are made of.

use observer_signals::attribute::SharedResource;
use observer_signals::metric::{Metric, ResourceMetrics};
use observer_signals::{Attribute, Instrument, MetricPoint, PointValue, UnixNanos};

use crate::otlp::ExportStats;
use crate::otlp::self_metrics::{CATALOGUE, SelfMetric, Snapshot};
use crate::self_stats::SelfStats;

/// What metrics about the way to a collector begin with.
const EXPORT: &str = "observer.export.";

/// All of them; those about the way to a collector only if there is one, `export`.
/// `start` is when the daemon began to count.
pub fn own_metrics(
    resource: SharedResource,
    own: &SelfStats,
    export: Option<ExportStats>,
    start: UnixNanos,
) -> ResourceMetrics {
    let snapshot = Snapshot {
        own,
        export: export.unwrap_or_default(),
        usage: Some(own.usage),
    };
    let told = CATALOGUE
        .iter()
        .filter(|metric| export.is_some() || !metric.def.name.starts_with(EXPORT));
    let metrics = told.map(|metric| Metric {
        def: metric.def,
        points: points(metric, &snapshot, start),
    });
    ResourceMetrics {
        resource,
        metrics: metrics.collect(),
    }
}

fn points(metric: &SelfMetric, snapshot: &Snapshot<'_>, start: UnixNanos) -> Vec<MetricPoint> {
    let whole = metric.whole && metric.def.instrument != Instrument::Gauge;
    let mut points = Vec::new();
    (metric.read)(snapshot, &mut |value, attributes| {
        let attributes = attributes.iter().map(|pair| {
            let (key, value) = (pair.key.to_string(), pair.value.to_string());
            Attribute::new(key, value)
        });
        points.push(MetricPoint {
            attributes: attributes.collect(),
            start,
            value: match whole {
                true => PointValue::Int(value as i64),
                false => PointValue::Double(value),
            },
            exemplars: Vec::new(),
        });
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::self_stats::ProbeLoss;

    /// Checks that a figure is told with its attributes, and the way to a collector only
    /// where there is one.
    #[test]
    fn figures_are_points() {
        let own = SelfStats {
            losses: vec![ProbeLoss {
                probe: "tcp".to_owned(),
                cause: "ring_full".to_owned(),
                count: 7,
                ..ProbeLoss::default()
            }],
            ..SelfStats::default()
        };
        let of = |export| own_metrics(SharedResource::default(), &own, export, 5);
        let alone = of(None);
        let lost = alone
            .metrics
            .iter()
            .find(|m| m.def.name == "observer.probe.lost");
        let [point] = lost.map(|m| m.points.as_slice()).expect("losses") else {
            panic!("one series");
        };
        assert_eq!((&point.value, point.start), (&PointValue::Int(7), 5));
        let keys: Vec<_> = point.attributes.iter().map(|a| a.key.as_ref()).collect();
        assert_eq!(keys, ["observer.probe", "error.type"]);
        let exports = |of: ResourceMetrics| {
            let names = of.metrics.into_iter().map(|m| m.def.name);
            names.filter(|name| name.starts_with(EXPORT)).count()
        };
        assert_eq!(exports(alone), 0);
        assert!(exports(of(Some(ExportStats::default()))) > 4);
    }
}
