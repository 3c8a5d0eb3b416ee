//! Requests on connections of known protocols.
//!
//! The kernel half recognises connections and tells of their bytes, piece by
//! piece; [`crate::requests`] makes requests of them.

pub mod tls;

use super::{MetricBuilder, Probe, Sink, Tick};
use crate::kernel::{Attach, ProbeSpec, ProgramSpec};
use crate::signals::MetricDef;

/// What can't be missed of a socket.
const SOCKET_FIELDS: &[&str] = &[
    "task_pid",
    "task_tgid",
    "task_state",
    "task_group_leader",
    "task_cgroups",
    "task_voluntary",
    "task_involuntary",
    "pt_regs_second",
    "sock_family",
    "sock_protocol",
    "sock_type",
    "sock_saddr",
    "sock_daddr",
    "sock_v6_saddr",
    "sock_v6_daddr",
    "sock_num",
    "sock_dport",
    "sock_net",
];

/// What the family needs, beside the programs of `sched`.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: "requests",
    observes: "requests and answers on sockets: HTTP, gRPC, PostgreSQL, MySQL, Redis, DNS",
    programs: &[
        ProgramSpec {
            name: "requests_sent",
            attach: Attach::Tracepoint("sock_send_length"),
            needs: SOCKET_FIELDS,
            lost_without: "what programs send: requests of clients, answers of servers",
        },
        ProgramSpec {
            name: "requests_received",
            attach: Attach::Tracepoint("sock_recv_length"),
            needs: SOCKET_FIELDS,
            lost_without: "what programs receive: requests to servers, answers to clients",
        },
        ProgramSpec {
            name: "requests_state",
            attach: Attach::Tracepoint("inet_sock_set_state"),
            needs: &["sock_err"],
            lost_without: "requests that end with their connection, and for which request a \
                           connection was made",
        },
    ],
};

/// The family.
#[derive(Default)]
pub struct Requests {}

impl Probe for Requests {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        &[]
    }

    fn collect(&mut self, _tick: &Tick<'_>, _out: &mut MetricBuilder) {}

    fn ring(&self) -> Option<&'static str> {
        Some("REQUEST_RING")
    }

    fn record(&mut self, _bytes: &[u8], _sink: &mut Sink<'_>) {}
}
