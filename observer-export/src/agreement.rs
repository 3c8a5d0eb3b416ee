//! Checks that pprof, folded stacks, SVG and OTLP say the same of a profile,
//! each read back by a decoder that shares nothing with what wrote it.

use std::collections::BTreeMap;
use std::io::Read as _;

use ::pprof::protos::{self, Message as _};
use fastrand::Rng;
use observer_common::unwind::Outcome;
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use prost::Message as _;

use super::folded::clean;
use super::{flamegraph, folded, pprof};
use crate::otlp::profiles::encode_all;
use observer_signals::Profile;
use observer_signals::attribute::{Attribute, Resource};
use observer_signals::interner::Interner;
use observer_signals::profile::{Frame, FrameKind, Function, Line, Mapping, ProfileKind, Sample};

/// Names with everything that has a meaning somewhere.
const NAMES: [&str; 18] = [
    "main",
    "a b c",
    "LFoo;::bar",
    "operator<<, &&",
    "\"quoted\" 'name'",
    "ends with a number 12",
    "1.5 2",
    " padded ",
    "tab\tand\nnewline",
    "Ünïcode ✓ 火",
    "core::ptr::drop_in_place<alloc::vec::Vec<u8>>",
    "JS:*answer app.js:42",
    "(anonymous namespace)::f(int)",
    "_ZN3foo3barEv",
    "<![CDATA[x]]> <!-- y -->",
    "write@plt",
    "100%",
    "a\u{ffff}b",
];

/// A profile of random stacks.
fn random_profile(random: &mut Rng, kind: ProfileKind) -> Profile {
    let mut i = Interner::new(Profile {
        kind,
        start: 1_700_000_000_000_000_000,
        duration: 10_000_000_000,
        period: 10_101_010,
        ..Profile::default()
    });
    let mut frames = Vec::new();
    for n in 0..60 {
        let kinds = [FrameKind::Native, FrameKind::Kernel, FrameKind::Jit];
        let kind = kinds[random.usize(0..3)];
        let path = ["/usr/bin/app", "/lib/lib c.so.6", "[vdso]", "[anon]"][random.usize(0..4)];
        let path = i.string(path);
        let build_id = i.string(["", "0a1b2c3d", "ffee"][random.usize(0..3)]);
        let mapping = i.mapping(Mapping {
            start: 0x1000,
            end: 0x9000,
            file_offset: 0,
            path,
            build_id,
        });
        // None, one, or inlined ones.
        let mut lines = Vec::new();
        for _ in 0..random.usize(0..4) {
            let name = i.string(NAMES[random.usize(0..NAMES.len())]);
            let file = i.string(["", "/src/a;b.c"][random.usize(0..2)]);
            let function = i.function(Function {
                name,
                system_name: 0,
                file,
            });
            lines.push(Line {
                function,
                line: random.u32(0..500),
            });
        }
        frames.push(i.frame(Frame {
            kind,
            mapping: if n % 10 == 9 { 0 } else { mapping },
            address: 0x1000 + n,
            lines,
        }));
    }
    for n in 0..200 {
        let depth = if n == 0 { 0 } else { random.usize(0..30) };
        let stack: Vec<u32> = (0..depth).map(|_| frames[random.usize(0..60)]).collect();
        let stack = i.stack(stack);
        let process = i.string(["nginx", "my app", "x;y", "", "kworker/0:1 3"][random.usize(0..5)]);
        let thread = i.string(["", "worker 7"][random.usize(0..2)]);
        let service = ["web", "db", "batch"][random.usize(0..3)];
        let resource = i.resource(&std::sync::Arc::new(Resource {
            attributes: vec![Attribute::new("service.name", service)],
        }));
        let value = match kind {
            ProfileKind::OnCpu => random.u64(1..50),
            // The picture leaves out what is narrower than 1/10,000 of it.
            _ => random.u64(200_000_000..9_000_000_000),
        };
        let link = (random.u8(0..3) > 0).then(|| ([random.u8(1..4); 16], [0xab; 8]));
        let route = i.string(["", "/", "/users/{id}"][random.usize(0..3)]);
        i.outcome(Outcome::ALL[random.usize(0..Outcome::ALL.len())], value);
        i.sample(Sample {
            stack,
            pid: 100,
            tid: random.u32(1..4),
            thread,
            process,
            resource,
            value,
            link,
            route,
            wait: None,
        });
    }
    i.finish()
}

/// Sums by trace id, span id and route.
type Linked = BTreeMap<(String, String, String), u64>;

fn linked(profile: &Profile) -> Linked {
    let mut sums = Linked::new();
    for sample in &profile.samples {
        let (trace, span) = sample.link.map_or_else(Default::default, |(trace, span)| {
            let (trace, span) = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
            (format!("{trace:032x}"), format!("{span:016x}"))
        });
        let route = profile.text(sample.route).to_owned();
        *sums.entry((trace, span, route)).or_default() += sample.value;
    }
    sums
}

