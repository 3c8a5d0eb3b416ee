//! What the kernel counts of its own: the second source with which what families
//! see is compared.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Of the whole host, since boot (`/proc/stat`, proc_stat(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Context switches, those from and to the idle task included.
    pub switches: u64,
    /// Nanoseconds that threads ran, those of interrupts, which are nobody's, left
    /// out; of a virtual machine also the time that its host took away.
    pub busy: u64,
    /// The same of the CPUs that have a tick.
    pub ticking_busy: u64,
}

/// CPUs on which a thread may run for hours without a tick or a switch, so that
/// nobody accounts for it in between (`nohz_full=` on the kernel's command line).
const TICKLESS: &str = "/sys/devices/system/cpu/nohz_full";

impl Host {
    /// Reads them.
    ///
    /// # Errors
    /// `/proc` isn't mounted or looks otherwise.
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let tickless = fs::read_to_string(TICKLESS).unwrap_or_default();
        let hertz = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
        let hertz = u64::try_from(hertz).unwrap_or(100).max(1);
        parse_host(&text, &cpus(&tickless), 1_000_000_000 / hertz)
            .context("/proc/stat has no line ctxt")
    }
}

/// `tick`: nanoseconds of the unit in which times are told.
fn parse_host(text: &str, tickless: &HashSet<u32>, tick: u64) -> Option<Host> {
    let mut host = Host::default();
    let mut switches = None;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        if name == "ctxt" {
            switches = words.next()?.parse().ok();
        } else if let Some(cpu) = name.strip_prefix("cpu") {
            // user nice system idle …
            let busy: u64 = words.take(3).filter_map(|n| n.parse::<u64>().ok()).sum();
            let busy = busy.saturating_mul(tick);
            match cpu.parse() {
                Ok(cpu) if tickless.contains(&cpu) => {}
                Ok(_) => host.ticking_busy += busy,
                // The first line is the sum of all.
                Err(_) => host.busy = busy,
            }
        }
    }
    host.switches = switches?;
    Some(host)
}

/// A list of CPUs like `1-3,8`; nothing for what isn't one.
fn cpus(list: &str) -> HashSet<u32> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Of the network namespace of this process, since it began (`/proc/net/snmp` and
/// `netstat`; include/uapi/linux/snmp.h). IPv4 and IPv6 together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Segments that were sent again (`RetransSegs`).
    pub retransmitted: u64,
    /// Connections that a listener made (`PassiveOpens`).
    pub accepted: u64,
    /// Segments with data, not counting those that were sent again
    /// (`TCPOrigDataSent`).
    pub sent: u64,
}

impl Tcp {
    /// Reads them.
    ///
    /// # Errors
    /// `/proc` isn't mounted or looks otherwise.
    pub fn read() -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/self/net/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (snmp, netstat) = (read("snmp")?, read("netstat")?);
        let find = |text, group, name| {
            column(text, group, name).with_context(|| format!("there is no {group} {name}"))
        };
        Ok(Self {
            retransmitted: find(&snmp, "Tcp:", "RetransSegs")?,
            accepted: find(&snmp, "Tcp:", "PassiveOpens")?,
            sent: find(&netstat, "TcpExt:", "TCPOrigDataSent")?,
        })
    }
}

/// A figure of these files: names are on one line, numbers on the next.
pub(crate) fn column(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut columns = names
        .split_ascii_whitespace()
        .zip(numbers.split_ascii_whitespace());
    columns.find(|(known, _)| *known == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks figures of `/proc/stat` (proc_stat(5)) with and without CPUs that
    /// have no tick.
    #[test]
    fn host() {
        let text = "cpu  30 2 8 900 5 0 7 3 0 0\ncpu0 10 1 4 500 3 0 7 3 0 0\n\
                    cpu1 20 1 4 400 2 0 0 0 0 0\nintr 5 0 5\nctxt 77\nbtime 9\n";
        let host = parse_host(text, &HashSet::new(), 10).expect("it is one");
        let expected = Host {
            switches: 77,
            busy: 400,
            ticking_busy: 400,
        };
        assert_eq!(host, expected);
        let host = parse_host(text, &cpus("1,4-7\n"), 10).expect("it is one");
        assert_eq!((host.busy, host.ticking_busy), (400, 150));
        assert_eq!(parse_host("cpu 1 2 3\n", &HashSet::new(), 10), None);
    }

    /// Checks lists of CPUs as sysfs writes them, also where it says `(null)`.
    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus("1-3,8\n"), [1, 2, 3, 8].into());
        assert_eq!(cpus("\n"), HashSet::new());
        assert_eq!(cpus(" (null)\n"), HashSet::new());
    }

    /// Checks that this kernel's files have all figures, and that they grow.
    #[test]
    fn this_kernels() {
        let (host, tcp) = (Host::read().expect("/proc"), Tcp::read().expect("/proc"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let _client = std::net::TcpStream::connect(address).expect("a connection");
        let _server = listener.accept().expect("a connection");
        let after = Tcp::read().expect("/proc");
        assert!(after.accepted > tcp.accepted, "{tcp:?} {after:?}");
        std::thread::sleep(std::time::Duration::from_millis(1));
        let later = Host::read().expect("/proc");
        assert!(later.switches > host.switches && host.busy > 0, "{host:?}");
    }
}
