//! gRPC (release candidate): `docs/rpc/grpc.md` of the conventions.

use std::borrow::Cow;

use super::attributes::Attributes;
use crate::call::{Failure, Rpc};
use crate::finished::{Finished, Role};
use crate::redact::{Redacted, Redactor};

/// `rpc.method` where it wasn't seen.
pub const METHOD_UNKNOWN: &str = "_OTHER";

/// The status codes of gRPC, by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const CANCELLED: u32 = 1;
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;
const UNAUTHENTICATED: u32 = 16;

/// Adds what is known, and gives the span's name: the method with its service.
pub(super) fn describe(
    call: &Rpc,
    finished: &Finished,
    redact: &Redactor,
    out: &mut Attributes,
) -> Redacted {
    out.put("rpc.system.name", "grpc");
    out.put("network.protocol.name", "http");
    out.put("network.protocol.version", "2");
    let server = super::server(call.host.as_deref(), &finished.endpoints, finished.role);
    if let Some((address, port)) = server {
        out.put("server.address", address.told(redact));
        out.put_some("server.port", port);
    }
    if let (Role::Server, Some(address)) = (finished.role, finished.endpoints.client_address()) {
        out.put_address("client.address", address);
    }
    if call.partial {
        out.put("observer.head", super::HEAD_PARTIAL);
    }
    if call.unseen {
        out.put("observer.outcome", super::OUTCOME_UNKNOWN);
    }
    out.put_some(
        "rpc.response.status_code",
        status(call, finished.role).map(|status| Redacted::code(status_name(status))),
    );
    let Some(method) = method(call, redact) else {
        return "grpc".into();
    };
    out.put("rpc.method", method.clone());
    method
}

/// The value of `rpc.method`: `package.Service/Method`.
pub fn method(call: &Rpc, redact: &Redactor) -> Option<Redacted> {
    (!call.method.is_empty()).then(|| redact.rpc_method(&call.service, &call.method).name())
}

/// The status: the server's, or what a client makes of its absence as gRPC's
/// documents say (`http-grpc-status-mapping.md`, `PROTOCOL-HTTP2.md`, "Errors").
pub fn status(call: &Rpc, role: Role) -> Option<u32> {
    if let Some(status) = call.status {
        return Some(status);
    }
    match call.failure {
        Some(Failure::Cancelled) => return Some(CANCELLED),
        Some(Failure::Timeout) => return Some(DEADLINE_EXCEEDED),
        Some(Failure::Reset(code)) => return Some(of_reset(code)),
        // What the server would have said isn't known to it, either.
        Some(Failure::Closed) => return (role == Role::Client).then_some(UNAVAILABLE),
        None => {}
    }
    Some(match call.http_status? {
        200 => return None,
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    })
}

/// gRPC's status for HTTP/2's error codes.
fn of_reset(code: u32) -> u32 {
    match code {
        7 => UNAVAILABLE,
        8 => CANCELLED,
        11 => RESOURCE_EXHAUSTED,
        12 => PERMISSION_DENIED,
        _ => INTERNAL,
    }
}

/// Whether a status is an error, as seen from this side.
pub(super) fn is_error(status: u32, role: Role) -> bool {
    match role {
        Role::Client => status != 0,
        Role::Server => {
            matches!(
                status,
                UNKNOWN | DEADLINE_EXCEEDED | UNIMPLEMENTED | INTERNAL | UNAVAILABLE | DATA_LOSS
            )
        }
    }
}

/// The value of `rpc.response.status_code`.
pub fn status_name(status: u32) -> Cow<'static, str> {
    match NAMES.get(status as usize) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(status.to_string()),
    }
}
