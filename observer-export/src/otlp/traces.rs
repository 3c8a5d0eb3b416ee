//! Spans as OTLP trace requests, encoded.
//!
//! Written field by field (see [`super::wire`]) in the layout of
//! opentelemetry/proto/trace/v1/trace.proto: a span takes less than a
//! microsecond.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::attributes::write_resource;
use super::group::{self, framed};
use super::shares::{OWN_BYTES, Shares, Whose};
use super::wire::Wire;
use observer_signals::{Attribute, Resource, Span, SpanKind, SpanStatus};

/// `SpanFlags`: W3C's trace flag "sampled", which every span has that is
/// exported.
const FLAG_SAMPLED: u32 = 0x01;
/// `SpanFlags`: whether the parent is remote is known.
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
/// `SpanFlags`: the parent is in another process.
const FLAG_IS_REMOTE: u32 = 0x200;

/// `Status.StatusCode.STATUS_CODE_ERROR`.
const STATUS_ERROR: u64 = 2;

/// How much goes into one request.
#[derive(Clone, Copy, Debug)]
struct Limit {
    spans: u64,
    bytes: usize,
}

/// What collectors take at once without trouble, well below gRPC's 4 MiB.
const LIMIT: Limit = Limit {
    spans: 2000,
    bytes: 1 << 20,
};

/// Groups spans by resource and hands encoded `ExportTraceServiceRequest`s,
/// with the number of spans in each and whose they are, to `emit`. `extra` are attributes for
/// every resource.
pub fn encode_all(spans: &[Span], extra: &[Attribute], emit: impl FnMut(&[u8], u64, &Shares)) {
    encode(spans, extra, LIMIT, emit);
}

fn encode(
    spans: &[Span],
    extra: &[Attribute],
    limit: Limit,
    mut emit: impl FnMut(&[u8], u64, &Shares),
) {
    let mut groups = Groups::default();
    let mut one = Wire::default();
    for span in spans {
        one.bytes.clear();
        encode_span(span, &mut one);
        let size = framed(one.bytes.len());
        if groups.count > 0 && (groups.count == limit.spans || groups.size + size > limit.bytes) {
            groups.flush(&mut emit);
        }
        let group = groups.of(&span.resource, extra);
        // ScopeSpans.spans
        group.spans.element(2, &one.bytes);
        group.count += 1;
        groups.size += size;
        groups.count += 1;
    }
    groups.flush(&mut emit);
}

/// A request in the making.
#[derive(Default)]
struct Groups {
    /// By where their resources are in memory.
    groups: FxHashMap<usize, Group>,
    /// Encoded size so far, a little overestimated.
    size: usize,
    count: u64,
}

/// The spans of one resource.
struct Group {
    /// How many came before it.
    number: usize,
    whose: Whose,
    /// Spans of it.
    count: u64,
    resource: Vec<u8>,
    spans: Wire,
}

impl Groups {
    fn of(&mut self, whose: &Arc<Resource>, extra: &[Attribute]) -> &mut Group {
        let number = self.groups.len();
        let group = self.groups.entry(Arc::as_ptr(whose) as usize);
        group.or_insert_with(|| {
            let mut resource = Wire::default();
            write_resource(&mut resource, whose, extra);
            self.size += resource.bytes.len() + group::around();
            Group {
                number,
                whose: Whose::of(whose),
                count: 0,
                resource: resource.bytes,
                spans: Wire::default(),
            }
        })
    }

    fn flush(&mut self, emit: &mut impl FnMut(&[u8], u64, &Shares)) {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_unstable_by_key(|group| group.number);
        let (large, small): (Vec<&Group>, Vec<&Group>) = groups
            .into_iter()
            .partition(|group| group.spans.bytes.len() > OWN_BYTES);
        for group in large {
            write(&[group], emit);
        }
        write(&small, emit);
        *self = Self::default();
    }
}

/// Hands on a request of these resources, if there are any.
fn write(groups: &[&Group], emit: &mut impl FnMut(&[u8], u64, &Shares)) {
    if groups.is_empty() {
        return;
    }
    let (mut request, mut shares, mut count) = (Wire::default(), Shares::default(), 0);
    let scope = group::encoded_scope();
    for group in groups {
        let before = request.bytes.len();
        group::write(&mut request, &group.resource, &scope, &group.spans.bytes);
        shares.add(group.whose, request.bytes.len() - before);
        count += group.count;
    }
    emit(&request.bytes, count, &shares);
}

/// Writes the fields of a `Span`.
fn encode_span(span: &Span, out: &mut Wire) {
    out.blob(1, &span.trace_id);
    out.blob(2, &span.span_id);
    let mut flags = FLAG_SAMPLED;
    if span.parent_span_id != [0; 8] {
        out.blob(4, &span.parent_span_id);
        flags |= FLAG_HAS_IS_REMOTE;
        // Who is asked is asked by another process; who asks does so as part
        // of something in its own.
        if span.kind == SpanKind::Server {
            flags |= FLAG_IS_REMOTE;
        }
    }
    out.blob(5, span.name.as_bytes());
    out.number(
        6,
        match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
    );
    out.fixed64(7, span.start);
    // A span must not end before it starts, whatever the clocks did.
    out.fixed64(8, span.end.max(span.start));
    out.attributes(9, &span.attributes);
    for event in &span.events {
        out.message(11, |out| {
            out.fixed64(1, event.time);
            out.blob(2, event.name.as_bytes());
            out.attributes(3, &event.attributes);
        });
    }
    out.number(12, span.dropped_events.into());
    if let SpanStatus::Error(message) = &span.status {
        out.message(15, |out| {
            out.blob(2, message.as_bytes());
            out.number(3, STATUS_ERROR);
        });
    }
    out.fixed32(16, flags);
}

#[cfg(test)]
#[path = "traces_tests.rs"]
mod tests;
