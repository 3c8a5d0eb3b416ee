//! Profiles as OTLP profile requests (v1development).
//!
//! Every request has a dictionary of its own with only what its samples need;
//! entry 0 of every table is the zero value. Names follow the OpenTelemetry
//! eBPF profiler: on-CPU `samples`/`count` with period `cpu`/`nanoseconds`,
//! off-CPU `off_cpu`/`nanoseconds`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, any_value::Value as Any};
use opentelemetry_proto::tonic::profiles::v1development::{
    self as proto, KeyValueAndUnit, ProfilesDictionary,
};
use prost::Message;

use super::attributes::{resource, scope};
use super::group::framed;
use super::shares::{Shares, Whose, large};
use super::{MAX_REQUEST_BYTES, SCHEMA_URL};
use observer_signals::profile::{Profile, ProfileKind, Sample};
use observer_signals::{Attribute, Resource};

/// Hands requests, with the number of samples in each and whose they are, to `emit`. `extra` are
/// attributes for every resource.
pub fn encode_all(
    profile: &Profile,
    extra: &[Attribute],
    emit: impl FnMut(ExportProfilesServiceRequest, u64, &Shares),
) {
    encode(profile, extra, MAX_REQUEST_BYTES, emit);
}

fn encode(
    profile: &Profile,
    extra: &[Attribute],
    limit: usize,
    mut emit: impl FnMut(ExportProfilesServiceRequest, u64, &Shares),
) {
    let large = large(profile);
    let mut encode_of = |wanted: &dyn Fn(u32) -> bool| {
        let mut builder = Builder::new(profile, extra);
        let samples = profile.samples.iter();
        for sample in samples.filter(|sample| wanted(sample.resource)) {
            builder.add(sample);
            if builder.size >= limit {
                let full = std::mem::replace(&mut builder, Builder::new(profile, extra));
                full.finish(&mut emit);
            }
        }
        builder.finish(&mut emit);
    };
    for resource in &large {
        encode_of(&|of| of == *resource);
    }
    encode_of(&|of| !large.contains(&of));
}

/// A request in the making: the parts of the profile that its samples use,
/// renumbered.
struct Builder<'a> {
    profile: &'a Profile,
    extra: &'a [Attribute],
    dictionary: ProfilesDictionary,
    strings: HashMap<String, i32>,
    attributes: HashMap<(i32, AttributeValue), i32>,
    mappings: HashMap<u32, i32>,
    functions: HashMap<u32, i32>,
    frames: HashMap<u32, i32>,
    stacks: HashMap<u32, i32>,
    links: HashMap<([u8; 16], [u8; 8]), i32>,
    /// Samples by index into `profile.resources`.
    samples: BTreeMap<u32, Vec<proto::Sample>>,
    /// Encoded size so far, a little overestimated.
    size: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum AttributeValue {
    String(String),
    Int(i64),
    Strings(Arc<[String]>),
}

impl<'a> Builder<'a> {
    fn new(profile: &'a Profile, extra: &'a [Attribute]) -> Self {
        Self {
            profile,
            extra,
            dictionary: ProfilesDictionary {
                mapping_table: vec![Default::default()],
                location_table: vec![Default::default()],
                function_table: vec![Default::default()],
                link_table: vec![Default::default()],
                string_table: vec![String::new()],
                attribute_table: vec![Default::default()],
                stack_table: vec![Default::default()],
            },
            strings: HashMap::from([(String::new(), 0)]),
            attributes: HashMap::new(),
            mappings: HashMap::from([(0, 0)]),
            functions: HashMap::from([(0, 0)]),
            frames: HashMap::from([(0, 0)]),
            stacks: HashMap::from([(0, 0)]),
            links: HashMap::new(),
            samples: BTreeMap::new(),
            // The zero entries, the profile's own fields.
            size: 256,
        }
    }