fn linked_in_pprof(profile: &Profile) -> Linked {
    let p = pprof::message(profile);
    let mut sums = Linked::new();
    for sample in &p.sample {
        let of = |key: &str| {
            let mut labels = sample.label.iter();
            let label = labels.find(|l| p.string_table[l.key as usize] == key);
            label.map_or_else(String::new, |l| p.string_table[l.str as usize].clone())
        };
        let key = (of("trace_id"), of("span_id"), of("http.route"));
        *sums.entry(key).or_default() += sample.value[0] as u64;
    }
    sums
}

/// Stacks from the root, `;` between functions as [`clean`] writes them, with
/// the sums of their values.
type Sums = BTreeMap<String, u64>;

fn joined(process: &str, pid: u64, functions: impl Iterator<Item = String>) -> String {
    let root = match process {
        "" => format!("pid\u{a0}{pid}"),
        name => clean(name),
    };
    let functions = functions.map(|name| clean(&name));
    std::iter::once(root)
        .chain(functions)
        .collect::<Vec<_>>()
        .join(";")
}

fn from_folded(profile: &Profile) -> Sums {
    let mut out = Vec::new();
    folded::write(profile, &mut out).expect("written");
    let text = String::from_utf8(out).expect("UTF-8");
    let line = |line: &str| {
        let (stack, value) = line.rsplit_once(' ').expect("a value");
        (stack.to_owned(), value.parse().expect("a number"))
    };
    text.lines().map(line).collect()
}

/// The stacks, and the build ids of frames without a symbol.
fn from_pprof(profile: &Profile) -> (Sums, BTreeMap<String, String>) {
    let mut out = Vec::new();
    pprof::write(profile, &mut out).expect("written");
    let mut raw = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(out.as_slice());
    gzip.read_to_end(&mut raw).expect("gzip");
    let p = protos::Profile::decode(raw.as_slice()).expect("a profile");
    let text = |id: i64| p.string_table[id as usize].clone();
    let (mut sums, mut build_ids) = (Sums::new(), BTreeMap::new());
    for sample in &p.sample {
        let labels = || sample.label.iter();
        let comm = labels().find(|l| text(l.key) == "comm").expect("a name");
        let pid = labels().find(|l| text(l.key) == "pid").expect("a number");
        let mut functions = Vec::new();
        for id in sample.location_id.iter().rev() {
            let mut locations = p.location.iter();
            let location = locations.find(|l| l.id == *id).expect("a location");
            let mapping = p.mapping.iter().find(|m| m.id == location.mapping_id);
            for line in location.line.iter().rev() {
                let mut all = p.function.iter();
                let function = all.find(|f| f.id == line.function_id).expect("a function");
                let name = text(function.name);
                if let Some((_, address)) = name.rsplit_once("+0x")
                    && u64::from_str_radix(address, 16) == Ok(location.address)
                    && let Some(mapping) = mapping
                {
                    build_ids.insert(address.to_owned(), text(mapping.build_id));
                }
                functions.push(name);
            }
        }
        let stack = joined(&text(comm.str), pid.num as u64, functions.into_iter());
        *sums.entry(stack).or_default() += sample.value[0] as u64;
    }
    (sums, build_ids)
}

fn from_otlp(profile: &Profile) -> (Sums, BTreeMap<String, String>) {
    let (mut sums, mut build_ids) = (Sums::new(), BTreeMap::new());
    encode_all(profile, &[], |request, _, _| {
        let bytes = request.encode_to_vec();
        type Request = opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
        let request = Request::decode(bytes.as_slice()).expect("a request");
        let d = request.dictionary.expect("a dictionary");
        let text = |id: i32| d.string_table[id as usize].as_str();
        let attribute = |ids: &[i32], key: &str| {
            use opentelemetry_proto::tonic::common::v1::any_value::Value;
            let mut all = ids.iter().map(|id| &d.attribute_table[*id as usize]);
            let found = all.find(|a| text(a.key_strindex) == key);
            match found.and_then(|a| a.value.clone()).and_then(|v| v.value) {
                Some(Value::StringValue(text)) => text,
                Some(Value::IntValue(number)) => number.to_string(),
                _ => String::new(),
            }
        };
        let resources = request.resource_profiles.iter();
        let scopes = resources.flat_map(|r| &r.scope_profiles);
        for sample in scopes.flat_map(|s| &s.profiles).flat_map(|p| &p.samples) {
            let stack: &otlp::Stack = &d.stack_table[sample.stack_index as usize];
            let mut functions = Vec::new();
            for id in stack.location_indices.iter().rev() {
                let location = &d.location_table[*id as usize];
                let mapping = &d.mapping_table[location.mapping_index as usize];
                for line in location.lines.iter().rev() {
                    let function = &d.function_table[line.function_index as usize];
                    functions.push(text(function.name_strindex).to_owned());
                }
                if location.lines.is_empty() {
                    let file = text(mapping.filename_strindex);
                    let address = format!("{:x}", location.address);
                    functions.push(match file.rsplit('/').next() {
                        None | Some("") => format!("0x{address}"),
                        Some(file) => format!("{file}+0x{address}"),
                    });
                    if location.mapping_index != 0 {
                        let key = "process.executable.build_id.gnu";
                        let id = attribute(&mapping.attribute_indices, key);
                        build_ids.insert(address, id);
                    }
                }
            }
            let of = |key| attribute(&sample.attribute_indices, key);
            let pid = of("process.pid").parse().expect("a number");
            let stack = joined(&of("process.executable.name"), pid, functions.into_iter());
            *sums.entry(stack).or_default() += sample.values[0] as u64;
        }
    });
    (sums, build_ids)
}

