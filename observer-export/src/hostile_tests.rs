//! A thousand hostile names through every output, each read back by a parser of its
//! format that isn't ours.

use std::io::Read as _;
use std::sync::Arc;

use ::pprof::protos::{self, Message as _};
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use quick_xml::events::Event;

use super::terminal::{self, HottestFunctions, Interval, Lost, OwnCost, Shown};
use super::trace_lines::{Look, line, waterfall};
use super::{flamegraph, folded, pprof};
use crate::otlp::metrics::MetricEncoder;
use crate::otlp::settings::Temporality;
use crate::otlp::{profiles, traces};
use observer_signals::attribute::Resource;
use observer_signals::interner::Interner;
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use observer_signals::outside::{LONGEST, is_obeyed};
use observer_signals::profile::{Frame, Function, Line, Mapping, Sample};
use observer_signals::{
    Attribute, Instrument, Metric, MetricDef, MetricPoint, PointValue, Profile, Span, SpanKind,
    SpanStatus,
};

const NAMES: usize = 1000;

/// What names are made of: text, and what is obeyed by terminals, ends lines, strings or
/// tags, turns the direction of writing, or isn't seen.
const PARTS: [&str; 40] = [
    "main",
    "é",
    "火",
    "🦀",
    " ",
    "a b",
    "x",
    "\u{1b}[2J",
    "\u{1b}]0;x\u{7}",
    "\u{1b}[31m",
    "\u{1b}",
    "\u{1b}P1$qx\u{1b}\\",
    "\u{9b}2J",
    "\u{9d}0;x\u{9c}",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\u{8}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{ffff}",
    "\u{e0041}",
    "<",
    "&amp;",
    "]]>",
    "-->",
    "\"",
    "'",
    "\\",
    ";",
    " 7",
    "</svg>",
];

fn name(random: &mut Rng) -> String {
    let parts = match random.usize(0..50) {
        0 => 3000,
        _ => random.usize(1..8),
    };
    (0..parts)
        .map(|_| PARTS[random.usize(0..PARTS.len())])
        .collect()
}

/// A terminal that takes nothing but text, line ends and colours.
#[derive(Default)]
struct Terminal {
    text: String,
    obeyed: Vec<String>,
}

impl vte::Perform for Terminal {
    fn print(&mut self, c: char) {
        self.text.push(c);
    }
    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.text.push('\n'),
            _ => self.obeyed.push(format!("control {byte:#x}")),
        }
    }
    fn csi_dispatch(&mut self, _: &vte::Params, _: &[u8], _: bool, action: char) {
        if action != 'm' {
            self.obeyed.push(format!("CSI {action}"));
        }
    }
    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.obeyed.push("OSC".to_owned());
    }
    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        self.obeyed.push(format!("ESC {byte:#x}"));
    }
    fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, _: char) {
        self.obeyed.push("DCS".to_owned());
    }
}

/// What a terminal shows of it; fails if there is anything that it obeys.
fn on_terminal(text: &str) -> String {
    let mut terminal = Terminal::default();
    vte::Parser::new().advance(&mut terminal, text.as_bytes());
    assert_eq!(terminal.obeyed, [""; 0], "{text:?}");
    let shown = terminal.text;
    assert!(!shown.contains(|c| c != '\n' && is_obeyed(c)), "{shown:?}");
    shown
}

fn resource(name: &str) -> Arc<Resource> {
    Arc::new(Resource {
        attributes: vec![
            Attribute::new("service.name", name.to_owned()),
            Attribute::new("process.executable.name", format!("{name}x")),
            Attribute::new("observer.workload.comm", name.to_owned()),
        ],
    })
}

/// A profile whose functions, files, processes, threads and services are called so.
fn profile(names: &[String]) -> Profile {
    let mut i = Interner::new(Profile {
        about: names.first().cloned().unwrap_or_default(),
        period: 10_101_010,
        duration: 1_000_000_000,
        ..Profile::default()
    });
    for text in names {
        let id = i.string(text);
        let mapping = i.mapping(Mapping {
            start: 1,
            end: 2,
            path: id,
            ..Mapping::default()
        });
        let function = i.function(Function {
            name: id,
            ..Function::default()
        });
        let lines = vec![Line { function, line: 1 }];
        let named = i.frame(Frame {
            mapping,
            address: 1,
            lines,
            ..Frame::default()
        });
        let bare = i.frame(Frame {
            mapping,
            address: 2,
            ..Frame::default()
        });
        let resource = i.resource(&resource(text));
        for leaf in [named, bare] {
            let stack = i.stack(vec![leaf, named]);
            i.sample(Sample {
                stack,
                pid: 1,
                tid: 1,
                thread: id,
                process: id,
                resource,
                wait: None,
                value: 1,
                link: None,
                route: id,
            });
        }
    }
    i.finish()
}

fn span(name: &str) -> Span {
    Span {
        resource: resource(name),
        trace_id: [7; 16],
        span_id: [7; 8],
        parent_span_id: [0; 8],
        name: name.to_owned(),
        kind: SpanKind::Server,
        start: 0,
        end: 1_000_000,
        attributes: vec![Attribute::new("error.type", name.to_owned())],
        events: Vec::new(),
        dropped_events: 0,
        status: SpanStatus::Error(name.to_owned()),
    }
}

