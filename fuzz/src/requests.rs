//! The parsers of requests, by themselves.

#[path = "../../observer-userspace/src/requests/call.rs"]
pub mod call;
#[path = "../../observer-userspace/src/requests/conversation.rs"]
pub mod conversation;
#[path = "../../observer-userspace/src/requests/dns/mod.rs"]
pub mod dns;
#[path = "../../observer-userspace/src/requests/frames.rs"]
pub mod frames;
#[path = "../../observer-userspace/src/requests/grpc.rs"]
pub mod grpc;
#[path = "../../observer-userspace/src/requests/hostile.rs"]
pub mod hostile;
#[path = "../../observer-userspace/src/requests/http1/mod.rs"]
pub mod http1;
#[path = "../../observer-userspace/src/requests/http2/mod.rs"]
pub mod http2;
#[path = "../../observer-userspace/src/requests/input.rs"]
mod input;
#[path = "../../observer-userspace/src/requests/mysql/mod.rs"]
pub mod mysql;
#[path = "../../observer-userspace/src/requests/postgres/mod.rs"]
pub mod postgres;
#[path = "../../observer-userspace/src/requests/protocol.rs"]
pub mod protocol;
#[path = "../../observer-userspace/src/requests/sql/quoting.rs"]
pub mod quoting;
#[path = "../../observer-userspace/src/requests/redact/mod.rs"]
pub mod redact;
#[path = "../../observer-userspace/src/requests/redis/mod.rs"]
pub mod redis;
#[path = "../../observer-userspace/src/requests/routes/mod.rs"]
pub mod routes;
#[path = "../../observer-userspace/src/requests/sql/mod.rs"]
pub mod sql;
#[path = "../../observer-userspace/src/requests/target.rs"]
pub mod target;
#[path = "../../observer-userspace/src/requests/trace_context.rs"]
pub mod trace_context;
#[path = "../../observer-userspace/src/requests/turn.rs"]
pub mod turn;

pub use call::{Call, Failure};