/// The stacks as the picture's rectangles lie on each other: inferno writes
/// their places and widths in samples, too.
fn from_svg(profile: &Profile) -> Sums {
    let mut out = Vec::new();
    flamegraph::write(profile, &mut out).expect("written");
    let svg = String::from_utf8(out).expect("UTF-8");
    let unescape = |text: &str| {
        let pairs = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&apos;", "'"),
        ];
        let pairs = pairs.iter().chain(&[("&amp;", "&")]);
        pairs.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    // By height, lowest (the root) first; place and width.
    let mut levels: BTreeMap<std::cmp::Reverse<u64>, Vec<(u64, u64, String)>> = BTreeMap::new();
    for group in svg.split("<title>").skip(1) {
        let (title, rest) = group.split_once("</title>").expect("closed");
        let (name, _) = title.rsplit_once(" (").expect("a value");
        let number = |key: &str| -> u64 {
            let (_, rest) = rest.split_once(&format!(" {key}=\"")).expect(key);
            rest.split('"')
                .next()
                .and_then(|n| n.parse().ok())
                .expect(key)
        };
        let level = levels.entry(std::cmp::Reverse(number("y"))).or_default();
        level.push((number("fg:x"), number("fg:w"), unescape(name)));
    }
    let levels: Vec<_> = levels.into_values().collect();
    let mut sums = Sums::new();
    let mut below: Vec<(u64, u64, String)> = vec![(0, u64::MAX, String::new())];
    for (depth, level) in levels.iter().enumerate() {
        let mut stacks = Vec::new();
        for (x, width, name) in level {
            let holds = |b: &&(u64, u64, String)| b.0 <= *x && x + width <= b.0.saturating_add(b.1);
            let parent = &below.iter().find(holds).expect("it stands on something").2;
            // "all" stands below everything.
            let stack = match depth {
                0 => String::new(),
                1 => name.clone(),
                _ => format!("{parent};{name}"),
            };
            let above = levels.get(depth + 1).into_iter().flatten();
            let above = above.filter(|a| *x <= a.0 && a.0 + a.1 <= x + width);
            let above: u64 = above.map(|a| a.1).sum();
            if *width > above {
                *sums.entry(stack.clone()).or_default() += width - above;
            }
            stacks.push((*x, *width, stack));
        }
        below = stacks;
    }
    sums
}

/// Checks all four against each other, and against the profile itself, on
/// random profiles of every kind with names that are hard on every format.
#[test]
fn four_formats_agree() {
    for (seed, kind) in [ProfileKind::OnCpu, ProfileKind::OffCpu, ProfileKind::Wall]
        .into_iter()
        .cycle()
        .take(12)
        .enumerate()
    {
        let profile = random_profile(&mut Rng::with_seed(seed as u64), kind);
        let folded = from_folded(&profile);
        assert_eq!(folded.values().sum::<u64>(), profile.total(), "seed {seed}");
        assert!(folded.len() > 100);
        let (pprof, pprof_ids) = from_pprof(&profile);
        assert_eq!(pprof, folded, "seed {seed}");
        assert_eq!(linked_in_pprof(&profile), linked(&profile), "seed {seed}");
        let (otlp, otlp_ids) = from_otlp(&profile);
        assert_eq!(otlp, folded, "seed {seed}");
        assert_eq!(from_svg(&profile), folded, "seed {seed}");
        assert_eq!(pprof_ids, otlp_ids, "seed {seed}");
        assert!(otlp_ids.values().any(|id| id == "0a1b2c3d"), "seed {seed}");
        let outcomes: u64 = profile.outcomes.iter().map(|(_, value)| value).sum();
        assert_eq!(outcomes, profile.total(), "seed {seed}");
    }
}
