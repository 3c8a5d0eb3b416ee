//! HTTP (stable): `docs/http/http-spans.md` of the conventions.

use std::borrow::Cow;

use super::Server;
use super::attributes::Attributes;
use crate::call::{Http, Method};
use crate::finished::{Finished, Role};
use crate::redact::{Redacted, Redactor};
use crate::target::Target;

/// Adds what is known, and gives the span's name: `{method} {route}`. Clients
/// have no routes in the conventions, but templates of URLs, which is the same.
pub(super) fn describe(
    call: &Http,
    finished: &Finished,
    redact: &Redactor,
    out: &mut Attributes,
) -> Redacted {
    let endpoints = &finished.endpoints;
    let target = Target::split(&call.target);
    let scheme = super::scheme(endpoints.tls);
    method(call, out);
    out.put_some("http.response.status_code", call.status);
    out.put_some("http.request.body.size", call.request_size);
    out.put_some("http.response.body.size", call.response_size);
    out.put("network.protocol.name", "http");
    out.put(
        "network.protocol.version",
        super::http_version(call.version),
    );
    out.put("url.scheme", scheme);
    if let Some(agent) = &call.user_agent {
        out.put("user_agent.original", redact.agent(agent));
    }
    let host = target.authority.or(call.host.as_deref());
    let server = super::server(host, endpoints, finished.role);
    if let Some((address, port)) = server {
        out.put("server.address", address.told(redact));
        out.put_some("server.port", port);
    }
    // A request whose head wasn't seen has no target.
    let seen = !call.target.is_empty();
    match finished.role {
        Role::Server => {
            if let Some(address) = endpoints.client_address() {
                out.put_address("client.address", address);
            }
            if seen {
                let path = if target.path.is_empty() {
                    "/"
                } else {
                    target.path
                };
                out.put("url.path", redact.path(path));
                out.put_some("url.query", target.query.map(|query| redact.query(query)));
            }
            out.put_some("http.route", finished.route.as_deref().map(Redacted::route));
        }
        Role::Client => {
            if seen && let Some((address, port)) = server {
                let usual = if endpoints.tls { 443 } else { 80 };
                let port = port.filter(|port| *port != usual);
                let host = match address {
                    Server::Named(name) => Cow::Borrowed(name),
                    Server::Address(address) => Cow::Owned(address.to_string()),
                };
                out.put("url.full", redact.url(scheme, &host, port, &target));
            }
            out.put_some(
                "url.template",
                finished.route.as_deref().map(Redacted::route),
            );
        }
    }
    let method = Redacted::from(match call.method {
        Method::Other => "HTTP",
        known => super::method(known),
    });
    match &finished.route {
        Some(route) => method.and(" ", &Redacted::route(route)),
        None => method,
    }
}

/// Adds the method, and what isn't known.
fn method(call: &Http, out: &mut Attributes) {
    out.put("http.request.method", super::method(call.method));
    if let Some(original) = &call.original {
        let original = Redacted::code(original.to_string());
        out.put("http.request.method_original", original);
    }
    if call.cut {
        out.put("observer.url.cut", true);
    }
    if call.partial {
        out.put("observer.head", super::HEAD_PARTIAL);
    }
    if call.unseen {
        out.put("observer.outcome", super::OUTCOME_UNKNOWN);
    }
}
