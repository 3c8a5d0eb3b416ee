//! Requests: from the bytes of connections to spans and metrics, with no kernel
//! in sight.
//!
//! ```text
//!  pieces ──► protocol (http1, http2, postgres, …) ──► Event: begun, context, ended + Call
//!                                                        │
//!             tracer: whose child, which trace ◄─────────┘
//!                │
//!                ├──► metrics (all of them)
//!                └──► sampling ──► semantics ──► Span
//! ```

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

pub mod call;
pub mod dns;
pub mod finished;
pub mod frames;
pub mod grpc;
pub mod http1;
pub mod http2;
mod identifier;
mod input;
pub mod memcached;
pub mod metrics;
pub mod mysql;
pub mod ordered;
pub mod postgres;
pub mod protocol;
mod proxy;
pub mod redact;
pub mod redis;
pub mod routes;
pub mod semantics;
pub mod sql;
pub mod target;
#[cfg(any(test, feature = "testing"))]
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what tests are made of fails by panics"
)]
pub mod testing;
mod text;
pub mod trace_context;
pub mod tracer;
pub mod turn;

pub use call::{Asked, Call, Db, Dns, Failure, Http, HttpHead, HttpVersion, Method, Rpc};
pub use finished::{Endpoints, Finished, Parent, Role, Transport};
pub use protocol::{Chunk, Ended, Event, Events, Exchange, Parser, RemoteContext};
