//! What the kernel counts of TCP itself.

use observer_common::names::programs;
use observer_common::tally::Kind;
use observer_common::tcp::{Role, SENT, split_label};

use crate::blindness::{Unit, Witness};
use crate::kernel::counters;
use crate::probes::Sight;

/// Connections and retransmits of which fewer aren't compared.
const LEAST: u64 = 20;

/// Segments with data, likewise: some are under way while ours are counted.
const LEAST_SEGMENTS: u64 = 1000;

/// Beside the kernel's own counts, what those of our programs say that are
/// attached.
pub(super) fn all(sight: &Sight<'_>, kernels: &counters::Tcp) -> Vec<Witness> {
    let sum = |kind, whose: u8| {
        let tallies = sight.tallies;
        tallies.sum_where(kind, |label| split_label(label).0 == whose)
    };
    let retransmits = Witness {
        what: "TCP segments sent again".into(),
        source: "/proc/net/snmp (RetransSegs)",
        unit: Unit::Events,
        seen: sight.tallies.sum(Kind::TcpRetransmitSegments),
        counted: kernels.retransmitted,
        least: LEAST,
    };
    let accepted = Witness {
        what: "TCP connections to listeners".into(),
        source: "/proc/net/snmp (PassiveOpens)",
        unit: Unit::Events,
        seen: sum(Kind::TcpOpened, Role::Server as u8),
        counted: kernels.accepted,
        least: LEAST,
    };
    let sent = Witness {
        // A segment has a byte at least.
        what: "bytes, one for each TCP segment with data,".into(),
        source: "/proc/net/netstat (TCPOrigDataSent)",
        unit: Unit::Events,
        seen: sum(Kind::TcpBytes, SENT),
        counted: kernels.sent,
        least: LEAST_SEGMENTS,
    };
    let needs: [(Witness, &[&str]); 3] = [
        (
            retransmits,
            &[programs::TCP_RETRANSMIT, programs::TCP_SYNACK],
        ),
        (accepted, &[programs::TCP_STATE]),
        (sent, &[programs::TCP_STATE, programs::TCP_SOCKETS]),
    ];
    let all = needs.into_iter();
    all.filter(|(_, programs)| programs.iter().all(|name| sight.kernel.has(name)))
        .map(|(witness, _)| witness)
        .collect()
}
