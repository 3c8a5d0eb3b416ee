//! Signals with values that a test can recompute by itself.

use std::sync::Arc;

use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::profile::{Frame, FrameKind, Function, Line, Mapping, ProfileKind, Sample};
use observer_signals::{
    Attribute, Histogram, Instrument, Metric, MetricDef, MetricPoint, PointValue, Profile,
    Resource, Span, SpanEvent, SpanKind, SpanStatus,
};

/// 2023-11-14T22:13:20Z, the start of all series.
pub const START: u64 = 1_700_000_000_000_000_000;

static CALLS: MetricDef = MetricDef {
    name: "test.calls",
    unit: "{call}",
    instrument: Instrument::Counter,
    description: "Calls.",
    attributes: &[],
};
static LOAD: MetricDef = MetricDef {
    name: "test.load",
    unit: "1",
    instrument: Instrument::Gauge,
    description: "Load.",
    attributes: &[],
};
static DURATION: MetricDef = MetricDef {
    name: "test.duration",
    unit: "s",
    instrument: Instrument::Histogram,
    description: "Durations.",
    attributes: &[],
};

fn resource(name: &'static str) -> Arc<Resource> {
    Arc::new(Resource {
        attributes: vec![
            Attribute::new("host.name", "test-host"),
            Attribute::new("service.name", name),
        ],
    })
}

/// A counter of `series` series with value `value`, a gauge and a histogram.
pub fn metrics(time: u64, series: usize, value: i64) -> MetricBatch {
    let point = |i: usize, value| MetricPoint {
        attributes: [Attribute::new("series", i as i64)].into(),
        start: START,
        value,
        exemplars: Vec::new(),
    };
    let histogram = Histogram {
        scale: 3,
        zero_count: 1,
        zero_threshold: 1e-9,
        offset: -160,
        buckets: vec![0, 0, 5, 0, 7, 1, 0],
        sum: 0.25,
    };
    let metric = |def, points| Metric { def, points };
    MetricBatch {
        time: START + time,
        resources: vec![ResourceMetrics {
            resource: resource("workload"),
            metrics: vec![
                metric(
                    &CALLS,
                    (0..series)
                        .map(|i| point(i, PointValue::Int(value)))
                        .collect(),
                ),
                metric(&LOAD, vec![point(0, PointValue::Double(0.5))]),
                metric(&DURATION, vec![point(0, PointValue::Histogram(histogram))]),
            ],
        }],
    }
}

/// `count` spans, the first ids being `first`.
pub fn spans(first: u64, count: u64) -> Vec<Span> {
    let resource = resource("workload");
    (first..first + count)
        .map(|i| Span {
            resource: resource.clone(),
            trace_id: u128::from(i + 1).to_be_bytes(),
            span_id: (i + 1).to_be_bytes(),
            parent_span_id: if i % 2 == 0 { [0; 8] } else { [9; 8] },
            name: format!("span {i}"),
            kind: SpanKind::Client,
            start: START + i,
            end: START + i + 1000,
            attributes: vec![
                Attribute::new("network.peer.address", "192.0.2.1"),
                Attribute::new("network.peer.port", 443_i64),
            ],
            events: vec![SpanEvent {
                time: START + i + 10,
                name: "tcp.retransmit",
                attributes: vec![Attribute::new("bytes", 1448_i64)],
            }],
            dropped_events: 2,
            status: SpanStatus::Error("ECONNRESET".to_owned()),
        })
        .collect()
}

/// Two workloads, three samples, an inlined frame, a kernel frame, a link.
pub fn profile() -> Profile {
    let strings = [
        "",
        "main",
        "inner",
        "_ZN5innerE",
        "main.rs",
        "/usr/bin/app",
        "deadbeef01",
        "do_syscall",
        "[kernel.kallsyms]",
        "worker",
        "app",
        "unused",
    ];
    let line = |function, line| Line { function, line };
    let sample = |stack, resource, value, link| Sample {
        stack,
        pid: 100,
        tid: 101,
        thread: 9,
        process: 10,
        resource,
        value,
        wait: None,
        link,
        route: 0,
    };
    let arguments = ["app", "--port", "80"].map(str::to_owned);
    Profile {
        about: String::new(),
        commands: [(100, Arc::from(arguments))].into(),
        kind: ProfileKind::OnCpu,
        start: START,
        duration: 10_000_000_000,
        period: 20_408_163,
        string_table: strings.map(str::to_owned).to_vec(),
        mapping_table: vec![
            Mapping::default(),
            Mapping {
                start: 0x1000,
                end: 0x9000,
                file_offset: 0,
                path: 5,
                build_id: 6,
            },
            Mapping {
                path: 8,
                ..Default::default()
            },
        ],
        function_table: vec![
            Function::default(),
            Function {
                name: 1,
                system_name: 0,
                file: 4,
            },
            Function {
                name: 2,
                system_name: 3,
                file: 4,
            },
            Function {
                name: 7,
                ..Default::default()
            },
        ],
        frame_table: vec![
            Frame::default(),
            Frame {
                kind: FrameKind::Native,
                mapping: 1,
                address: 0x1234,
                lines: vec![line(2, 7), line(1, 42)],
            },
            Frame {
                kind: FrameKind::Kernel,
                mapping: 2,
                address: 0xffff_ffff_8100_0000,
                lines: vec![line(3, 0)],
            },
        ],
        stack_table: vec![vec![], vec![2, 1], vec![1]],
        resources: vec![resource("first"), resource("second")],
        samples: vec![
            sample(1, 0, 3, None),
            sample(2, 1, 4, Some(([7; 16], [8; 8]))),
            sample(2, 0, 5, None),
        ],
        outcomes: Vec::new(),
    }
}
