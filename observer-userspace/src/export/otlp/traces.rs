//! Spans as OTLP trace requests.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{self as proto, span};
use prost::Message;

use super::attributes::{key_values, resource, scope};
use super::{MAX_REQUEST_BYTES, SCHEMA_URL};
use crate::signals::{Attribute, Resource, Span, SpanKind, SpanStatus};

/// Span flags, OTLP `SpanFlags`: bit 8 says that bit 9 (the parent is remote)
/// is meaningful; Observer's parents never are.
const FLAGS_HAS_IS_REMOTE: u32 = 0x100;

/// Groups spans by resource and hands requests of at most `limit` bytes, with
/// the number of spans in each, to `emit`. `extra` are attributes for every
/// resource.
pub fn encode(
    spans: &[Span],
    extra: &[Attribute],
    limit: usize,
    mut emit: impl FnMut(ExportTraceServiceRequest, u64),
) {
    let mut request = ExportTraceServiceRequest::default();
    let mut groups: HashMap<*const Resource, usize> = HashMap::new();
    let mut size = 0;
    let mut count = 0;
    for span in spans {
        let encoded = encode_span(span);
        let span_size = framed(encoded.encoded_len());
        let key = Arc::as_ptr(&span.resource);
        let mut group = groups.get(&key).copied();
        if count > 0 && size + span_size > limit {
            emit(std::mem::take(&mut request), count);
            groups.clear();
            (size, count, group) = (0, 0, None);
        }
        let group = match group {
            Some(index) => index,
            None => {
                let new = proto::ResourceSpans {
                    resource: Some(resource(&span.resource, extra)),
                    scope_spans: vec![proto::ScopeSpans {
                        scope: Some(scope()),
                        spans: Vec::new(),
                        schema_url: SCHEMA_URL.to_owned(),
                    }],
                    schema_url: SCHEMA_URL.to_owned(),
                };
                size += framed(new.encoded_len());
                request.resource_spans.push(new);
                let index = request.resource_spans.len() - 1;
                groups.insert(key, index);
                index
            }
        };
        size += span_size;
        count += 1;
        request.resource_spans[group].scope_spans[0]
            .spans
            .push(encoded);
    }
    if count > 0 {
        emit(request, count);
    }
}

/// As [`encode`], with the limit that receivers expect.
pub fn encode_all(
    spans: &[Span],
    extra: &[Attribute],
    emit: impl FnMut(ExportTraceServiceRequest, u64),
) {
    encode(spans, extra, MAX_REQUEST_BYTES, emit);
}

/// An upper bound of what a message of `len` bytes takes within its parents:
/// tag and length, and the growth of the two enclosing lengths.
pub(super) fn framed(len: usize) -> usize {
    len + 8
}

fn encode_span(span: &Span) -> proto::Span {
    let parent = span.parent_span_id.iter().any(|&b| b != 0);
    proto::Span {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        parent_span_id: if parent {
            span.parent_span_id.to_vec()
        } else {
            Vec::new()
        },
        flags: if parent { FLAGS_HAS_IS_REMOTE } else { 0 },
        name: span.name.clone(),
        kind: match span.kind {
            SpanKind::Internal => span::SpanKind::Internal,
            SpanKind::Server => span::SpanKind::Server,
            SpanKind::Client => span::SpanKind::Client,
        } as i32,
        start_time_unix_nano: span.start,
        // A span must not end before it starts, whatever the clocks did.
        end_time_unix_nano: span.end.max(span.start),
        attributes: key_values(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| span::Event {
                time_unix_nano: event.time,
                name: event.name.to_owned(),
                attributes: key_values(&event.attributes),
                dropped_attributes_count: 0,
            })
            .collect(),
        dropped_events_count: span.dropped_events,
        status: match &span.status {
            SpanStatus::Unset => None,
            SpanStatus::Error(message) => Some(proto::Status {
                message: message.clone(),
                code: proto::status::StatusCode::Error as i32,
            }),
        },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Checks that splitting keeps every span once, under its own resource,
    /// and that no request is above the limit.
    #[test]
    fn splits_without_loss() {
        let spans = spans(500);
        let extra = [
            Attribute::new("deployment.environment.name", "test"),
            Attribute::new("service.name", "the daemon's own"),
        ];
        let mut names = Vec::new();
        let mut counted = 0;
        let mut requests = 0;
        encode(&spans, &extra, 4000, |request, count| {
            assert!(request.encoded_len() <= 4000);
            requests += 1;
            counted += count;
            for group in &request.resource_spans {
                let attributes = &group.resource.as_ref().expect("a resource").attributes;
                assert_eq!(attributes.len(), 2, "service.name is not overwritten");
                let even = format!("{:?}", attributes[0]).contains("\"a\"");
                for span in &group.scope_spans[0].spans {
                    let number: usize = span.name[5..].parse().expect("a number");
                    assert_eq!(number.is_multiple_of(2), even);
                    names.push(number);
                }
            }
        });
        names.sort_unstable();
        assert_eq!(names, (0..500).collect::<Vec<_>>());
        assert_eq!(counted, 500);
        assert!(requests > 5);
    }
}