fn names(seed: u64) -> Vec<String> {
    let mut random = Rng::with_seed(seed);
    (0..NAMES).map(|_| name(&mut random)).collect()
}

static TIME: MetricDef = MetricDef {
    name: "observer.cpu.time",
    description: "",
    unit: "s",
    instrument: Instrument::Counter,
    attributes: &[],
};
static REQUESTS: MetricDef = MetricDef {
    name: "observer.syscall.errors",
    description: "",
    unit: "{call}",
    instrument: Instrument::Counter,
    attributes: &[],
};

/// The summary of an interval in which only `name` did something.
fn summary(name: &str, width: usize) -> Shown {
    let attributes = vec![Attribute::new("syscall.name", name.to_owned())];
    let point = |attributes: &[Attribute]| MetricPoint {
        attributes: attributes.into(),
        value: PointValue::Double(1.0),
        exemplars: Vec::new(),
        start: 0,
    };
    let metrics = [ResourceMetrics {
        resource: resource(name),
        metrics: vec![
            Metric {
                def: &TIME,
                points: vec![point(&[])],
            },
            Metric {
                def: &REQUESTS,
                points: vec![point(&attributes)],
            },
        ],
    }];
    let mut hottest = HottestFunctions::default();
    hottest.add(&profile(&[name.to_owned()]));
    terminal::render(&Interval {
        clock: "12:00:00",
        host: name,
        seconds: 1.0,
        metrics: &metrics,
        hottest: &hottest.best(),
        waits: &[],
        idle: false,
        profiles_late: false,
        own: OwnCost {
            blind: vec![name.to_owned()],
            lost: vec![Lost {
                cause: name.to_owned(),
                count: 1,
                meaning: "",
            }],
            ..OwnCost::default()
        },
        width,
        colours: true,
    })
}

/// Checks that a terminal obeys nothing in summaries, lines and waterfalls, and that no
/// name makes a line of its own.
#[test]
fn terminals_obey_nothing() {
    let look = Look {
        width: 160,
        colours: true,
        clock: |_| "12:00:00".to_owned(),
    };
    // Text that is longer than a line goes on in the next; here all lines have room.
    let wide = 1 << 20;
    let usual = on_terminal(summary("usual", wide).as_str()).lines().count();
    assert!(on_terminal(summary("usual", 160).as_str()).contains("usual 50 %"));
    for name in names(1) {
        let narrow = on_terminal(summary(&name, 160).as_str());
        let widest = narrow.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(160), "{name:?}\n{narrow}");
        let shown = on_terminal(summary(&name, wide).as_str());
        assert_eq!(shown.lines().count(), usual, "{name:?}\n{shown}");
        let shown = on_terminal(line(&span(&name), &look).as_str());
        assert_eq!(shown.lines().count(), 1, "{name:?}");
        let shown = on_terminal(waterfall(&[span(&name)], &look).as_str());
        assert_eq!(shown.lines().count(), 3, "{name:?}");
    }
}

