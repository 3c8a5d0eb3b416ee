//! pprof's `profile.proto`, gzipped: what `go tool pprof`, Pyroscope, Parca,
//! speedscope and many others read.
//!
//! Format: github.com/google/pprof/proto/profile.proto. The tables of a
//! [`Profile`] already have its shape (ids from 1, leaf first), so ids are
//! carried over as they are.

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::protos::{self, Message as _};

use observer_signals::Profile;
use observer_signals::profile::{Mapping, ProfileKind};

/// Writes `profile`, gzipped.
///
/// # Errors
/// When `out` can't be written.
pub fn write(profile: &Profile, out: impl Write) -> io::Result<()> {
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&message(profile).encode_to_vec())?;
    gzip.finish()?.flush()
}

/// The string table in the making, begun with the profile's own.
struct Strings {
    table: Vec<String>,
    ids: HashMap<String, i64>,
}

impl Strings {
    fn id(&mut self, text: &str) -> i64 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.table.len() as i64;
        self.table.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> protos::ValueType {
        protos::ValueType {
            ty: self.id(kind),
            unit: self.id(unit),
        }
    }
}

/// The message that [`write`] encodes.
pub fn message(profile: &Profile) -> protos::Profile {
    let mut strings = Strings {
        table: Vec::new(),
        ids: HashMap::new(),
    };
    for text in &profile.string_table {
        strings.table.push(text.clone());
        strings
            .ids
            .insert(text.clone(), strings.table.len() as i64 - 1);
    }
    strings.id("");
    let (function, location) = functions_and_locations(profile, &mut strings);
    let (sample_type, period_type) = match profile.kind {
        ProfileKind::OnCpu => {
            let cpu = strings.value_type("cpu", "nanoseconds");
            (
                vec![strings.value_type("samples", "count"), cpu.clone()],
                cpu,
            )
        }
        ProfileKind::OffCpu => {
            let off = strings.value_type("off_cpu", "nanoseconds");
            (vec![off.clone()], off)
        }
        ProfileKind::Wall => {
            let wall = strings.value_type("wall", "nanoseconds");
            (vec![wall.clone()], wall)
        }
    };
    let sample = samples(profile, &mut strings);
    protos::Profile {
        sample_type,
        sample,
        mapping: mappings(profile),
        location,
        function,
        string_table: strings.table,
        time_nanos: i64::try_from(profile.start).unwrap_or(i64::MAX),
        duration_nanos: i64::try_from(profile.duration).unwrap_or(i64::MAX),
        period_type: Some(period_type),
        period: i64::try_from(profile.period).unwrap_or(i64::MAX),
        ..protos::Profile::default()
    }
}

/// The mappings. Readers call the first one the profile's main program, so the
/// file that is no library and has most samples goes first; ids don't change.
fn mappings(profile: &Profile) -> Vec<protos::Mapping> {
    let mut values = vec![0_u64; profile.mapping_table.len()];
    for sample in &profile.samples {
        let stack = profile.stack_table.get(sample.stack as usize);
        let mut seen: Vec<u32> = stack
            .into_iter()
            .flatten()
            .filter_map(|frame| Some(profile.frame_table.get(*frame as usize)?.mapping))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        for mapping in seen {
            if let Some(value) = values.get_mut(mapping as usize) {
                *value += sample.value;
            }
        }
    }
    let rank = |(id, mapping): &(usize, &Mapping)| {
        let path = profile.text(mapping.path);
        let program = path.starts_with('/') && !path.contains(".so");
        (program, values.get(*id).copied())
    };
    let mut numbered: Vec<_> = profile.mapping_table.iter().enumerate().skip(1).collect();
    numbered.sort_by_key(|entry| std::cmp::Reverse(rank(entry)));
    numbered
        .into_iter()
        .map(|(id, m)| protos::Mapping {
            id: id as u64,
            memory_start: m.start,
            memory_limit: m.end,
            file_offset: m.file_offset,
            filename: i64::from(m.path),
            build_id: i64::from(m.build_id),
            // Frames without a symbol get a name too (file+offset), so that
            // nobody looks for the files of this host on another one.
            has_functions: true,
            ..protos::Mapping::default()
        })
        .collect()
}

