//! DNS: names from the conventions' registry; the rest is Observer's.

use std::borrow::Cow;

use super::attributes::Attributes;
use crate::call::Dns;
use crate::finished::Finished;
use crate::redact::{Redacted, Redactor};

/// Codes of answers, as IANA's registry "DNS RCODEs" calls them.
const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

/// Adds what is known, and gives the span's name: of the type of the question,
/// because names are many.
pub(super) fn describe(
    call: &Dns,
    finished: &Finished,
    redact: &Redactor,
    out: &mut Attributes,
) -> Redacted {
    out.put("network.protocol.name", "dns");
    out.put_text("dns.question.name", redact.name(&call.name));
    if !call.answers.is_empty() {
        let answers = call.answers.iter().map(|a| redact.name(a));
        out.put("dns.answers", answers.collect::<Vec<_>>());
    }
    let question = Redacted::code(call.question.clone());
    out.put_text("observer.dns.question.type", question.clone());
    let code = call.code.map(|code| Redacted::code(code_name(code)));
    out.put_some("observer.dns.response_code", code);
    if let Some((address, port)) = super::served_by(&finished.endpoints, finished.role) {
        out.put_address("server.address", address);
        out.put("server.port", port);
    }
    match call.question.is_empty() {
        true => "DNS lookup".into(),
        false => Redacted::from("DNS lookup").and(" ", &question),
    }
}

pub(super) fn code_name(code: u8) -> Cow<'static, str> {
    match CODES.get(usize::from(code)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("RCODE{code}")),
    }
}