    fn add(&mut self, sample: &Sample) {
        let thread = self.profile_string(sample.thread).to_owned();
        let process = self.profile_string(sample.process).to_owned();
        let route = self.profile_string(sample.route).to_owned();
        let mut attribute_indices = vec![
            self.attribute("thread.id", AttributeValue::Int(i64::from(sample.tid))),
            self.attribute("process.pid", AttributeValue::Int(i64::from(sample.pid))),
        ];
        for (key, value) in [
            ("thread.name", thread),
            ("process.executable.name", process),
            ("http.route", route),
        ] {
            if !value.is_empty() {
                attribute_indices.push(self.attribute(key, AttributeValue::String(value)));
            }
        }
        for (key, value) in sample.wait.into_iter().flat_map(|wait| {
            [
                ("observer.wait.reason", wait.reason.as_str()),
                ("observer.thread.state", wait.state.as_str()),
            ]
        }) {
            let value = AttributeValue::String(value.to_owned());
            attribute_indices.push(self.attribute(key, value));
        }
        if let Some(arguments) = self.profile.commands.get(&sample.pid) {
            let value = AttributeValue::Strings(Arc::clone(arguments));
            attribute_indices.push(self.attribute("process.command_args", value));
        }
        let encoded = proto::Sample {
            stack_index: self.stack(sample.stack),
            attribute_indices,
            link_index: sample.link.map_or(0, |link| self.link(link)),
            values: vec![i64::try_from(sample.value).unwrap_or(i64::MAX)],
            timestamps_unix_nano: Vec::new(),
        };
        self.size += framed(encoded.encoded_len());
        let samples = self.samples.entry(sample.resource).or_default();
        if samples.is_empty() {
            let of = self.profile.resources.get(sample.resource as usize);
            self.size += 512 + of.map_or(0, |r| resource(r, self.extra).encoded_len());
        }
        samples.push(encoded);
    }

