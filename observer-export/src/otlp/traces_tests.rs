//! Checks encoded spans by decoding them with prost.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{self as proto, span};

use prost::Message;

use super::*;
use crate::otlp::SCHEMA_URL;
use crate::otlp::attributes::{key_value, key_values, scope};
use observer_signals::SpanEvent;

fn spans(count: usize) -> Vec<Span> {
    let resources: Vec<Arc<Resource>> = ["a", "b"]
        .into_iter()
        .map(|name| {
            Arc::new(Resource {
                attributes: vec![Attribute::new("service.name", name)],
            })
        })
        .collect();
    (0..count)
        .map(|i| Span {
            resource: resources[i % 2].clone(),
            trace_id: [1; 16],
            span_id: [(i % 255) as u8 + 1; 8],
            parent_span_id: [0; 8],
            name: format!("span {i}"),
            kind: SpanKind::Client,
            start: 10,
            end: 20,
            attributes: vec![Attribute::new("network.peer.port", 80_i64)],
            events: Vec::new(),
            dropped_events: 0,
            status: SpanStatus::Error("reset".to_owned()),
        })
        .collect()
}

/// What requests within `limit` come to, decoded.
fn requests(spans: &[Span], extra: &[Attribute], limit: Limit) -> Vec<ExportTraceServiceRequest> {
    let mut requests = Vec::new();
    encode(spans, extra, limit, |bytes, count, _| {
        assert!(bytes.len() <= limit.bytes);
        assert!(count <= limit.spans);
        let request = ExportTraceServiceRequest::decode(bytes).expect("a request");
        let groups = request.resource_spans.iter();
        let spans: usize = groups.map(|g| g.scope_spans[0].spans.len()).sum();
        assert_eq!(spans as u64, count);
        requests.push(request);
    });
    requests
}

/// Checks that splitting, by bytes and by number, keeps every span once, under
/// its own resource.
#[test]
fn splits_without_loss() {
    let spans = spans(500);
    let extra = [
        Attribute::new("deployment.environment.name", "test"),
        Attribute::new("service.name", "the daemon's own"),
    ];
    for (limit, at_least) in [
        ((10_000, 4000), 6),
        ((50, 1 << 20), 10),
        ((500, 1 << 20), 1),
    ] {
        let (count, bytes) = limit;
        let limit = Limit {
            spans: count,
            bytes,
        };
        let requests = requests(&spans, &extra, limit);
        assert!(requests.len() >= at_least, "{} requests", requests.len());
        let mut names = Vec::new();
        for group in requests.iter().flat_map(|r| &r.resource_spans) {
            assert_eq!(group.schema_url, SCHEMA_URL);
            let of = &group.scope_spans[0];
            assert_eq!(
                (&of.schema_url[..], of.scope.clone()),
                (SCHEMA_URL, Some(scope()))
            );
            let attributes = &group.resource.as_ref().expect("a resource").attributes;
            assert_eq!(attributes.len(), 2, "service.name is not overwritten");
            let even = format!("{:?}", attributes[0]).contains("\"a\"");
            for span in &of.spans {
                let number: usize = span.name[5..].parse().expect("a number");
                assert_eq!(number.is_multiple_of(2), even);
                names.push(number);
            }
        }
        names.sort_unstable();
        assert_eq!(names, (0..500).collect::<Vec<_>>());
    }
}

/// Checks every field of a span, also those that aren't there.
#[test]
fn fields() {
    let mut full = spans(1).remove(0);
    let mut plain = full.clone();
    full.parent_span_id = [7; 8];
    full.kind = SpanKind::Server;
    full.end = 5;
    full.dropped_events = 300;
    full.attributes = vec![
        Attribute::new("url.path", "/users/7".to_owned()),
        Attribute::new("http.response.status_code", 500_i64),
        Attribute::new("observer.time.cpu", 0.02),
    ];
    full.events = vec![SpanEvent {
        time: 12,
        name: "tcp.retransmit",
        attributes: vec![Attribute::new("bytes", 1448_i64)],
    }];
    plain.status = SpanStatus::Unset;
    plain.attributes.clear();
    let mut child = plain.clone();
    child.parent_span_id = [9; 8];
    let all = [full.clone(), plain, child];
    let decoded = &requests(&all, &[], LIMIT)[0].resource_spans[0].scope_spans[0].spans;
    let expected = proto::Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        parent_span_id: vec![7; 8],
        flags: 0x301,
        name: "span 0".to_owned(),
        kind: span::SpanKind::Server as i32,
        start_time_unix_nano: 10,
        end_time_unix_nano: 10,
        attributes: key_values(&full.attributes),
        events: vec![span::Event {
            time_unix_nano: 12,
            name: "tcp.retransmit".to_owned(),
            attributes: vec![key_value(&full.events[0].attributes[0])],
            dropped_attributes_count: 0,
        }],
        dropped_events_count: 300,
        status: Some(proto::Status {
            message: "reset".to_owned(),
            code: proto::status::StatusCode::Error as i32,
        }),
        ..Default::default()
    };
    assert_eq!(decoded[0], expected);
    let expected = proto::Span {
        parent_span_id: Vec::new(),
        flags: 0x1,
        kind: span::SpanKind::Client as i32,
        end_time_unix_nano: 20,
        attributes: Vec::new(),
        events: Vec::new(),
        dropped_events_count: 0,
        status: None,
        ..expected
    };
    assert_eq!(decoded[1], expected);
    let expected = proto::Span {
        parent_span_id: vec![9; 8],
        flags: 0x101,
        ..expected
    };
    assert_eq!(decoded[2], expected);
}
