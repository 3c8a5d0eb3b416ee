//! From a request that is over to its span, in the words of OpenTelemetry's
//! semantic conventions 1.44.
//!
//! HTTP's, the general ones and those of databases are stable. RPC's are the
//! release candidate (`rpc.system.name`, `rpc.method` with the service in it,
//! `rpc.response.status_code`, `rpc.server.call.duration`). DNS has names for
//! questions and answers only; what else is told of it is called `observer.dns.*`.

mod attributes;
mod db;
mod dns;
pub mod error;
mod http;
mod rpc;
pub mod time;

use std::net::IpAddr;

use attributes::Attributes;

pub use error::{error_type, is_error};
pub use rpc::{
    METHOD_UNKNOWN, method as rpc_method, status as rpc_status, status_name as rpc_status_name,
};

use super::call::{Call, HttpVersion, Method};
use super::finished::{Endpoints, Finished, Parent, Role, Transport};
use super::redact::{Redacted, Redactor};
use super::target::host_and_port;
use observer_signals::WallClock;
use observer_signals::attribute::SharedResource;
use observer_signals::{Span, SpanKind, SpanStatus};

/// Makes the span of a request. `redact` decides what of its texts leaves.
pub fn span(
    finished: &Finished,
    clock: WallClock,
    resource: SharedResource,
    redact: &Redactor,
) -> Span {
    let mut out = Attributes::new(finished);
    let name = match &finished.call {
        Call::Http(call) => http::describe(call, finished, redact, &mut out),
        Call::Rpc(call) => rpc::describe(call, finished, redact, &mut out),
        Call::Db(call) => db::describe(call, finished, redact, &mut out),
        Call::Dns(call) => dns::describe(call, finished, redact, &mut out),
    };
    network(finished, &mut out);
    out.put("process.pid", finished.tgid);
    out.put("thread.id", finished.tid);
    out.put_some("observer.parent", parent(finished.parent));
    time::describe(finished, &mut out);
    let error = error::find(&finished.call, finished.role);
    if let Some(error) = &error {
        out.put("error.type", Redacted::code(error.name()));
    }
    Span {
        resource,
        trace_id: finished.trace_id,
        span_id: finished.span_id,
        parent_span_id: finished.parent_span_id,
        name: name.name().into_string(),
        kind: match finished.role {
            Role::Server => SpanKind::Server,
            Role::Client => SpanKind::Client,
        },
        start: clock.wall(finished.begun),
        end: clock.wall(finished.ended.max(finished.begun)),
        attributes: out.finish(),
        events: Vec::new(),
        dropped_events: 0,
        status: error.map_or(SpanStatus::Unset, |error| {
            SpanStatus::Error(error.description().to_owned())
        }),
    }
}

/// What the connection tells.
fn network(finished: &Finished, out: &mut Attributes) {
    let endpoints = &finished.endpoints;
    out.put("network.transport", transport(endpoints.transport));
    if let Some((address, port)) = endpoints.peer {
        out.put_address("network.peer.address", address);
        out.put("network.peer.port", port);
    }
}

/// The value of `network.transport`.
pub fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Unix => "unix",
    }
}

/// The value of `observer.outcome` where the end of an answer wasn't seen: whether it
/// failed isn't known.
pub const OUTCOME_UNKNOWN: &str = "unknown";

/// The value of `observer.head` where fields of the request's head aren't known.
pub const HEAD_PARTIAL: &str = "partial";

/// The value of `observer.parent`: how sure the parent is, where it isn't.
fn parent(parent: Parent) -> Option<&'static str> {
    match parent {
        Parent::Root | Parent::Remote | Parent::OtherEnd | Parent::Thread => None,
        Parent::HandedOver => Some("handed_over"),
        Parent::Ambiguous => Some("ambiguous"),
        Parent::Unknown => Some("unknown"),
    }
}

/// The value of `http.request.method`.
pub fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other => "_OTHER",
    }
}

/// The value of `network.protocol.version`.
pub fn http_version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    }
}

/// The value of `url.scheme`.
pub fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server<'a> {
    /// As the request's head says.
    Named(&'a str),
    /// The connection's end.
    Address(IpAddr),
}

impl Server<'_> {
    /// The value of `server.address`.
    pub fn told(self, redact: &Redactor) -> Redacted {
        match self {
            Self::Named(name) => redact.name(name),
            Self::Address(address) => address.into(),
        }
    }
}

/// `server.address` and `server.port`: what the request's head calls the server,
/// else the address of the connection's end that serves.
pub fn server<'a>(
    host: Option<&'a str>,
    endpoints: &Endpoints,
    role: Role,
) -> Option<(Server<'a>, Option<u16>)> {
    let end = served_by(endpoints, role);
    if let Some((name, port)) = host.and_then(host_and_port) {
        // Without a port it is the usual one; behind a forwarded port the
        // connection's own would be another server's.
        let usual = if endpoints.tls { 443 } else { 80 };
        return Some((Server::Named(name), Some(port.unwrap_or(usual))));
    }
    let (address, port) = end?;
    Some((Server::Address(address), Some(port)))
}

/// The address of the end that serves.
pub fn served_by(endpoints: &Endpoints, role: Role) -> Option<(IpAddr, u16)> {
    match role {
        Role::Server => endpoints.local,
        Role::Client => endpoints.peer,
    }
}

#[cfg(test)]
mod tests;
