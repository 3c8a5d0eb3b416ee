//! Checks profile requests by resolving every index back to names.

use std::sync::Arc;

use super::*;
use observer_signals::profile::{Frame, FrameKind, Function, Line, Mapping};

fn profile(kind: ProfileKind, stacks: u32) -> Profile {
    let resources = ["a", "b"].map(|name| {
        Arc::new(Resource {
            attributes: vec![Attribute::new("service.name", name)],
        })
    });
    let mut profile = Profile {
        kind,
        start: 1000,
        duration: 50,
        period: 20,
        string_table: ["", "thread", "/bin/x", "0abc", "/users/{id}"]
            .map(str::to_owned)
            .to_vec(),
        mapping_table: vec![
            Mapping::default(),
            Mapping {
                start: 1,
                end: 9,
                file_offset: 2,
                path: 2,
                build_id: 3,
            },
        ],
        function_table: vec![Function::default()],
        frame_table: vec![Frame::default()],
        stack_table: vec![Vec::new()],
        resources: resources.into(),
        ..Default::default()
    };
    for i in 1..=stacks {
        let name = profile.string_table.len() as u32;
        profile.string_table.push(format!("function {i}"));
        profile.function_table.push(Function {
            name,
            ..Default::default()
        });
        profile.frame_table.push(Frame {
            kind: FrameKind::Kernel,
            mapping: 1,
            address: u64::from(i),
            lines: vec![Line {
                function: i,
                line: i,
            }],
        });
        profile.stack_table.push(vec![i, 1]);
        profile.samples.push(Sample {
            stack: i,
            pid: 7,
            tid: i,
            thread: 1,
            process: 0,
            resource: i % 2,
            wait: None,
            value: u64::from(i),
            link: (i % 3 == 0).then_some(([i as u8; 16], [1; 8])),
            route: if i % 3 == 0 { 4 } else { 0 },
        });
    }
    profile
}

fn requests(profile: &Profile, limit: usize) -> Vec<ExportProfilesServiceRequest> {
    let mut requests = Vec::new();
    encode(profile, &[], limit, |request, count, _| {
        let bytes = request.encode_to_vec();
        let decoded = ExportProfilesServiceRequest::decode(&bytes[..]).expect("it was encoded");
        let samples: usize = decoded
            .resource_profiles
            .iter()
            .map(|r| r.scope_profiles[0].profiles[0].samples.len())
            .sum();
        assert_eq!(samples as u64, count);
        // A sample's own weight may go over; it's small.
        assert!(bytes.len() < limit + 1000, "{}", bytes.len());
        requests.push(decoded);
    });
    requests
}

/// `(service, thread id, value)` of every sample whose stack and attributes
/// say what the profile said, resolved through the request's own dictionary.
fn resolve(request: &ExportProfilesServiceRequest) -> Vec<(String, i64, i64)> {
    let dictionary = request.dictionary.as_ref().expect("a dictionary");
    let text = |index: i32| dictionary.string_table[index as usize].as_str();
    let attributes = |indices: &[i32]| -> HashMap<String, Any> {
        indices
            .iter()
            .map(|&i| {
                let entry = &dictionary.attribute_table[i as usize];
                let value = entry.value.clone().and_then(|v| v.value);
                (text(entry.key_strindex).to_owned(), value.expect("a value"))
            })
            .collect()
    };
    let mut samples = Vec::new();
    for group in &request.resource_profiles {
        let Some(Any::StringValue(service)) =
            group.resource.as_ref().expect("a resource").attributes[0]
                .value
                .clone()
                .and_then(|v| v.value)
        else {
            panic!("no service name")
        };
        for sample in &group.scope_profiles[0].profiles[0].samples {
            let of = attributes(&sample.attribute_indices);
            let Any::IntValue(tid) = of["thread.id"] else {
                panic!("thread.id is no integer")
            };
            assert_eq!(of["process.pid"], Any::IntValue(7));
            assert_eq!(of["thread.name"], Any::StringValue("thread".into()));
            assert!(!of.contains_key("process.executable.name"), "it is empty");
            let stack = &dictionary.stack_table[sample.stack_index as usize];
            let leaf = &dictionary.location_table[stack.location_indices[0] as usize];
            assert_eq!(leaf.address, tid as u64);
            let function = &dictionary.function_table[leaf.lines[0].function_index as usize];
            assert_eq!(text(function.name_strindex), format!("function {tid}"));
            let kind = attributes(&leaf.attribute_indices);
            assert_eq!(
                kind["profile.frame.type"],
                Any::StringValue("kernel".into())
            );
            let mapping = &dictionary.mapping_table[leaf.mapping_index as usize];
            assert_eq!(text(mapping.filename_strindex), "/bin/x");
            let build = attributes(&mapping.attribute_indices);
            let id = &build["process.executable.build_id.gnu"];
            assert_eq!(*id, Any::StringValue("0abc".into()));
            let link = &dictionary.link_table[sample.link_index as usize];
            let served = tid % 3 == 0;
            let ids = if served {
                (vec![tid as u8; 16], vec![1; 8])
            } else {
                Default::default()
            };
            assert_eq!((link.trace_id.clone(), link.span_id.clone()), ids);
            let route = served.then(|| Any::StringValue("/users/{id}".into()));
            assert_eq!(of.get("http.route"), route.as_ref());
            samples.push((service.clone(), tid, sample.values[0]));
        }
    }
    samples
}