/// Checks that an XML parser reads a flamegraph of such names to its end, that no name
/// made an element, and that nothing in it is obeyed.
#[test]
fn svg_is_whole() {
    let picture = |names: &[String]| {
        let mut svg = Vec::new();
        flamegraph::write(&profile(names), &mut svg).expect("written");
        let svg = String::from_utf8(svg).expect("UTF-8");
        let mut reader = quick_xml::Reader::from_str(&svg);
        reader.config_mut().check_end_names = true;
        let mut elements = std::collections::BTreeSet::new();
        loop {
            match reader.read_event().expect("XML") {
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = tag.attributes().map(|a| a.expect("an attribute"));
                    let keys: Vec<String> = attributes
                        .map(|a| String::from_utf8_lossy(a.key.as_ref()).into_owned())
                        .collect();
                    let tag = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                    elements.insert((tag, keys));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(!svg.contains(|c| !"\n\r\t".contains(c) && is_obeyed(c)));
        elements
    };
    let usual: Vec<String> = (0..300).map(|n| format!("name{n}")).collect();
    let usual = picture(&usual);
    for chunk in names(2).chunks(250) {
        assert!(picture(chunk).is_subset(&usual));
    }
}

/// Checks that each line of folded stacks is a stack and a number, and shows nothing that
/// is obeyed; and that pprof carries the very names.
#[test]
fn stacks_are_whole() {
    let names = names(3);
    let profile = profile(&names);
    let mut text = Vec::new();
    folded::write(&profile, &mut text).expect("written");
    let text = String::from_utf8(text).expect("UTF-8");
    let mut sum = 0;
    for line in text.split_terminator('\n') {
        let (stack, count) = line.rsplit_once(' ').expect("a count");
        assert_eq!(stack.matches(';').count(), 2, "{line:?}");
        assert!(!line.contains(is_obeyed), "{line:?}");
        sum += count.parse::<u64>().expect("a number");
    }
    assert_eq!(sum, profile.total());
    let mut gzipped = Vec::new();
    pprof::write(&profile, &mut gzipped).expect("written");
    let mut raw = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(gzipped.as_slice());
    gzip.read_to_end(&mut raw).expect("gzip");
    let read = protos::Profile::decode(raw.as_slice()).expect("a profile");
    for name in &names {
        assert!(name.len() > LONGEST || read.string_table.contains(name));
    }
    assert!(
        read.string_table
            .iter()
            .all(|text| text.len() <= LONGEST + 8)
    );
}

/// Checks that OTLP carries the very names, but for those that are too long.
#[test]
fn otlp_is_whole() {
    let names = names(4);
    let spans: Vec<Span> = names.iter().map(|name| span(name)).collect();
    let mut read = Vec::new();
    traces::encode_all(&spans, &[], |bytes, _, _| {
        let request = ExportTraceServiceRequest::decode(bytes).expect("a request");
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans);
        read.extend(scopes.flat_map(|s| s.spans));
    });
    assert_eq!(read.len(), NAMES);
    let mut told: Vec<String> = Vec::new();
    for span in read {
        let value = span.attributes[0].value.clone().and_then(|v| v.value);
        let Some(Any::StringValue(text)) = value else {
            panic!("{value:?}")
        };
        assert!(text.len() <= LONGEST);
        told.push(text);
    }
    let cut = told.iter().filter(|text| text.ends_with('…')).count();
    let long = names.iter().filter(|name| name.len() > LONGEST).count();
    assert_eq!(cut, long);
    let same = told.iter().filter(|text| names.contains(text)).count();
    assert_eq!(same, NAMES - long);
}

/// Checks that of all names, those that aren't too long were read as they are, and the others
/// cut.
fn told(names: &[String], read: &[String]) {
    let whole = read.iter().filter(|text| names.contains(text)).count();
    let long = names.iter().filter(|name| name.len() > LONGEST).count();
    let cut = read.iter().filter(|text| text.ends_with('…')).count();
    assert!(read.iter().all(|text| text.len() <= LONGEST));
    assert_eq!((whole, cut), (names.len() - long, long));
}

/// Checks that metrics carry the very names, as services and as what tells series apart, but
/// for those that are too long; each name its own series.
#[test]
fn otlp_metrics_are_whole() {
    let names = names(5);
    let resources = names.iter().map(|name| ResourceMetrics {
        resource: resource(name),
        metrics: vec![Metric {
            def: &REQUESTS,
            points: vec![MetricPoint {
                attributes: [Attribute::new("syscall.name", name.clone())].into(),
                value: PointValue::Int(1),
                exemplars: Vec::new(),
                start: 0,
            }],
        }],
    });
    let batch = MetricBatch {
        resources: resources.collect(),
        time: 9,
    };
    let (mut services, mut series) = (Vec::new(), Vec::new());
    let text = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        let value = attribute.value.clone().and_then(|v| v.value);
        let Some(Any::StringValue(text)) = value else {
            panic!("{value:?}")
        };
        text
    };
    let mut encoder = MetricEncoder::new(Temporality::Cumulative, Vec::new());
    encoder.encode(&batch, |request, _, _| {
        let request = ExportMetricsServiceRequest::decode(request).expect("a request");
        for group in request.resource_metrics {
            let resource = group.resource.expect("a resource");
            services.extend(resource.attributes.first().map(text));
            for metric in group.scope_metrics.into_iter().flat_map(|s| s.metrics) {
                let Some(Data::Sum(sum)) = metric.data else {
                    panic!("{:?}", metric.data)
                };
                let points = sum.data_points.iter();
                series.extend(points.map(|point| text(&point.attributes[0])));
            }
        }
    });
    told(&names, &services);
    told(&names, &series);
}

/// Checks that OTLP's profiles carry the very names (of functions, files, threads, services),
/// but for those that are too long, in tables whose indices all lead somewhere.
#[test]
fn otlp_profiles_are_whole() {
    let names = names(6);
    let profile = profile(&names);
    let mut texts = std::collections::BTreeSet::new();
    let (mut samples, mut services) = (0, Vec::new());
    profiles::encode_all(&profile, &[], |request, count, _| {
        let bytes = request.encode_to_vec();
        let request = ExportProfilesServiceRequest::decode(bytes.as_slice()).expect("a request");
        let tables = request.dictionary.expect("a dictionary");
        for function in &tables.function_table {
            let name = &tables.string_table[function.name_strindex as usize];
            texts.insert(name.clone());
        }
        assert!(tables.string_table.iter().all(|text| text.len() <= LONGEST));
        for group in request.resource_profiles {
            let resource = group.resource.expect("a resource");
            let value = resource.attributes[0].value.clone().and_then(|v| v.value);
            services.extend(value);
        }
        samples += count;
    });
    assert_eq!(samples, profile.samples.len() as u64);
    for name in &names {
        assert!(name.len() > LONGEST || texts.contains(name), "{name:?}");
        let is_it = |value: &Any| *value == Any::StringValue(name.clone());
        assert!(
            name.len() > LONGEST || services.iter().any(is_it),
            "{name:?}"
        );
    }
}
