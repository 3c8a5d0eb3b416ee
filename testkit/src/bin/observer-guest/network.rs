//! TCP: segments sent again on a cable that loses packets, and refused connections,
//! by the kernel's own counters.

use anyhow::{Result, ensure};
use observer_testkit::netns::Pair;
use observer_testkit::peer::Peer;
use observer_testkit::requests::Seen;
use observer_testkit::tcp::SETTLE;

use crate::figures::Figures;

const BYTES: u64 = 2_000_000;
const REFUSED: u64 = 5;

/// What the kernel counted.
#[derive(Debug)]
pub struct Known {
    retransmits: u64,
    refused: u64,
}

/// Sends over the cable, and to where nobody listens.
pub fn load() -> Result<Known> {
    let pair = Pair::new()?;
    pair.lossy()?;
    let mut server = Peer::start("vm-server", Some(&pair.right))?;
    let mut client = Peer::start("vm-client", Some(&pair.left))?;
    let address = server.ask("serve 10.77.0.2:0")?;
    let before = client.number("mib Tcp RetransSegs")?;
    let answer = client.number(&format!("exchange {address} {BYTES}"))?;
    ensure!(answer == BYTES / 2, "{answer} bytes came back");
    let mut refused = Peer::start("vm-refused", None)?;
    let fails = refused.number("mib Tcp AttemptFails")?;
    for _ in 0..REFUSED {
        let errno = refused.number("fail 127.0.0.1:9 1000")?;
        ensure!(errno == libc::ECONNREFUSED as u64, "errno {errno}");
    }
    std::thread::sleep(SETTLE);
    Ok(Known {
        retransmits: client.number("mib Tcp RetransSegs")? - before,
        refused: refused.number("mib Tcp AttemptFails")? - fails,
    })
}

/// Compares with what the daemon said.
pub fn compare(figures: &mut Figures, seen: &Seen, known: &Known) {
    let counted =
        |metric: &str, process: &str, with: &[_]| seen.sum_of(metric, Some(process), with) as u64;
    let segments = counted("observer.tcp.retransmits", "vm-client", &[]);
    let name = "tcp: segments sent again, by /proc/net/snmp";
    // None at all would compare nothing.
    let holds = segments == known.retransmits && segments > 0;
    let known_text = known.retransmits.to_string();
    figures.add(name, holds, segments.to_string(), known_text);
    for (process, direction, bytes) in [
        ("vm-client", "transmit", BYTES),
        ("vm-client", "receive", BYTES / 2),
        ("vm-server", "receive", BYTES),
    ] {
        let with = [("network.io.direction", direction)];
        let found = counted("observer.tcp.io", process, &with);
        figures.equal(&format!("tcp: bytes, {process}, {direction}"), found, bytes);
    }
    let with = [("error.type", "ECONNREFUSED")];
    let refused = counted("observer.tcp.connections.failed", "vm-refused", &with);
    figures.equal("tcp: refused connections", refused, REFUSED);
    figures.equal("tcp: refused, by /proc/net/snmp", refused, known.refused);
}
