//! TCP: connections, retransmits, resets, round trips and bytes by workload.
//!
//! The kernel half counts; this half runs its iterators (who holds which
//! socket, how far all of them have come), and makes metrics and spans.

mod metrics;
mod namespaces;
mod span;
mod witnesses;

use observer_common::workload::WorkloadId;
use std::collections::HashMap;

use anyhow::Result;
use observer_common::family::{Family, Part};
use observer_common::names::{maps, programs};
use observer_common::tcp::{Connection, Counted, UNOWNED, state};

pub use self::metrics::{
    ACCEPTED, BYTES, CLOSED, CONNECTIONS, DURATION, FAILED, HANDSHAKE, OPENED, RESETS,
    RETRANSMIT_EVENTS, RETRANSMITS, RTT,
};
use super::{MetricBuilder, Probe, Sight, SpanCollector, Tick};
use crate::blindness::Witness;
use crate::kernel::iter::Iterator;
use crate::kernel::ring::record;
use crate::kernel::{Attach, Kernel, ProbeSpec, ProgramSpec};
use crate::kernel::{clock, counters};
use observer_signals::MetricDef;

const SOCKET_FIELDS: &[&str] = &[
    "sock_state",
    "sock_family",
    "sock_daddr",
    "sock_saddr",
    "sock_dport",
    "sock_v6_daddr",
    "sock_v6_saddr",
    "sock_flags",
    "sock_err",
    "sock_socket",
    "socket_file",
    "file_flags",
    "inet_sport",
    "tcp_total_retrans",
    "tcp_srtt_us",
    "tcp_bytes_received",
    "tcp_bytes_acked",
    "tcp_snd_nxt",
    "tcp_snd_una",
    "tcp_write_seq",
    "tcp_segs_out",
];

/// What the family needs.
pub static SPEC: ProbeSpec = ProbeSpec {
    family: Part::Family(Family::Tcp),
    observes: "TCP connections, retransmits, resets, round-trip times, bytes",
    programs: &[
        ProgramSpec {
            name: programs::TCP_STATE,
            attach: Attach::Tracepoint("inet_sock_set_state"),
            needs: SOCKET_FIELDS,
            lost_without: "all TCP metrics and spans of connections that are newer than the daemon",
        },
        ProgramSpec {
            name: programs::TCP_DESTROY,
            attach: Attach::Tracepoint("tcp_destroy_sock"),
            needs: SOCKET_FIELDS,
            lost_without: "spans of some connections that end with a reset",
        },
        ProgramSpec {
            name: programs::TCP_RETRANSMIT,
            attach: Attach::Tracepoint("tcp_retransmit_skb"),
            needs: &[
                "sock_state",
                "sock_family",
                "sock_v6_daddr",
                "icsk_ca_state",
                "tcp_total_retrans",
            ],
            lost_without: "types and times of retransmits; segments are counted at a connection's end only",
        },
        ProgramSpec {
            name: programs::TCP_SYNACK,
            attach: Attach::Tracepoint("tcp_retransmit_synack"),
            needs: &["sock_family"],
            lost_without: "retransmitted SYN-ACKs",
        },
        ProgramSpec {
            name: programs::TCP_RESET_IN,
            attach: Attach::Tracepoint("tcp_receive_reset"),
            needs: &["sock_family", "sock_v6_daddr"],
            lost_without: "received resets",
        },
        ProgramSpec {
            name: programs::TCP_RESET_OUT,
            attach: Attach::Tracepoint("tcp_send_reset"),
            needs: &["sock_family", "sock_v6_daddr"],
            lost_without: "sent resets",
        },
        ProgramSpec {
            name: programs::TCP_HOLDERS,
            attach: Attach::Iterator(HOLDERS),
            needs: &[
                "socket_sk",
                "sock_net",
                "sock_num",
                "sock_state",
                "sock_family",
                "sock_v6_daddr",
                "sock_flags",
                "tcp_total_retrans",
                "tcp_bytes_received",
                "tcp_bytes_acked",
                "tcp_snd_nxt",
                "tcp_snd_una",
                "tcp_write_seq",
                "tcp_delivered",
            ],
            lost_without: "sockets that are older than the daemon, and owners of connections that \
                           were accepted by another process than their listener's",
        },
        ProgramSpec {
            name: programs::TCP_MOVED,
            attach: Attach::Iterator(HOLDERS),
            needs: &["socket_sk", "sock_net", "sock_num", "sock_state"],
            lost_without: "whose the oldest sockets are of a process that is known only later",
        },
        ProgramSpec {
            name: programs::TCP_ORPHANS,
            attach: Attach::Iterator(ORPHANS),
            needs: &[
                "sock_net",
                "sock_num",
                "sock_state",
                "sock_family",
                "sock_v6_daddr",
                "sock_flags",
                "tcp_total_retrans",
                "tcp_bytes_received",
                "tcp_bytes_acked",
                "tcp_snd_nxt",
                "tcp_snd_una",
                "tcp_write_seq",
                "tcp_delivered",
            ],
            lost_without: "connections older than the daemon that no process holds",
        },
        ProgramSpec {
            name: programs::TCP_SOCKETS,
            attach: Attach::Iterator(SOCKETS),
            needs: &[
                "sock_state",
                "sock_family",
                "sock_v6_daddr",
                "sock_flags",
                "icsk_syn_queue",
                "tcp_srtt_us",
                "tcp_bytes_received",
                "tcp_bytes_acked",
                "tcp_snd_nxt",
                "tcp_snd_una",
                "tcp_write_seq",
                "tcp_delivered",
            ],
            lost_without: "connections by state; bytes and round-trip times before a connection's end",
        },
    ],
    requires: &[&super::sched::SPEC],
    covered_by: None,
    prepare: None,
    seen_by: &[
        programs::TCP_STATE,
        programs::TCP_RETRANSMIT,
        programs::TCP_SYNACK,
        programs::TCP_RESET_IN,
        programs::TCP_RESET_OUT,
        programs::TCP_SOCKETS,
    ],
};

