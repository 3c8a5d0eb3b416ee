//! What the tests of expositions encode.

use std::sync::Arc;

use observer_signals::metric::{Exemplar, Metric, MetricBatch, ResourceMetrics};
use observer_signals::{
    Attribute, Histogram, Instrument, MetricDef, MetricPoint, PointValue, Resource,
};

use super::Snapshot;

/// A name that would end a label, a line and the exposition if it could.
pub(super) const HOSTILE: &str = "a\"} 7\n# EOF\n\\\u{202e}é\u{0}";

const fn def(
    name: &'static str,
    unit: &'static str,
    instrument: Instrument,
    description: &'static str,
) -> MetricDef {
    MetricDef {
        name,
        unit,
        instrument,
        description,
        attributes: &[],
    }
}

static CALLS: MetricDef = def(
    "x.calls",
    "{call}",
    Instrument::Counter,
    "Calls.\n\"all\" \\",
);
static IO: MetricDef = def("x.io", "By", Instrument::UpDownCounter, "Bytes.");
static FULL: MetricDef = def("x.full", "1", Instrument::Gauge, "How full.");
static TIME: MetricDef = def("x.time", "s", Instrument::Histogram, "Times.");

pub(super) fn exemplar(value: f64) -> Exemplar {
    Exemplar {
        time: 1_700_000_000_500_000_000,
        value,
        trace_id: [0xab; 16],
        span_id: [0xcd; 8],
    }
}

fn point(value: PointValue, attributes: Vec<Attribute>) -> MetricPoint {
    MetricPoint {
        attributes: attributes.into(),
        start: 1_600_000_000_000_000_000,
        value,
        exemplars: Vec::new(),
    }
}

/// One of each kind of metric of a service with that name, and one of the host's.
pub(super) fn snapshot(service: &str) -> Snapshot {
    let histogram = Histogram {
        scale: 2,
        zero_count: 1,
        zero_threshold: 0.000_000_007,
        offset: -8,
        // Up to 2^-1.75, 2^-1.5 and 2^1.
        buckets: vec![2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
        sum: 8.5,
    };
    let calls = MetricPoint {
        exemplars: vec![exemplar(1.0)],
        ..point(PointValue::Int(42), vec![Attribute::new("route", HOSTILE)])
    };
    let time = MetricPoint {
        exemplars: vec![exemplar(0.29), exemplar(1.5), exemplar(1.75)],
        ..point(PointValue::Histogram(histogram), Vec::new())
    };
    let metric = |def, points| Metric { def, points };
    let group = |attributes, metrics| ResourceMetrics {
        resource: Arc::new(Resource { attributes }),
        metrics,
    };
    let named = vec![
        Attribute::new("service.name", service.to_owned()),
        Attribute::new("service.instance.id", "i-1"),
        Attribute::new("host.name", "h"),
    ];
    let resources = vec![
        group(
            named,
            vec![
                metric(&CALLS, vec![calls]),
                metric(&IO, vec![point(PointValue::Int(-3), Vec::new())]),
                metric(&TIME, vec![time]),
            ],
        ),
        group(
            vec![Attribute::new("host.name", "h")],
            vec![
                metric(&FULL, vec![point(PointValue::Double(0.25), Vec::new())]),
                metric(&CALLS, vec![point(PointValue::Int(1), Vec::new())]),
            ],
        ),
    ];
    let time = 1_700_000_001_000_000_000;
    Snapshot {
        batch: Arc::new(MetricBatch { time, resources }),
        own: Vec::new(),
    }
}