fn check_zero_entries(request: &ExportProfilesServiceRequest) {
    let d = request.dictionary.as_ref().expect("a dictionary");
    assert_eq!(d.string_table[0], "");
    assert_eq!(d.mapping_table[0], Default::default());
    assert_eq!(d.location_table[0], Default::default());
    assert_eq!(d.function_table[0], Default::default());
    assert_eq!(d.link_table[0], Default::default());
    assert_eq!(d.attribute_table[0], Default::default());
    assert_eq!(d.stack_table[0], Default::default());
    let mut strings = d.string_table.clone();
    strings.sort();
    strings.dedup();
    assert_eq!(strings.len(), d.string_table.len(), "no duplicates");
}

/// Checks that every sample keeps its meaning, in one request and in many.
#[test]
fn samples_keep_their_meaning() {
    let profile = profile(ProfileKind::OnCpu, 300);
    for (limit, at_least) in [(1 << 20, 1), (3000, 10)] {
        let requests = requests(&profile, limit);
        assert!(requests.len() >= at_least);
        let mut samples: Vec<_> = requests.iter().flat_map(resolve).collect();
        requests.iter().for_each(check_zero_entries);
        samples.sort_by_key(|s| s.1);
        let expected: Vec<_> = (1..=300)
            .map(|i| (["a", "b"][i as usize % 2].to_owned(), i, i))
            .collect();
        assert_eq!(samples, expected);
    }
}

/// Checks the names of what was counted, the period and the times.
#[test]
fn types_and_times() {
    for (kind, sample_type, period_type, period) in [
        (
            ProfileKind::OnCpu,
            ["samples", "count"],
            ["cpu", "nanoseconds"],
            20,
        ),
        (
            ProfileKind::OffCpu,
            ["off_cpu", "nanoseconds"],
            ["off_cpu", "nanoseconds"],
            1,
        ),
    ] {
        let requests = requests(&profile(kind, 2), 1 << 20);
        let dictionary = requests[0].dictionary.as_ref().expect("a dictionary");
        let text = |index: i32| dictionary.string_table[index as usize].as_str();
        let names = |of: Option<proto::ValueType>| {
            let of = of.expect("a type");
            [text(of.type_strindex), text(of.unit_strindex)]
        };
        for group in &requests[0].resource_profiles {
            let profile = &group.scope_profiles[0].profiles[0];
            assert_eq!(names(profile.sample_type), sample_type);
            assert_eq!(names(profile.period_type), period_type);
            assert_eq!(profile.period, period);
            assert_eq!((profile.time_unix_nano, profile.duration_nano), (1000, 50));
            assert_eq!(profile.profile_id.len(), 16);
        }
    }
}

/// Checks that what no sample uses isn't sent, and that an empty profile is
/// no request.
#[test]
fn nothing_superfluous() {
    let mut profile = profile(ProfileKind::OnCpu, 300);
    profile.samples.truncate(1);
    let requests = requests(&profile, 1 << 20);
    let dictionary = requests[0].dictionary.as_ref().expect("a dictionary");
    assert_eq!(dictionary.function_table.len(), 2);
    assert_eq!(dictionary.stack_table.len(), 2);
    profile.samples.clear();
    assert!(self::requests(&profile, 1 << 20).is_empty());
}
