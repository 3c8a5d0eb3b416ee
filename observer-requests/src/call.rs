//! What was asked and answered, by kind of protocol: as it was on the wire, but
//! for what is never kept (bodies, literals, secrets).

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use observer_common::requests::Protocol;

/// A request with its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// HTTP.
    Http(Http),
    /// gRPC, over HTTP/2.
    Rpc(Rpc),
    /// A database.
    Db(Db),
    /// A look-up of a name.
    Dns(Dns),
}

impl Call {
    /// Whether fields of its request's head aren't known.
    pub fn is_partial(&self) -> bool {
        match self {
            Self::Http(call) => call.partial,
            Self::Rpc(call) => call.partial,
            Self::Db(_) | Self::Dns(_) => false,
        }
    }

    /// Its client closed the connection before the answer was over.
    pub(crate) fn given_up(&mut self) {
        let failure = match self {
            Self::Http(call) => &mut call.failure,
            Self::Rpc(call) => &mut call.failure,
            Self::Db(call) => &mut call.failure,
            Self::Dns(call) => &mut call.failure,
        };
        if *failure == Some(Failure::Closed) {
            *failure = Some(Failure::Cancelled);
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The connection ended first.
    Closed,
    /// The request was given up by the client (HTTP/2's RST_STREAM with CANCEL; to
    /// a server also a connection that its client closed first).
    Cancelled,
    /// The stream was reset with this error code (RFC 9113, 7).
    Reset(u32),
    /// No answer came in time.
    Timeout,
}

/// HTTP's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// HTTP's methods that semantic conventions know; others are `_OTHER` there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// CONNECT.
    Connect,
    /// OPTIONS.
    Options,
    /// TRACE.
    Trace,
    /// PATCH.
    Patch,
    /// Another one, or not known (a request whose head wasn't seen).
    Other,
}

impl Method {
    /// Bytes of the longest name that isn't RFC 9110's and is kept.
    pub(crate) const LONGEST: usize = 24;

    /// A method by its name, which is case-sensitive (RFC 9110, 9.1).
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// What an HTTP request's head says. Requests that say the same share it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpHead {
    /// The method.
    pub method: Method,
    /// The method as it was sent, if it is [`Method::Other`] and was seen.
    pub original: Option<Arc<str>>,
    /// The target as it was sent (`/a?b=c`, `*`, `http://…`), cut at 2 KiB; empty
    /// if it wasn't seen. Bytes that are no UTF-8 are escaped (`%E9`). Contains
    /// secrets: see `redact`.
    pub target: String,
    /// Whether the target was longer than what is kept or was captured.
    pub cut: bool,
    /// Whether fields of the head aren't known, of which any may have been there.
    pub partial: bool,
    /// `Host` or `:authority`.
    pub host: Option<Arc<str>>,
    /// `User-Agent`.
    pub user_agent: Option<Arc<str>>,
    /// The version.
    pub version: HttpVersion,
}

/// An HTTP request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// What its head says, whose fields are as good as its own.
    pub head: Arc<HttpHead>,
    /// Status code; `None` without an answer, or if it wasn't seen.
    pub status: Option<u16>,
    /// Body bytes of the request, if known.
    pub request_size: Option<u64>,
    /// Body bytes of the answer, if known.
    pub response_size: Option<u64>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
    /// Whether what the answer says of it isn't known.
    pub unseen: bool,
}

impl Deref for Http {
    type Target = HttpHead;

    fn deref(&self) -> &HttpHead {
        &self.head
    }
}

impl DerefMut for Http {
    fn deref_mut(&mut self) -> &mut HttpHead {
        Arc::make_mut(&mut self.head)
    }
}

/// A gRPC call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rpc {
    /// `package.Service`.
    pub service: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// `:authority`.
    pub host: Option<Arc<str>>,
    /// `grpc-status`, from trailers or an answer of trailers only.
    pub status: Option<u32>,
    /// HTTP's own status, where it isn't 200.
    pub http_status: Option<u16>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
    /// Whether fields of the request's head aren't known, as of [`HttpHead::partial`].
    pub partial: bool,
    /// Whether it was answered, but with which status isn't known.
    pub unseen: bool,
}

/// What a database is asked for. Operations that say the same mostly share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `SELECT`, `GET`: of low cardinality; empty if not known.
    pub operation: Cow<'static, str>,
    /// `SELECT users`: of low cardinality; empty if not known.
    pub summary: Arc<str>,
    /// The statement without its literals.
    pub text: Option<Arc<str>>,
    /// The table, if there is just one.
    pub collection: Option<Arc<str>>,
    /// Statements in one request, where more than one.
    pub batch: Option<u32>,
}

/// What a cache made of what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// All that was asked for was there.
    Hit,
    /// Nothing of it was.
    Miss,
    /// Some of several keys were.
    Partial,
    /// A new value is stored.
    Stored,
    /// It wasn't, since its condition isn't met.
    NotStored,
    /// It wasn't, since there is another one.
    Exists,
}

impl CacheResult {
    /// What users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Partial => "partial",
            Self::Stored => "stored",
            Self::NotStored => "not_stored",
            Self::Exists => "exists",
        }
    }
}

/// A cache's result, by keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Of all together.
    pub result: CacheResult,
    /// Keys that were there.
    pub hits: u32,
    /// Keys that weren't.
    pub misses: u32,
}

/// A database operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Db {
    /// Which system, by the protocol that it speaks.
    pub system: Protocol,
    /// What it was asked for, whose fields are as good as its own.
    pub asked: Arc<Asked>,
    /// The database's name (or number).
    pub namespace: Option<Arc<str>>,
    /// The system's own code of what went wrong: SQLSTATE, MySQL's number,
    /// Redis's prefix (`WRONGTYPE`).
    pub error: Option<String>,
    /// Rows that came back or were changed, if told.
    pub rows: Option<u64>,
    /// Whether it was there, of a cache that says so.
    pub cache: Option<Cache>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
    /// Whether its end wasn't seen, nor, therefore, whether it failed.
    pub unseen: bool,
}

impl Db {
    /// An operation of which nothing is known yet.
    pub fn new(system: Protocol) -> Self {
        Self {
            system,
            asked: Arc::default(),
            namespace: None,
            error: None,
            rows: None,
            cache: None,
            failure: None,
            unseen: false,
        }
    }
}

impl Deref for Db {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

/// A look-up of a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dns {
    /// The name without its last dot, cut at 255 bytes.
    pub name: String,
    /// Type of the question: `A`, `AAAA`, … or `TYPE65`.
    pub question: Cow<'static, str>,
    /// The answer's code (RFC 1035, 4.1.1 and later): 0 = NOERROR, 3 = NXDOMAIN.
    pub code: Option<u8>,
    /// Addresses and names that it was answered with, 16 at most.
    pub answers: Vec<String>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
}
