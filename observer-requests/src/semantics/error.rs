//! What counts as an error, and what it is called: one answer for the span's
//! status, its `error.type`, that of the metrics, and the rule that keeps spans
//! of errors.

use std::borrow::Cow;

use super::rpc;
use crate::call::{Call, Dns, Failure};
use crate::finished::Role;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<'a> {
    /// HTTP's status code.
    Status(u16),
    /// A database's own code.
    Code(&'a str),
    /// gRPC's status code.
    Rpc(u32),
    /// DNS's.
    Dns(u8),
    /// There is no answer, or not all of it.
    Failure(Failure),
}

/// What went wrong, if anything did. Costs a few comparisons.
///
/// - HTTP: 5xx, and for clients 4xx. Requests that a client gave up by itself
///   aren't errors.
/// - gRPC: for clients every status but OK; for servers those that are the
///   server's fault (UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL,
///   UNAVAILABLE, `DATA_LOSS`).
/// - Databases: whatever they call an error.
/// - DNS: for clients every code but NOERROR; for servers SERVFAIL, because
///   a name that doesn't exist was answered well.
/// - All: no answer; but for a server whose client left before it came.
pub fn find(call: &Call, role: Role) -> Option<Error<'_>> {
    match call {
        Call::Http(call) => match (call.status, call.failure) {
            (Some(status), _) if status >= 500 || (status >= 400 && role == Role::Client) => {
                Some(Error::Status(status))
            }
            (_, Some(Failure::Cancelled)) => None,
            (_, failure) => failure.map(Error::Failure),
        },
        Call::Rpc(call) => match rpc::status(call, role) {
            Some(status) => rpc::is_error(status, role).then_some(Error::Rpc(status)),
            None => call.failure.map(Error::Failure),
        },
        Call::Db(call) => match (&call.error, call.failure) {
            (Some(code), _) => Some(Error::Code(code)),
            (None, Some(Failure::Cancelled)) => None,
            (None, failure) => failure.map(Error::Failure),
        },
        Call::Dns(Dns { code, failure, .. }) => match (code, failure) {
            (Some(0), _) | (None, None) => None,
            (Some(code), _) if role == Role::Client || *code == SERVFAIL => Some(Error::Dns(*code)),
            (Some(_), _) => None,
            (None, Some(failure)) => Some(Error::Failure(*failure)),
        },
    }
}

/// Whether a request failed, as seen from this side; see [`find`].
pub fn is_error(call: &Call, role: Role) -> bool {
    find(call, role).is_some()
}

/// The value of `error.type`: of low cardinality; `None` if it didn't fail.
pub fn error_type(call: &Call, role: Role) -> Option<Cow<'static, str>> {
    find(call, role).map(|error| error.name())
}

/// RFC 1035, 4.1.1.
const SERVFAIL: u8 = 2;

/// Codes of databases are a few capitals and digits; the rest isn't a code.
const LONGEST_CODE: usize = 32;

impl Error<'_> {
    /// The value of `error.type`.
    pub fn name(&self) -> Cow<'static, str> {
        match *self {
            Self::Status(status) => status_text(status),
            Self::Code(code) => database_code(code).map_or(OTHER.into(), |c| c.to_owned().into()),
            Self::Rpc(status) => rpc::status_name(status),
            Self::Dns(code) => super::dns::code_name(code),
            Self::Failure(failure) => failure_name(failure).into(),
        }
    }

    /// What `error.type` leaves open; empty where it says everything.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Failure(Failure::Closed) => "the connection ended before the answer",
            Self::Failure(Failure::Cancelled) => "the client gave it up",
            Self::Failure(Failure::Reset(_)) => "the stream was reset",
            Self::Failure(Failure::Timeout) => "no answer came",
            _ => "",
        }
    }
}

/// Where there is no name for it.
const OTHER: &str = "_OTHER";

/// A database's code, if it looks like one.
pub fn database_code(code: &str) -> Option<&str> {
    let usual = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=LONGEST_CODE).contains(&code.len()).then_some(code)?;
    code.bytes().all(usual).then_some(code)
}

fn status_text(status: u16) -> Cow<'static, str> {
    match status {
        400 => "400".into(),
        401 => "401".into(),
        403 => "403".into(),
        404 => "404".into(),
        500 => "500".into(),
        502 => "502".into(),
        503 => "503".into(),
        504 => "504".into(),
        other => other.to_string().into(),
    }
}

/// The value of `error.type` where there is no answer.
pub fn failure_name(failure: Failure) -> &'static str {
    match failure {
        Failure::Closed => "connection_closed",
        Failure::Cancelled => "cancelled",
        Failure::Timeout => "timeout",
        Failure::Reset(code) => reset_name(code),
    }
}

/// HTTP/2's error codes (RFC 9113, 7).
fn reset_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).copied().unwrap_or(OTHER)
}
