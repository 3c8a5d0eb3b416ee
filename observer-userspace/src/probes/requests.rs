//! Requests on connections of known protocols.
//!
//! The kernel half recognises connections and tells of their bytes, piece by
//! piece; [`crate::requests`] makes requests of them.

pub mod tls;

use anyhow::Context;
use observer_common::requests::{Executed, Tag};

use super::{MetricBuilder, Probe, Sink, Tick};
use crate::kernel::ring::record;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
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
        ProgramSpec {
            name: "requests_exec",
            attach: Attach::Tracepoint("sched_process_exec"),
            needs: &["task_tgid"],
            lost_without: "TLS in programs that contain their library, until they are found",
        },
        tls::PROGRAMS[0],
        tls::PROGRAMS[1],
        tls::PROGRAMS[2],
        tls::PROGRAMS[3],
        tls::PROGRAMS[4],
        tls::PROGRAMS[5],
        tls::PROGRAMS[6],
        tls::PROGRAMS[7],
    ],
};

/// The family.
#[derive(Default)]
pub struct Requests {
    /// `None` without TLS.
    tls: Option<tls::Tls>,
}

impl Probe for Requests {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        &[]
    }

    fn start(&mut self, kernel: &mut Kernel) -> anyhow::Result<()> {
        self.tls = Some(tls::Tls::start(kernel).context("TLS is not observed")?);
        Ok(())
    }

    fn collect(&mut self, _tick: &Tick<'_>, _out: &mut MetricBuilder) {}

    fn ring(&self) -> Option<&'static str> {
        Some("REQUEST_RING")
    }

    fn record(&mut self, bytes: &[u8], _sink: &mut Sink<'_>) {
        let tag = bytes.first_chunk().map(|tag| u32::from_ne_bytes(*tag));
        if tag == Some(Tag::Executed as u32)
            && let (Some(tls), Some(executed)) = (&self.tls, record::<Executed>(bytes))
        {
            tls.executed(executed.tgid);
        }
    }
}
