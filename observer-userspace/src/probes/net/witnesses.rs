//! What the family is compared by: the kernel's own count of datagrams that came to
//! nothing, and datagrams that the daemon sends to itself.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use observer_common::names::programs;
use observer_common::net::{Datagram, Direction};
use observer_common::tally::Kind;

use crate::blindness::{Unit, Witness};
use crate::kernel::counters::column;
use crate::probes::Sight;

/// Datagrams that are sent each time.
const OWN: u64 = 10;

/// Drops of which fewer aren't compared.
const LEAST: u64 = 20;

/// Datagrams of our own.
#[derive(Debug, Default)]
pub(super) struct Own {
    received: u64,
}

impl Own {
    /// What was counted so far; sends more.
    pub(super) fn witnesses(&mut self, sight: &Sight<'_>) -> anyhow::Result<Vec<Witness>> {
        let mut all = Vec::new();
        if sight.kernel.is_attached(programs::NET_DROP) {
            all.push(Witness {
                what: "UDP datagrams that found no port or no room".into(),
                // Of our own namespace, and ours are those of all.
                source: "/proc/net/snmp (NoPorts, RcvbufErrors)",
                unit: Unit::Events,
                seen: sight.tallies.sum(Kind::NetDrops),
                counted: undelivered(&fs::read_to_string("/proc/self/net/snmp")?),
                least: LEAST,
            });
        }
        if sight.kernel.is_attached(programs::NET_RECEIVED) {
            let received = |label| Datagram::of(label).direction == Direction::Received as u8;
            all.push(Witness {
                what: "datagrams that were received".into(),
                source: "Observer, of its own,",
                unit: Unit::Events,
                seen: sight.tallies.sum_where(Kind::NetDatagrams, received),
                counted: self.received,
                least: OWN,
            });
            // Where there is no loopback none come.
            self.received += exchange().unwrap_or(0);
        }
        Ok(all)
    }
}

fn undelivered(snmp: &str) -> u64 {
    let of = |name| column(snmp, "Udp:", name).unwrap_or(0);
    of("NoPorts") + of("RcvbufErrors")
}

/// Sends datagrams to itself, and returns how many came.
fn exchange() -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(socket.local_addr()?)?;
    socket.set_nonblocking(true)?;
    let mut received = 0;
    for _ in 0..OWN {
        socket.send(&[0])?;
        // What is sent over the loopback is there, or soon.
        received += u64::from(socket.recv(&mut [0]).is_ok());
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that datagrams come back, and how the kernel's figures are read.
    #[test]
    fn witnesses_count() {
        assert!(exchange().expect("a loopback") > 0);
        let snmp = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 1 2 3 4 5\n";
        assert_eq!(undelivered(snmp), 7);
    }
}
