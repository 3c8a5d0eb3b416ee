//! What heads and trailers say, field by field.

use std::sync::Arc;

use super::field::{Field, Name, Value};
use crate::call::Method;
use crate::trace_context;

/// What a request's head says.
#[derive(Debug, Default)]
pub(super) struct RequestHead {
    /// Whether it can be one: a first field that isn't a pseudo-header field
    /// stands in trailers (RFC 9113, 8.3).
    pub trailers: bool,
    any: bool,
    pub method: Option<Method>,
    pub original: Option<Arc<str>>,
    pub path: Option<Arc<str>>,
    pub authority: Option<Arc<str>>,
    pub host: Option<Arc<str>>,
    pub user_agent: Option<Arc<str>>,
    /// Whether its content type is gRPC's, if that is known.
    pub grpc: Option<bool>,
    pub trace: trace_context::Headers,
    /// Whether some fields aren't known.
    pub partial: bool,
}

impl RequestHead {
    pub fn add(&mut self, field: &Field) {
        let text = || match &field.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let first = !std::mem::replace(&mut self.any, true);
        match (field.name, &field.value) {
            (Name::Method, Value::Method(method)) => self.method = Some(*method),
            (Name::Method, Value::Text(name)) => {
                self.method = Some(Method::Other);
                self.original = Some(name.clone());
            }
            (Name::Path, _) => self.path = text(),
            (Name::Authority, _) => self.authority = text(),
            (Name::Unknown, _) => self.partial = true,
            (Name::Method | Name::Status | Name::Pseudo, _) => {}
            _ if first => self.trailers = true,
            (Name::Host, _) => self.host = text(),
            (Name::UserAgent, _) => self.user_agent = text(),
            (Name::ContentType, Value::Grpc(grpc)) => self.grpc = Some(*grpc),
            (Name::Trace(_), Value::Part(part)) => self.trace.add(*part),
            _ => {}
        }
    }
}

/// What an answer's head or trailers say.
#[derive(Debug, Default)]
pub(super) struct AnswerHead {
    pub status: Option<u16>,
    pub length: Option<u64>,
    /// As of [`RequestHead`].
    pub grpc: Option<bool>,
    pub grpc_status: Option<u64>,
    /// Whether some fields aren't known.
    pub partial: bool,
}

impl AnswerHead {
    pub fn add(&mut self, field: &Field) {
        match (field.name, &field.value) {
            (Name::Status, Value::Number(status)) => self.status = (*status).try_into().ok(),
            (Name::ContentLength, Value::Number(length)) => self.length = Some(*length),
            (Name::ContentType, Value::Grpc(grpc)) => self.grpc = Some(*grpc),
            (Name::Unknown, _) => self.partial = true,
            (Name::GrpcStatus, Value::Number(status)) => self.grpc_status = Some(*status),
            _ => {}
        }
    }
}
