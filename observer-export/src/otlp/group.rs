//! What is around the metrics or spans of a resource in a request: a `ResourceMetrics` or
//! `ResourceSpans` with one scope. Both have the same fields under the same numbers
//! (opentelemetry/proto/metrics/v1/metrics.proto, trace/v1/trace.proto).

use prost::Message;

use super::SCHEMA_URL;
use super::attributes::scope;
use super::wire::Wire;

/// An upper bound of what a message of `len` bytes takes within its parents:
/// tag and length, and the growth of the two enclosing lengths.
pub(super) fn framed(len: usize) -> usize {
    len + 8
}

/// What a group takes beside its resource and what is of it, at most.
pub(super) fn around() -> usize {
    framed(2 * framed(SCHEMA_URL.len()) + 128)
}

/// The instrumentation scope, encoded.
pub(super) fn encoded_scope() -> Vec<u8> {
    scope().encode_to_vec()
}

/// Writes a group: `items` are the elements of its scope's list (field 2), encoded, and
/// `resource` and `scope` are encoded, too.
pub(super) fn write(request: &mut Wire, resource: &[u8], scope: &[u8], items: &[u8]) {
    // ScopeMetrics or ScopeSpans: scope, list, schema_url.
    let mut begin = Wire::default();
    begin.element(1, scope);
    let mut end = Wire::default();
    end.blob(3, SCHEMA_URL.as_bytes());
    let length = begin.bytes.len() + items.len() + end.bytes.len();
    // ResourceMetrics or ResourceSpans: resource, the scope, schema_url, which happens
    // to have the same number.
    let mut before = Wire::default();
    before.element(1, resource);
    before.length(2, length);
    request.length(1, before.bytes.len() + length + end.bytes.len());
    for part in [&before.bytes, &begin.bytes, items, &end.bytes, &end.bytes] {
        request.bytes.extend_from_slice(part);
    }
}
