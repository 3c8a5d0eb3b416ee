//! Counts in what other tools print.

use anyhow::{Context, Result};

/// The value of bpftrace's `@name: 123`.
pub fn value(printed: &str, name: &str) -> Result<f64> {
    let head = format!("@{name}: ");
    // A map that nothing was written to isn't printed.
    let found = printed.lines().find_map(|line| line.strip_prefix(&head));
    found.map_or(Ok(0.0), |value| Ok(value.trim().parse()?))
}

/// The sum of the histogram that bpftrace prints under `head`, e.g. `@us[7]:`;
/// its lines are like `[64, 128)   123 |@@@ |`.
pub fn buckets(printed: &str, head: &str) -> Result<f64> {
    let lines = printed.lines().skip_while(|line| line.trim() != head);
    sum(lines.skip(1), |line| {
        let (bucket, _) = line.strip_prefix(['[', '('])?.split_once('|')?;
        bucket.split_whitespace().next_back()?.parse().ok()
    })
    .with_context(|| format!("no {head} in {printed}"))
}

/// The sum of the histogram that `biolatency -D` prints of a disk; its lines are
/// like `        16 -> 31         : 5        |**   |`.
pub fn of_disk(printed: &str, disk: &str) -> Result<f64> {
    let is_head = |line: &&str| {
        let name = line.strip_prefix("disk = ");
        name.is_none_or(|name| name.trim() != disk)
    };
    // The head and the columns' names.
    let lines = printed.lines().skip_while(is_head).skip(2);
    sum(lines, |line| {
        let (_, count) = line.split_once("->")?.1.split_once(':')?;
        count.split_whitespace().next()?.parse().ok()
    })
    .with_context(|| format!("no {disk} in {printed}"))
}

/// How many connections with this local port, and how many with it as the
/// remote one, are in the lines of `tcplife`: `PID COMM LADDR LPORT RADDR RPORT
/// TX_KB RX_KB MS`.
pub fn connections(printed: &str, port: u64) -> (f64, f64) {
    let (mut local, mut remote) = (0.0, 0.0);
    for line in printed.lines() {
        // From behind: a name may have spaces.
        let mut fields = line.split_whitespace().rev();
        let mut port_is = |skipped| fields.nth(skipped).and_then(|f| f.parse().ok()) == Some(port);
        if port_is(3) {
            remote += 1.0;
        } else if port_is(1) {
            local += 1.0;
        }
    }
    (local, remote)
}

/// Of the lines that have a number, up to the first that hasn't.
fn sum<'a>(
    lines: impl Iterator<Item = &'a str>,
    number: impl Fn(&str) -> Option<f64>,
) -> Option<f64> {
    let numbers: Vec<f64> = lines.map_while(number).collect();
    (!numbers.is_empty()).then(|| numbers.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks bpftrace's counters and histograms, among others.
    #[test]
    fn bpftrace() -> Result<()> {
        let printed = "Attaching 3 probes...\n\n\n@opened: 123\n@openedx: 5\n@us[7]: \n\
                       [2, 4)   4 |@  |\n\n@us[71]: \n[0]   3 |@ |\n[1K, 2K)     9 |@@   |\n\n@z: 1\n";
        assert_eq!(value(printed, "opened")?, 123.0);
        assert_eq!(value(printed, "closed")?, 0.0);
        assert_eq!(buckets(printed, "@us[71]:")?, 12.0);
        assert_eq!(buckets(printed, "@us[7]:")?, 4.0);
        assert!(buckets(printed, "@us[8]:").is_err());
        Ok(())
    }

    /// Checks a disk's histogram among those of others.
    #[test]
    fn biolatency() -> Result<()> {
        let printed = "Tracing block device I/O... Hit Ctrl-C to end.\n\n\ndisk = vda\t\n     \
                       usecs               : count    distribution\n         0 -> 1          : 7        |**|\n\n\
                       disk = loop3\t\n     usecs               : count    distribution\n         \
                       0 -> 1          : 0        |    |\n         2 -> 3          : 569      |****|\n        \
                       16 -> 31         : 5        |    |\n\n";
        assert_eq!(of_disk(printed, "loop3")?, 574.0);
        assert_eq!(of_disk(printed, "vda")?, 7.0);
        assert!(of_disk(printed, "loop").is_err());
        Ok(())
    }

    /// Checks that connections are counted by their ports, and whose they are.
    #[test]
    fn tcplife() {
        let printed = "PID     COMM             LADDR           LPORT RADDR           RPORT TX_KB  RX_KB  MS\n\
                       22      bench accept     127.0.0.1       7001  127.0.0.1       40000  0     0      1.12\n\
                       23      bench-open       127.0.0.1       40000 127.0.0.1       7001   0     0      1.15\n\
                       24      bench-open       127.0.0.1       40001 127.0.0.1       7001   0     0      0.15\n\
                       25      other            127.0.0.1       40001 127.0.0.1       70     0     0      0.15\n";
        assert_eq!(connections(printed, 7001), (1.0, 2.0));
    }
}
