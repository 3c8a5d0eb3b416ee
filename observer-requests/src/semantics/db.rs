//! Databases (stable): `docs/db/database-spans.md` of the conventions.

use super::attributes::Attributes;
use super::error::database_code;
use crate::call::Db;
use crate::finished::Finished;
use crate::redact::{Redacted, Redactor};

/// Adds what is known, and gives the span's name: the query's summary, else
/// operation and target, else the system.
pub(super) fn describe(
    call: &Db,
    finished: &Finished,
    redact: &Redactor,
    out: &mut Attributes,
) -> Redacted {
    let system = call.system.network_name();
    let clean = |text: &str| redact.text(text);
    let summary = clean(&call.summary);
    let operation = clean(&call.operation);
    let collection = call.collection.as_deref().map(clean);
    let namespace = call.namespace.as_deref().map(clean);
    out.put("db.system.name", system);
    out.put_text("db.operation.name", operation.clone());
    out.put_text("db.query.summary", summary.clone());
    out.put_text("db.collection.name", collection.clone().unwrap_or_default());
    out.put_text("db.namespace", namespace.clone().unwrap_or_default());
    if let Some(text) = &call.text {
        out.put_text("db.query.text", redact.text(text));
    }
    let code = call.error.as_deref().and_then(database_code);
    out.put_some(
        "db.response.status_code",
        code.map(|code| Redacted::code(code.to_owned())),
    );
    out.put_some("db.response.returned_rows", call.rows);
    if let Some(cache) = call.cache {
        out.put("observer.cache.result", cache.result.name());
        if cache.hits + cache.misses > 0 {
            out.put("observer.cache.hits", cache.hits);
            out.put("observer.cache.misses", cache.misses);
        }
    }
    if call.unseen {
        out.put("observer.outcome", super::OUTCOME_UNKNOWN);
    }
    // A batch of one is none.
    out.put_some("db.operation.batch.size", call.batch.filter(|n| *n > 1));
    let server = super::served_by(&finished.endpoints, finished.role);
    let name = server.map(|(address, port)| {
        out.put_address("server.address", address);
        out.put("server.port", port);
        Redacted::from(address).and(":", &Redacted::code(port.to_string()))
    });
    if !summary.is_empty() {
        return summary;
    }
    let target = collection.or(namespace).filter(|t| !t.is_empty()).or(name);
    match (operation.is_empty(), target) {
        (false, Some(target)) => operation.and(" ", &target),
        (false, None) => operation,
        (true, Some(target)) => target,
        (true, None) => system.into(),
    }
}