    fn profile_string(&self, id: u32) -> &'a str {
        self.profile
            .string_table
            .get(id as usize)
            .map_or("", String::as_str)
    }

    fn string(&mut self, text: &str) -> i32 {
        if let Some(&index) = self.strings.get(text) {
            return index;
        }
        let index = self.dictionary.string_table.len() as i32;
        self.size += framed(text.len());
        self.dictionary.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    fn string_of(&mut self, id: u32) -> i32 {
        self.string(self.profile_string(id))
    }

    fn attribute(&mut self, key: &str, value: AttributeValue) -> i32 {
        let key = (self.string(key), value);
        if let Some(&index) = self.attributes.get(&key) {
            return index;
        }
        let value = match &key.1 {
            AttributeValue::String(s) => Any::StringValue(s.clone()),
            AttributeValue::Int(i) => Any::IntValue(*i),
            AttributeValue::Strings(list) => {
                let texts = list.iter().map(|text| Any::StringValue(text.clone()));
                let values = texts.map(|value| AnyValue { value: Some(value) });
                Any::ArrayValue(ArrayValue {
                    values: values.collect(),
                })
            }
        };
        let entry = KeyValueAndUnit {
            key_strindex: key.0,
            value: Some(AnyValue { value: Some(value) }),
            unit_strindex: 0,
        };
        let index = self.dictionary.attribute_table.len() as i32;
        self.size += framed(entry.encoded_len());
        self.dictionary.attribute_table.push(entry);
        self.attributes.insert(key, index);
        index
    }

    fn link(&mut self, link: ([u8; 16], [u8; 8])) -> i32 {
        if let Some(&index) = self.links.get(&link) {
            return index;
        }
        let entry = proto::Link {
            trace_id: link.0.to_vec(),
            span_id: link.1.to_vec(),
        };
        let index = self.dictionary.link_table.len() as i32;
        self.size += framed(entry.encoded_len());
        self.dictionary.link_table.push(entry);
        self.links.insert(link, index);
        index
    }

    fn stack(&mut self, id: u32) -> i32 {
        if let Some(&index) = self.stacks.get(&id) {
            return index;
        }
        let Some(frames) = self.profile.stack_table.get(id as usize) else {
            return 0;
        };
        let entry = proto::Stack {
            location_indices: frames.iter().map(|&f| self.frame(f)).collect(),
        };
        let index = self.dictionary.stack_table.len() as i32;
        self.size += framed(entry.encoded_len());
        self.dictionary.stack_table.push(entry);
        self.stacks.insert(id, index);
        index
    }

    fn frame(&mut self, id: u32) -> i32 {
        if let Some(&index) = self.frames.get(&id) {
            return index;
        }
        let Some(frame) = self.profile.frame_table.get(id as usize) else {
            return 0;
        };
        let kind = AttributeValue::String(frame.kind.as_str().to_owned());
        let entry = proto::Location {
            mapping_index: self.mapping(frame.mapping),
            address: frame.address,
            lines: frame
                .lines
                .iter()
                .map(|line| proto::Line {
                    function_index: self.function(line.function),
                    line: i64::from(line.line),
                    column: 0,
                })
                .collect(),
            attribute_indices: vec![self.attribute("profile.frame.type", kind)],
        };
        let index = self.dictionary.location_table.len() as i32;
        self.size += framed(entry.encoded_len());
        self.dictionary.location_table.push(entry);
        self.frames.insert(id, index);
        index
    }

    fn function(&mut self, id: u32) -> i32 {
        if let Some(&index) = self.functions.get(&id) {
            return index;
        }
        let Some(function) = self.profile.function_table.get(id as usize) else {
            return 0;
        };
        let entry = proto::Function {
            name_strindex: self.string_of(function.name),
            system_name_strindex: self.string_of(function.system_name),
            filename_strindex: self.string_of(function.file),
            start_line: 0,
        };
        let index = self.dictionary.function_table.len() as i32;
        self.size += framed(entry.encoded_len());
        self.dictionary.function_table.push(entry);
        self.functions.insert(id, index);
        index
    }

    fn mapping(&mut self, id: u32) -> i32 {
        if let Some(&index) = self.mappings.get(&id) {
            return index;
        }
        let Some(mapping) = self.profile.mapping_table.get(id as usize) else {
            return 0;
        };
        let build_id = self.profile_string(mapping.build_id);
        let entry = proto::Mapping {
            memory_start: mapping.start,
            memory_limit: mapping.end,
            file_offset: mapping.file_offset,
            filename_strindex: self.string_of(mapping.path),
            attribute_indices: if build_id.is_empty() {
                Vec::new()
            } else {
                let value = AttributeValue::String(build_id.to_owned());
                vec![self.attribute("process.executable.build_id.gnu", value)]
            },
        };
        let index = self.dictionary.mapping_table.len() as i32;
        self.size += framed(entry.encoded_len());
        self.dictionary.mapping_table.push(entry);
        self.mappings.insert(id, index);
        index
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Option<proto::ValueType> {
        Some(proto::ValueType {
            type_strindex: self.string(kind),
            unit_strindex: self.string(unit),
        })
    }

    fn finish(mut self, emit: &mut impl FnMut(ExportProfilesServiceRequest, u64, &Shares)) {
        let samples = std::mem::take(&mut self.samples);
        let mut shares = Shares::default();
        for (index, samples) in &samples {
            let of = self.profile.resources.get(*index as usize);
            // What samples are made of is shared.
            shares.add(of.map_or(Whose::OWN, |of| Whose::of(of)), samples.len());
        }
        let count: usize = samples.values().map(Vec::len).sum();
        if count == 0 {
            return;
        }
        // Backends name an on-CPU profile by its period and refuse a period
        // of zero; an off-CPU sample stands for each of its nanoseconds.
        let (sample_type, period_type, period) = match self.profile.kind {
            ProfileKind::OnCpu => (
                self.value_type("samples", "count"),
                self.value_type("cpu", "nanoseconds"),
                self.profile.period.max(1),
            ),
            ProfileKind::OffCpu => (
                self.value_type("off_cpu", "nanoseconds"),
                self.value_type("off_cpu", "nanoseconds"),
                1,
            ),
            ProfileKind::Wall => (
                self.value_type("wall", "nanoseconds"),
                self.value_type("wall", "nanoseconds"),
                1,
            ),
        };
        let resource_profiles = samples
            .into_iter()
            .map(|(index, samples)| {
                let unknown = Resource::default();
                let of = self.profile.resources.get(index as usize);
                proto::ResourceProfiles {
                    resource: Some(resource(of.map_or(&unknown, |r| r), self.extra)),
                    scope_profiles: vec![proto::ScopeProfiles {
                        scope: Some(scope()),
                        profiles: vec![proto::Profile {
                            sample_type,
                            samples,
                            time_unix_nano: self.profile.start,
                            duration_nano: self.profile.duration,
                            period_type,
                            period: i64::try_from(period).unwrap_or(i64::MAX),
                            profile_id: profile_id(),
                            ..Default::default()
                        }],
                        schema_url: SCHEMA_URL.to_owned(),
                    }],
                    schema_url: SCHEMA_URL.to_owned(),
                }
            })
            .collect();
        let request = ExportProfilesServiceRequest {
            resource_profiles,
            dictionary: Some(self.dictionary),
        };
        emit(request, count as u64, &shares);
    }
}

/// 16 random bytes; all zero would mean "none".
fn profile_id() -> Vec<u8> {
    fastrand::u128(1..).to_be_bytes().to_vec()
}

#[cfg(test)]
#[path = "profiles_tests.rs"]
mod tests;
