//! What a collector got: spans, the last value of each series, links of samples.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::Result;
use observer_export::otlp::Signal;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exemplar;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::collector::{Collector, number, text};

/// Kinds of spans, as OTLP counts them.
pub mod kind {
    /// It was asked.
    pub const SERVER: i32 = 2;
    /// It asked.
    pub const CLIENT: i32 = 3;
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A real number.
    Real(f64),
    /// Strings.
    Texts(Vec<String>),
    /// Something else.
    Other,
}

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// A span.
#[derive(Clone)]
pub struct Span {
    /// Its resource's service.name.
    pub service: String,
    /// Its resource.
    pub resource: Attributes,
    /// Trace id, 16 bytes.
    pub trace: Vec<u8>,
    /// Span id, 8 bytes.
    pub id: Vec<u8>,
    /// Its parent's, empty without one.
    pub parent: Vec<u8>,
    /// One of [`kind`].
    pub kind: i32,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Its attributes.
    pub attributes: Attributes,
    /// 2 is an error.
    pub status: i32,
}

/// Reads attributes.
pub trait Attributed {
    /// All of them.
    fn attributes(&self) -> &Attributes;

    /// A string; empty if there is none.
    fn text(&self, key: &str) -> &str {
        match self.attributes().get(key) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// A whole number.
    fn int(&self, key: &str) -> Option<i64> {
        match self.attributes().get(key) {
            Some(Value::Int(n)) => Some(*n),
            _ => None,
        }
    }

    /// A number.
    fn real(&self, key: &str) -> Option<f64> {
        match self.attributes().get(key) {
            Some(Value::Real(x)) => Some(*x),
            Some(Value::Int(n)) => Some(*n as f64),
            _ => None,
        }
    }
}

impl Span {
    /// The path of its URL, without the query; empty if it has none.
    pub fn path(&self) -> &str {
        let path = self.text("url.path");
        if !path.is_empty() {
            return path;
        }
        // Clients have the whole.
        let rest = self
            .text("url.full")
            .split_once("://")
            .map_or("", |(_, rest)| rest);
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        path.split('?').next().unwrap_or(path)
    }

    /// How long it took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.end.saturating_sub(self.start) as f64 / 1e9
    }

    /// Of a span's attributes, those that say where its time went, in seconds.
    pub fn times(&self) -> BTreeMap<String, f64> {
        let times = self.attributes.keys().filter_map(|key| {
            let name = key.strip_prefix("observer.time.")?;
            Some((name.to_owned(), self.real(key)?))
        });
        times.collect()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let kind = match self.kind {
            kind::SERVER => "server",
            kind::CLIENT => "client",
            _ => "other",
        };
        write!(
            f,
            "{} {kind} {:?} {:.6} s, trace {} span {} parent {} status {}",
            self.service,
            self.name,
            self.seconds(),
            hex(&self.trace),
            hex(&self.id),
            hex(&self.parent),
            self.status
        )?;
        for (key, value) in &self.attributes {
            match value {
                Value::Text(text) => write!(f, ", {key}={text}")?,
                Value::Int(n) => write!(f, ", {key}={n}")?,
                Value::Real(x) => write!(f, ", {key}={x}")?,
                Value::Texts(texts) => write!(f, ", {key}={texts:?}")?,
                Value::Other => write!(f, ", {key}=…")?,
            }
        }
        Ok(())
    }
}

impl Attributed for Span {
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// The last value of a series.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// Its resource's service.name.
    pub service: String,
    /// The name of its resource's processes, or of their executable where that is the
    /// same.
    pub process: String,
    /// The metric.
    pub metric: String,
    /// Its attributes.
    pub attributes: Attributes,
    /// A histogram's count, or the value.
    pub value: f64,
    /// A histogram's sum.
    pub sum: f64,
    /// `(trace, span, value)` of all exemplars that ever came.
    pub exemplars: Vec<(Vec<u8>, Vec<u8>, f64)>,
}

impl Point {
    /// Whether it has these attributes, numbers as text.
    fn has(&self, with: &[(&str, &str)]) -> bool {
        let mut with = with.iter();
        with.all(|(key, value)| match self.attributes.get(*key) {
            Some(Value::Text(text)) => text == value,
            Some(Value::Int(n)) => n.to_string() == *value,
            _ => false,
        })
    }
}

impl Attributed for Point {
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// What tells one series from the others.
pub type Series = (String, String, String);

/// A sample of a profile.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its resource's service.name.
    pub service: String,
    /// Names of its functions, leaf first.
    pub functions: Vec<String>,
    /// How many.
    pub count: i64,
    /// `(trace, span)`.
    pub link: Option<(Vec<u8>, Vec<u8>)>,
    /// Its attributes.
    pub attributes: Attributes,
}

