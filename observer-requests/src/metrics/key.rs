//! What tells series apart, small enough to be hashed in a few nanoseconds.

use observer_common::workload::WorkloadId;
use std::sync::Arc;

use super::definitions as def;
use super::names::Names;
use crate::call::{Call, Failure, Http};
use crate::finished::{Finished, Role};
use crate::semantics::rpc_status;
use crate::target::Target;
use observer_signals::MetricDef;

/// Which metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    HttpServer,
    HttpClient,
    RpcServer,
    RpcClient,
    DbServer,
    DbClient,
    DnsServer,
    DnsClient,
    /// `observer.request.time`, of all kinds of requests.
    Time,
}

impl Kind {
    pub fn of(finished: &Finished) -> Self {
        match (&finished.call, finished.role) {
            (Call::Http(_), Role::Server) => Self::HttpServer,
            (Call::Http(_), Role::Client) => Self::HttpClient,
            (Call::Rpc(_), Role::Server) => Self::RpcServer,
            (Call::Rpc(_), Role::Client) => Self::RpcClient,
            (Call::Db(_), Role::Server) => Self::DbServer,
            (Call::Db(_), Role::Client) => Self::DbClient,
            (Call::Dns(_), Role::Server) => Self::DnsServer,
            (Call::Dns(_), Role::Client) => Self::DnsClient,
        }
    }

    pub fn definition(self) -> &'static MetricDef {
        match self {
            Self::HttpServer => &def::HTTP_SERVER,
            Self::HttpClient => &def::HTTP_CLIENT,
            Self::RpcServer => &def::RPC_SERVER,
            Self::RpcClient => &def::RPC_CLIENT,
            Self::DbServer => &def::DB_SERVER,
            Self::DbClient => &def::DB_CLIENT,
            Self::DnsServer => &def::DNS_SERVER,
            Self::DnsClient => &def::DNS_CLIENT,
            Self::Time => &def::TIME,
        }
    }
}

/// A series' identity: whose and how it went, what, and with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub workload: WorkloadId,
    /// Kind, and all that is of few values.
    few: u64,
    /// A name's number, or the address of a route.
    what: u64,
    /// Numbers of the server and of a database's error.
    whom: u64,
}

/// The key of a request's series; `None` if it would take a new name and there
/// is no `room` for a new series.
pub fn key(
    finished: &Finished,
    kind: Kind,
    names: &mut Names,
    room: impl Fn() -> bool + Copy,
) -> Option<Key> {
    let workload = finished.workload;
    let few = (kind as u64) << 16;
    Some(match &finished.call {
        Call::Http(call) => Key {
            workload,
            few: few
                | u64::from(call.status.map_or(0, |status| status.max(1))) << 24
                | (call.method as u64) << 40
                | (call.version as u64) << 44
                | u64::from(finished.endpoints.tls) << 46
                | u64::from(call.unseen) << 47
                | failure(call.failure) << 48,
            what: match (&finished.route, finished.role) {
                (Some(route), Role::Server) => Arc::as_ptr(route).cast::<u8>() as u64,
                _ => 0,
            },
            whom: match finished.role {
                Role::Server => 0,
                Role::Client => http_server(call, finished, names, room)?.into(),
            },
        },
        Call::Rpc(call) => Key {
            workload,
            few: few
                | rpc_status(call, finished.role).map_or(0, |s| u64::from(s).min(0xfffe) + 1) << 24
                | u64::from(call.unseen) << 40
                | failure(call.failure) << 48,
            what: names.call(&call.service, &call.method, room)?.into(),
            whom: match finished.role {
                Role::Server => 0,
                Role::Client => names.server(call.host.as_ref(), finished, room)?.into(),
            },
        },
        Call::Db(call) => Key {
            workload,
            few: few
                | (call.system as u64) << 24
                | call.cache.map_or(0, |cache| cache.result as u64 + 1) << 32
                | u64::from(call.unseen) << 40
                | failure(call.failure) << 48,
            what: names.statement(call, room)?.into(),
            whom: match finished.role {
                Role::Server => 0,
                Role::Client => u64::from(names.server(None, finished, room)?),
            } | match &call.error {
                Some(error) => u64::from(names.text(error, room)?) << 32,
                None => 0,
            },
        },
        Call::Dns(call) => Key {
            workload,
            few: few
                | call.code.map_or(0, |code| u64::from(code) + 1) << 24
                | failure(call.failure) << 48,
            what: names.text(&call.name, room)?.into(),
            whom: 0,
        },
    })
}

/// Whom an HTTP client asks.
fn http_server(
    call: &Http,
    finished: &Finished,
    names: &mut Names,
    room: impl Fn() -> bool + Copy,
) -> Option<u32> {
    // Of a request to a proxy the target says it.
    let own = call.target.starts_with('/') || call.target.is_empty();
    match (!own)
        .then(|| Target::split(&call.target).authority)
        .flatten()
    {
        Some(authority) => names.server(Some(&authority.into()), finished, room),
        None => names.server(call.host.as_ref(), finished, room),
    }
}

/// A failure in 16 bits.
fn failure(failure: Option<Failure>) -> u64 {
    match failure {
        None => 0,
        Some(Failure::Closed) => 1,
        Some(Failure::Cancelled) => 2,
        Some(Failure::Timeout) => 3,
        // Codes that have no name are one.
        Some(Failure::Reset(code)) => 4 + u64::from(code.min(14)),
    }
}