fn functions_and_locations(
    profile: &Profile,
    strings: &mut Strings,
) -> (Vec<protos::Function>, Vec<protos::Location>) {
    let numbered = profile.function_table.iter().enumerate().skip(1);
    let mut functions: Vec<protos::Function> = numbered
        .map(|(id, f)| protos::Function {
            id: id as u64,
            name: i64::from(f.name),
            // Not the name again: `go tool pprof` would take that for a mangled
            // one and cut out everything between < and >.
            system_name: i64::from(f.system_name),
            filename: i64::from(f.file),
            ..protos::Function::default()
        })
        .collect();
    let mut next_id = profile.function_table.len().max(1) as u64;
    let mut locations = Vec::with_capacity(profile.frame_table.len());
    for (id, frame) in profile.frame_table.iter().enumerate().skip(1) {
        let mut lines: Vec<protos::Line> = frame
            .lines
            .iter()
            .map(|line| protos::Line {
                function_id: u64::from(line.function),
                line: i64::from(line.line),
            })
            .collect();
        if lines.is_empty() {
            let name = profile.calls(id as u32).next();
            let name = strings.id(name.as_ref().map_or("", |call| &call.name));
            functions.push(protos::Function {
                id: next_id,
                name,
                ..protos::Function::default()
            });
            lines.push(protos::Line {
                function_id: next_id,
                line: 0,
            });
            next_id += 1;
        }
        locations.push(protos::Location {
            id: id as u64,
            mapping_id: u64::from(frame.mapping),
            address: frame.address,
            line: lines,
            is_folded: false,
        });
    }
    (functions, locations)
}

/// As trace context writes ids (W3C Trace Context, 2.2.2).
fn hex(id: &[u8]) -> String {
    let mut text = String::with_capacity(2 * id.len());
    for digit in id.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
    }
    text
}

fn samples(profile: &Profile, strings: &mut Strings) -> Vec<protos::Sample> {
    let [thread, comm, pid, tid, service] =
        ["thread", "comm", "pid", "tid", "service.name"].map(|key| strings.id(key));
    let [reason, state] = ["reason", "state"].map(|key| strings.id(key));
    let [trace, span, route] = ["trace_id", "span_id", "http.route"].map(|key| strings.id(key));
    let text = |key, str| protos::Label {
        key,
        str,
        ..protos::Label::default()
    };
    let number = |key, num: u32| protos::Label {
        key,
        num: i64::from(num),
        ..protos::Label::default()
    };
    let mut samples = Vec::with_capacity(profile.samples.len());
    for sample in &profile.samples {
        let stack = profile.stack_table.get(sample.stack as usize);
        let value = i64::try_from(sample.value).unwrap_or(i64::MAX);
        let period = i64::try_from(profile.period).unwrap_or(i64::MAX);
        let mut label = vec![
            text(thread, i64::from(sample.thread)),
            text(comm, i64::from(sample.process)),
            number(pid, sample.pid),
            number(tid, sample.tid),
        ];
        let resource = profile.resources.get(sample.resource as usize);
        if let Some(wait) = sample.wait {
            label.push(text(reason, strings.id(wait.reason.as_str())));
            label.push(text(state, strings.id(wait.state.as_str())));
        }
        if let Some(name) = resource.and_then(|r| r.get_str("service.name")) {
            label.push(text(service, strings.id(name)));
        }
        if let Some((trace_id, span_id)) = sample.link {
            label.push(text(trace, strings.id(&hex(&trace_id))));
            label.push(text(span, strings.id(&hex(&span_id))));
        }
        if sample.route != 0 {
            label.push(text(route, i64::from(sample.route)));
        }
        samples.push(protos::Sample {
            location_id: stack
                .into_iter()
                .flatten()
                .map(|frame| u64::from(*frame))
                .collect(),
            value: match profile.kind {
                ProfileKind::OnCpu => vec![value, value.saturating_mul(period)],
                ProfileKind::OffCpu | ProfileKind::Wall => vec![value],
            },
            label,
        });
    }
    samples
}