impl Attributed for Sample {
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// Everything.
#[derive(Debug, Default)]
pub struct Seen {
    /// Spans of requests, in the order in which they came.
    pub spans: Vec<Span>,
    /// Series.
    pub points: HashMap<Series, Point>,
    /// Samples of time on CPU.
    pub samples: Vec<Sample>,
    /// Times off CPU, in nanoseconds.
    pub waits: Vec<Sample>,
    /// What the daemon said.
    pub log: String,
}

impl Seen {
    /// Decodes what came so far.
    pub fn decode(collector: &Collector) -> Result<Self> {
        let mut seen = Self::default();
        let receiver = collector.receiver();
        for request in receiver.taken(Signal::Traces) {
            seen.traces(ExportTraceServiceRequest::decode(request.message)?);
        }
        for request in receiver.taken(Signal::Metrics) {
            seen.metrics(ExportMetricsServiceRequest::decode(request.message)?);
        }
        for request in receiver.taken(Signal::Profiles) {
            seen.profiles(&ExportProfilesServiceRequest::decode(request.message)?);
        }
        Ok(seen)
    }

    /// Spans of a kind whose `server.port` is this.
    pub fn of(&self, kind: i32, port: u16) -> Vec<&Span> {
        let found = self
            .spans
            .iter()
            .filter(|span| span.kind == kind && span.int("server.port") == Some(port.into()));
        found.collect()
    }

    /// The span with this id.
    pub fn span(&self, id: &[u8]) -> Option<&Span> {
        self.spans.iter().find(|span| span.id == id)
    }

    /// Spans by their ids.
    pub fn by_id(&self) -> HashMap<&[u8], &Span> {
        self.spans.iter().map(|s| (s.id.as_slice(), s)).collect()
    }

    /// A metric's series.
    pub fn series<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = &'a Point> {
        self.points.values().filter(move |p| p.metric == metric)
    }

    /// Sum of a metric's values (of a histogram's, counts) of one service and
    /// with these attributes, numbers as text.
    pub fn sum(&self, metric: &str, service: &str, with: &[(&str, &str)]) -> u64 {
        let points = self.series(metric).filter(|p| p.service == service);
        let wanted = points.filter(|point| point.has(with));
        wanted.map(|point| point.value as u64).sum()
    }

    /// The same of the processes with one name, or of all.
    pub fn sum_of(&self, metric: &str, process: Option<&str>, with: &[(&str, &str)]) -> f64 {
        let points = self.series(metric);
        let points = points.filter(|p| process.is_none_or(|name| p.process == name));
        let wanted = points.filter(|point| point.has(with));
        wanted.map(|point| point.value).sum()
    }

