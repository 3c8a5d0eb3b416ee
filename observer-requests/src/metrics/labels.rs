//! The attributes of a series, made once.

use crate::call::{Call, Http};
use crate::finished::{Finished, Role};
use crate::redact::{Redacted, Redactor, Told};
use crate::semantics::{self, error};
use crate::target::Target;
use observer_signals::Attribute;

const OVERFLOW: &str = "otel.metric.overflow";

/// Of the series for what found no place.
pub fn overflow() -> Vec<Attribute> {
    vec![Attribute::new(OVERFLOW, true)]
}

/// Whether these are [`overflow`]'s.
pub fn is_overflow(attributes: &[Attribute]) -> bool {
    matches!(attributes, [only] if only.key == OVERFLOW)
}

/// Of the series of a request's duration.
pub fn labels(finished: &Finished, redact: &Redactor) -> Vec<Attribute> {
    let mut labels = Labels(Vec::with_capacity(10));
    match &finished.call {
        Call::Http(call) => http(call, finished, redact, &mut labels),
        Call::Rpc(call) => {
            labels.add("rpc.system.name", "grpc");
            labels.add("rpc.method", rpc_method(finished, redact));
            if let Some(status) = semantics::rpc_status(call, finished.role) {
                let name = Redacted::code(semantics::rpc_status_name(status));
                labels.add("rpc.response.status_code", name);
            }
            labels.outcome(call.unseen);
            if finished.role == Role::Client {
                labels.server(call.host.as_deref(), finished, redact);
            }
        }
        Call::Db(call) => {
            labels.add("db.system.name", call.system.network_name());
            labels.text("db.operation.name", redact.text(&call.operation));
            labels.text("db.query.summary", redact.text(&call.summary));
            for (key, name) in [
                ("db.collection.name", &call.collection),
                ("db.namespace", &call.namespace),
            ] {
                labels.text(key, redact.text(name.as_deref().unwrap_or_default()));
            }
            if let Some(code) = call.error.as_deref().and_then(error::database_code) {
                labels.add("db.response.status_code", Redacted::code(code.to_owned()));
            }
            if let Some(cache) = call.cache {
                labels.add("observer.cache.result", cache.result.name());
            }
            labels.outcome(call.unseen);
            if finished.role == Role::Client {
                labels.server(None, finished, redact);
            }
        }
        Call::Dns(call) => labels.text("dns.question.name", redact.name(&call.name)),
    }
    if let Some(error) = semantics::error_type(&finished.call, finished.role) {
        labels.add("error.type", Redacted::code(error));
    }
    labels.sorted()
}

/// Of the times of a request's route, or what stands for one.
pub fn of_times(finished: &Finished, redact: &Redactor) -> Vec<Attribute> {
    let mut labels = Labels(Vec::with_capacity(3));
    match &finished.call {
        Call::Http(_) => labels.route(finished),
        Call::Rpc(_) => labels.add("rpc.method", rpc_method(finished, redact)),
        Call::Db(call) => {
            labels.add("db.system.name", call.system.network_name());
            labels.text("db.operation.name", redact.text(&call.operation));
        }
        Call::Dns(_) => labels.add("network.protocol.name", "dns"),
    }
    labels.sorted()
}

fn http(call: &Http, finished: &Finished, redact: &Redactor, labels: &mut Labels) {
    labels.add("http.request.method", semantics::method(call.method));
    labels.add("url.scheme", semantics::scheme(finished.endpoints.tls));
    let version = semantics::http_version(call.version);
    labels.add("network.protocol.version", version);
    if let Some(status) = call.status {
        labels.add("http.response.status_code", status);
    }
    labels.outcome(call.unseen);
    match finished.role {
        Role::Server => labels.route(finished),
        Role::Client => {
            let target = Target::split(&call.target);
            let host = target.authority.or(call.host.as_deref());
            labels.server(host, finished, redact);
        }
    }
}

fn rpc_method(finished: &Finished, redact: &Redactor) -> Redacted {
    let method = match &finished.call {
        Call::Rpc(call) => semantics::rpc_method(call, redact),
        _ => None,
    };
    method.unwrap_or_else(|| semantics::METHOD_UNKNOWN.into())
}

/// Of what may be told, see [`Told`].
struct Labels(Vec<Attribute>);

impl Labels {
    fn add(&mut self, key: &'static str, value: impl Into<Told>) {
        self.0.push(Attribute::new(key, value.into()));
    }

    /// Adds a text, unless it is empty.
    fn text(&mut self, key: &'static str, text: Redacted) {
        if !text.is_empty() {
            self.add(key, text.name());
        }
    }

    fn outcome(&mut self, unseen: bool) {
        if unseen {
            self.add("observer.outcome", semantics::OUTCOME_UNKNOWN);
        }
    }

    fn route(&mut self, finished: &Finished) {
        let route = finished.route.as_deref().map(Redacted::route);
        self.text("http.route", route.unwrap_or_default());
    }

    fn server(&mut self, host: Option<&str>, finished: &Finished, redact: &Redactor) {
        if let Some((address, port)) = semantics::server(host, &finished.endpoints, finished.role) {
            self.text("server.address", address.told(redact));
            if let Some(port) = port {
                self.add("server.port", port);
            }
        }
    }

    fn sorted(mut self) -> Vec<Attribute> {
        self.0.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.0
    }
}