/// Kinds of iterators.
const HOLDERS: &str = "task_file";
const ORPHANS: &str = "tcp";
const SOCKETS: &str = "bpf_sk_storage_map";

/// Which socket gauge: workload, state, family.
type StateKey = (WorkloadId, u8, u8);

/// The family.
#[derive(Default)]
pub struct Tcp {
    /// Sees every open file.
    holders: Option<Iterator>,
    /// Sees every known socket.
    sockets: Option<Iterator>,
    /// Sockets by state as of this tick; what is gone is 0 for one tick.
    states: HashMap<StateKey, u64>,
    /// Kernel time of the start.
    since: u64,
}

impl Tcp {
    /// Visits all sockets; true if some have an owner that should be looked for.
    fn visit(&mut self) -> Result<bool> {
        let Some(sockets) = &self.sockets else {
            return Ok(false);
        };
        let mut states: HashMap<StateKey, u64> = HashMap::new();
        let mut unowned = false;
        sockets.run(|bytes| {
            for counted in bytes.chunks_exact(size_of::<Counted>()) {
                let Some(counted) = record::<Counted>(counted) else {
                    continue;
                };
                unowned |= counted.count & UNOWNED != 0;
                let key = (counted.workload, counted.state, counted.family);
                *states.entry(key).or_default() += u64::from(counted.count & !UNOWNED);
            }
        })?;
        for (key, count) in &self.states {
            if *count != 0 {
                states.entry(*key).or_default();
            }
        }
        self.states = states;
        Ok(unowned)
    }
}

impl Probe for Tcp {
    fn spec(&self) -> &'static ProbeSpec {
        &SPEC
    }

    fn metrics(&self) -> &'static [&'static MetricDef] {
        metrics::METRICS
    }

    fn start(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.since = clock::monotonic();
        // Each for itself: what can't be had is said, the others run.
        let sockets = Iterator::new(kernel, programs::TCP_SOCKETS, Some(maps::TCP_SOCKETS));
        let holders = Iterator::new(kernel, programs::TCP_HOLDERS, None);
        let orphans = Iterator::new(kernel, programs::TCP_ORPHANS, None);
        self.sockets = sockets.map_err(log).ok();
        if let Ok(holders) = holders.map_err(log) {
            // Creates the state of what is older than us.
            holders.run(|_| {})?;
            self.holders = Some(holders);
        }
        if let Ok(orphans) = orphans.map_err(log) {
            // After the holders: queued connections are their listeners'.
            namespaces::in_each(|| orphans.run(|_| {}));
        }
        Ok(())
    }

    fn before_tick(&mut self, _kernel: &mut Kernel) -> Result<()> {
        if self.visit()?
            && let Some(holders) = &self.holders
        {
            holders.run(|_| {})?;
            // What was found has a new owner, and its bytes aren't counted yet.
            self.visit()?;
        }
        Ok(())
    }

    fn collect(&mut self, tick: &Tick<'_>, out: &mut MetricBuilder) {
        metrics::tallies(tick, out);
        let since = tick.clock.wall(self.since);
        for ((workload, state, family), count) in &self.states {
            metrics::connections(*workload, *state, *family, *count, since, out);
        }
        if self.sockets.is_some()
            && let Some(count) = time_wait()
        {
            metrics::host_connections(state::TIME_WAIT, count, since, out);
        }
    }

    fn witnesses(&mut self, sight: &mut Sight<'_>) -> Result<Vec<Witness>> {
        // Of our own namespace, where ours are those of all: theirs are at most as
        // many.
        let kernels = counters::Tcp::read()?;
        Ok(witnesses::all(sight, &kernels))
    }

    fn ring(&self) -> Option<&'static str> {
        Some(maps::TCP_RING)
    }

    fn record(&mut self, bytes: &[u8], out: &mut SpanCollector<'_>) {
        if let Some(connection) = record::<Connection>(bytes) {
            // Workloads are numbered in 16 bits.
            let workload = connection.workload;
            let resource = (out.resource)(workload);
            let span = span::span(&connection, out.clock, resource);
            out.spans.push((workload, span));
        }
    }
}

/// An iterator that isn't there: [`Kernel::states`] has the cause.
fn log(error: anyhow::Error) {
    tracing::warn!("{error:#}");
}

/// Connections in TIME_WAIT in our network namespace. They are no sockets any
/// more and nobody's: the process that closed them may be long gone.
fn time_wait() -> Option<u64> {
    // "TCP: inuse 5 orphan 0 tw 3 alloc 6 mem 1", IPv4 and IPv6 together.
    let text = std::fs::read_to_string("/proc/self/net/sockstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}