    /// What the daemon says it lost, by cause.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        let lost = self
            .points
            .values()
            .filter(|p| p.metric.ends_with(".lost") && p.value > 0.0)
            .map(|p| {
                let family = [p.text("observer.probe"), p.text("observer.signal")].concat();
                let cause = p.text("error.type");
                (format!("{} {family} {cause}", p.metric), p.value as u64)
            })
            // Any program on the host may have a name that is too long.
            .filter(|(cause, _)| !cause.ends_with(" text_cut"));
        lost.collect()
    }

    /// How much was said to be lost by these causes together.
    pub fn lost(&self, causes: &[&str]) -> u64 {
        let points = self.points.values();
        let lost = points.filter(|p| p.metric.ends_with(".lost"));
        let lost = lost.filter(|p| causes.contains(&p.text("error.type")));
        lost.map(|p| p.value as u64).sum()
    }

    fn traces(&mut self, request: ExportTraceServiceRequest) {
        for group in request.resource_spans {
            let service = service(group.resource.as_ref());
            let resource = group
                .resource
                .map_or(Attributes::new(), |it| attributes(&it.attributes));
            for span in group.scope_spans.into_iter().flat_map(|s| s.spans) {
                self.spans.push(Span {
                    service: service.clone(),
                    resource: resource.clone(),
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    kind: span.kind,
                    name: span.name,
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                    attributes: attributes(&span.attributes),
                    status: span.status.map_or(0, |status| status.code),
                });
            }
        }
    }

    fn metrics(&mut self, request: ExportMetricsServiceRequest) {
        for group in request.resource_metrics {
            let service = service(group.resource.as_ref());
            let process = process(group.resource.as_ref());
            let resource = format!("{:?}", group.resource);
            for metric in group.scope_metrics.into_iter().flat_map(|s| s.metrics) {
                let mut add = |found: &[KeyValue], value: f64, sum: f64, exemplars: Vec<_>| {
                    let found = attributes(found);
                    let series = (resource.clone(), metric.name.clone(), format!("{found:?}"));
                    let point = self.points.entry(series).or_default();
                    point.service.clone_from(&service);
                    point.process.clone_from(&process);
                    point.metric.clone_from(&metric.name);
                    (point.attributes, point.value, point.sum) = (found, value, sum);
                    point.exemplars.extend(exemplars);
                };
                match metric.data {
                    Some(Data::ExponentialHistogram(data)) => {
                        for point in data.data_points {
                            let exemplars = point.exemplars.into_iter().map(|e| {
                                let value = match e.value {
                                    Some(exemplar::Value::AsDouble(x)) => x,
                                    Some(exemplar::Value::AsInt(n)) => n as f64,
                                    None => 0.0,
                                };
                                (e.trace_id, e.span_id, value)
                            });
                            let sum = point.sum.unwrap_or(0.0);
                            add(
                                &point.attributes,
                                point.count as f64,
                                sum,
                                exemplars.collect(),
                            );
                        }
                    }
                    Some(Data::Sum(data)) => {
                        for point in data.data_points {
                            add(&point.attributes, number(point.value), 0.0, vec![]);
                        }
                    }
                    Some(Data::Gauge(data)) => {
                        for point in data.data_points {
                            add(&point.attributes, number(point.value), 0.0, vec![]);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn profiles(&mut self, request: &ExportProfilesServiceRequest) {
        let Some(dictionary) = &request.dictionary else {
            return;
        };
        let text = |index: i32| {
            let found = dictionary.string_table.get(index as usize);
            found.cloned().unwrap_or_default()
        };
        for group in &request.resource_profiles {
            let service = service(group.resource.as_ref());
            for profile in group.scope_profiles.iter().flat_map(|s| &s.profiles) {
                let kind = profile.sample_type.as_ref().map_or(0, |t| t.type_strindex);
                let to = match text(kind).as_str() {
                    "samples" => &mut self.samples,
                    "off_cpu" => &mut self.waits,
                    _ => continue,
                };
                for sample in &profile.samples {
                    let stack = dictionary.stack_table.get(sample.stack_index as usize);
                    let locations = stack.map(|s| s.location_indices.as_slice());
                    let lines = locations
                        .unwrap_or_default()
                        .iter()
                        .filter_map(|l| dictionary.location_table.get(*l as usize))
                        .flat_map(|l| &l.lines);
                    let functions = lines.filter_map(|line| {
                        let function = dictionary
                            .function_table
                            .get(line.function_index as usize)?;
                        Some(text(function.name_strindex))
                    });
                    let link = dictionary.link_table.get(sample.link_index as usize);
                    let link = link.filter(|link| link.span_id.iter().any(|byte| *byte != 0));
                    let pairs = sample.attribute_indices.iter().filter_map(|index| {
                        let pair = dictionary.attribute_table.get(*index as usize)?;
                        let value = pair.value.as_ref()?.value.as_ref()?;
                        Some((text(pair.key_strindex), value_of(value)))
                    });
                    to.push(Sample {
                        service: service.clone(),
                        functions: functions.collect(),
                        count: sample.values.iter().sum(),
                        link: link.map(|l| (l.trace_id.clone(), l.span_id.clone())),
                        attributes: pairs.collect(),
                    });
                }
            }
        }
    }
}

fn service(resource: Option<&Resource>) -> String {
    let found = resource
        .map(|r| attributes(&r.attributes))
        .unwrap_or_default();
    match found.get("service.name") {
        Some(Value::Text(name)) => name.clone(),
        _ => String::new(),
    }
}

fn process(resource: Option<&Resource>) -> String {
    let found = resource
        .map(|r| r.attributes.as_slice())
        .unwrap_or_default();
    let name = text(found, "observer.workload.comm");
    let name = name.or_else(|| text(found, "process.executable.name"));
    name.unwrap_or_default().to_owned()
}

fn attributes(pairs: &[KeyValue]) -> Attributes {
    let values = pairs.iter().map(|pair| {
        let value = pair.value.as_ref().and_then(|v| v.value.as_ref());
        (pair.key.clone(), value.map_or(Value::Other, value_of))
    });
    values.collect()
}

fn value_of(value: &any_value::Value) -> Value {
    match value {
        any_value::Value::StringValue(text) => Value::Text(text.clone()),
        any_value::Value::IntValue(n) => Value::Int(*n),
        any_value::Value::DoubleValue(x) => Value::Real(*x),
        any_value::Value::ArrayValue(list) => {
            let values = list.values.iter().map(|value| value.value.as_ref());
            let texts = values.map(|value| match value.map(value_of) {
                Some(Value::Text(text)) => Some(text),
                _ => None,
            });
            texts
                .collect::<Option<_>>()
                .map_or(Value::Other, Value::Texts)
        }
        _ => Value::Other,
    }
}
