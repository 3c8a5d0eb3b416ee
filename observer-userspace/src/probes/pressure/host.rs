//! The host's figures, from `/proc`.

use std::fs;

use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, PointValue};

use super::limits::{Limit, Trends};
use super::metrics as m;
use super::text::{number, pressure, sum, value};
use super::told::Told;
use crate::foreign::Foreign;

/// The resources that the kernel tells pressure of; `irq` since 6.1, and only if it
/// accounts for interrupts.
pub(super) const PRESSURES: [&str; 4] = ["cpu", "memory", "io", "irq"];

/// Times of `/proc/stat` are in this part of a second (`USER_HZ`).
const TICKS: f64 = 100.0;

const RESOURCE: &str = "observer.pressure.resource";
const SHARE: &str = "observer.pressure.share";

/// Attributes of a point of pressure.
pub(super) const fn pressure_of(
    resource: &'static str,
    share: &'static str,
) -> [(&'static str, &'static str); 2] {
    [(RESOURCE, resource), (SHARE, share)]
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Reads all. What isn't there isn't told.
pub(super) fn read(_: &Foreign, trends: &mut Trends, now: f64) -> Vec<Told> {
    let mut out = Vec::with_capacity(96);
    pressures(&mut out);
    cpus(&text("/proc/stat"), &mut out);
    let meminfo = text("/proc/meminfo");
    memory(&meminfo, &mut out);
    paging(&text("/proc/vmstat"), &mut out);
    disks(&text("/proc/diskstats"), &mut out);
    for (name, used, most) in limits(&meminfo) {
        if let (Some(used), Some(most)) = (used, most) {
            let (used, most) = (used as f64, most as f64);
            let limit = Limit {
                name,
                attributes: &[],
                used,
                most,
            };
            trends.tell(&limit, now, &mut out);
        }
    }
    trends.prune();
    out
}

fn pressures(out: &mut Vec<Told>) {
    for resource in PRESSURES {
        let text = text(&format!("/proc/pressure/{resource}"));
        for share in ["some", "full"] {
            // Of the host's CPUs there is none: somebody always runs.
            let seconds = pressure(&text, share).map(|total| total as f64 / 1e6);
            let attributes = pressure_of(resource, share);
            out.extend(Told::fraction(&m::PRESSURE_TIME, &attributes, seconds));
        }
    }
}

fn cpus(stat: &str, out: &mut Vec<Told>) {
    let mut lines = stat.lines();
    let all = lines.next().and_then(|line| line.strip_prefix("cpu "));
    let times: Vec<u64> = all
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    if let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = times.as_slice() {
        for (mode, ticks) in [
            ("user", *user),
            ("nice", *nice),
            ("system", *system),
            ("idle", *idle),
            ("iowait", *iowait),
            ("interrupt", irq + softirq),
            ("steal", *steal),
        ] {
            let seconds = Some(ticks as f64 / TICKS);
            out.extend(Told::fraction(&m::CPU_TIME, &[("cpu.mode", mode)], seconds));
        }
        let count = lines.take_while(|line| line.starts_with("cpu")).count();
        out.extend(Told::number(&m::CPU_COUNT, &[], Some(count as u64)));
    }
    // The reader of this file runs, too.
    let running = value(stat, "procs_running").map(|running| running.saturating_sub(1));
    out.extend(Told::number(&m::RUN_QUEUE_LENGTH, &[], running));
    out.extend(Told::number(&m::BLOCKED, &[], value(stat, "procs_blocked")));
}

/// Bytes of a line of `/proc/meminfo`, which tells KiB.
fn bytes(meminfo: &str, name: &str) -> Option<u64> {
    value(meminfo, name).map(|kib| kib * 1024)
}

fn memory(meminfo: &str, out: &mut Vec<Told>) {
    let of = |name| bytes(meminfo, name);
    let total = of("MemTotal");
    let available = of("MemAvailable");
    let without = |all: Option<u64>, part: Option<u64>| Some(all?.saturating_sub(part?));
    for (state, bytes) in [
        ("used", without(total, available)),
        ("free", of("MemFree")),
        ("buffers", of("Buffers")),
        ("cached", of("Cached")),
    ] {
        let attributes = [("system.memory.state", state)];
        out.extend(Told::number(&m::MEMORY_USAGE, &attributes, bytes));
    }
    out.extend(Told::number(&m::MEMORY_LIMIT, &[], total));
    out.extend(Told::number(&m::MEMORY_AVAILABLE, &[], available));
    out.extend(Told::number(&m::MEMORY_SHARED, &[], of("Shmem")));
    for (state, name) in [
        ("reclaimable", "SReclaimable"),
        ("unreclaimable", "SUnreclaim"),
    ] {
        let attributes = [("system.memory.linux.slab.state", state)];
        out.extend(Told::number(&m::MEMORY_SLAB, &attributes, of(name)));
    }
    let (swap, free) = (of("SwapTotal"), of("SwapFree"));
    for (state, bytes) in [("used", without(swap, free)), ("free", free)] {
        let attributes = [("system.paging.state", state)];
        out.extend(Told::number(&m::SWAP, &attributes, bytes));
    }
    let pages = |name| Some(value(meminfo, name)? * of("Hugepagesize")?);
    for (kind, bytes) in [
        ("anonymous", of("AnonHugePages")),
        ("shared", of("ShmemHugePages")),
        ("file", of("FileHugePages")),
        ("reserved", pages("HugePages_Total")),
        ("free", pages("HugePages_Free")),
    ] {
        let attributes = [("observer.memory.huge_pages.type", kind)];
        out.extend(Told::number(&m::HUGE_PAGES, &attributes, bytes));
    }
}

fn paging(vmstat: &str, out: &mut Vec<Told>) {
    let (all, major) = (value(vmstat, "pgfault"), value(vmstat, "pgmajfault"));
    let minor = all.zip(major).map(|(all, major)| all.saturating_sub(major));
    for (kind, count) in [("minor", minor), ("major", major)] {
        let attributes = [("system.paging.fault.type", kind)];
        out.extend(Told::number(&m::FAULTS, &attributes, count));
    }
    for (direction, name) in [("in", "pswpin"), ("out", "pswpout")] {
        let attributes = [("system.paging.direction", direction)];
        out.extend(Told::number(&m::SWAPPED, &attributes, value(vmstat, name)));
    }
    for (kind, count) in [
        ("reclaim", sum(vmstat, "allocstall_")),
        ("compaction", value(vmstat, "compact_stall")),
    ] {
        let attributes = [("observer.memory.stall.type", kind)];
        out.extend(Told::number(&m::MEMORY_STALLS, &attributes, count));
    }
    out.extend(Told::number(&m::OOM_KILLS, &[], value(vmstat, "oom_kill")));
}

/// See Documentation/admin-guide/iostats.rst: of the fields behind the name the tenth is
/// the time with anything to do, the eleventh the same for each operation (milliseconds).
fn disks(diskstats: &str, out: &mut Vec<Told>) {
    for line in diskstats.lines() {
        let mut words = line.split_ascii_whitespace().skip(2);
        let Some(name) = words.next() else { continue };
        let mut fields = words.map_while(|word| word.parse::<u64>().ok());
        let (busy, queued) = (fields.nth(9), fields.next());
        // What was never used is nobody's disk; partitions are parts of theirs.
        if busy.is_none_or(|busy| busy == 0) || !is_whole(name) {
            continue;
        }
        let device = Attribute::new("system.device", name.to_owned());
        let attributes = SharedAttributes::from([device]);
        for (def, time) in [(&m::DISK_IO_TIME, busy), (&m::DISK_QUEUE_TIME, queued)] {
            let value = time.map(|ms| PointValue::Double(ms as f64 / 1e3));
            out.extend(value.map(|value| Told {
                def,
                attributes: attributes.clone(),
                value,
            }));
        }
    }
}

fn is_whole(name: &str) -> bool {
    // sysfs can't have slashes in names (drivers/base/core.c).
    fs::exists(format!("/sys/block/{}", name.replace('/', "!"))).unwrap_or(false)
}

type Used = (&'static str, Option<u64>, Option<u64>);

/// What the host can run out of: how much is used, and how much there is.
fn limits(meminfo: &str) -> [Used; 8] {
    let files = text("/proc/sys/fs/file-nr");
    let mut files = files.split_ascii_whitespace().map(|word| word.parse().ok());
    let (open, most) = (files.next().flatten(), files.nth(1).flatten());
    let threads = threads(&text("/proc/loadavg"));
    let sysctl = |name: &str| number(&text(&format!("/proc/sys/{name}")));
    let sockets = text("/proc/net/sockstat");
    let of_tcp = |name| of_line(&sockets, "TCP:", name);
    let tcp_memory = text("/proc/sys/net/ipv4/tcp_mem");
    let tcp_memory = tcp_memory.split_ascii_whitespace().nth(2);
    let (total, available) = (value(meminfo, "MemTotal"), value(meminfo, "MemAvailable"));
    let (swap, free) = (value(meminfo, "SwapTotal"), value(meminfo, "SwapFree"));
    let without = |all: Option<u64>, part: Option<u64>| Some(all?.saturating_sub(part?));
    let conntrack = |name| sysctl(&format!("net/netfilter/nf_conntrack_{name}"));
    [
        ("file_descriptors", open, most),
        ("threads", threads, sysctl("kernel/threads-max")),
        ("pids", threads, sysctl("kernel/pid_max")),
        (
            "sockets_memory",
            of_tcp("mem"),
            tcp_memory.and_then(|pages| pages.parse().ok()),
        ),
        (
            "orphaned_sockets",
            of_tcp("orphan"),
            sysctl("net/ipv4/tcp_max_orphans"),
        ),
        ("conntrack", conntrack("count"), conntrack("max")),
        ("memory", without(total, available), total),
        ("swap", without(swap, free), swap),
    ]
}

/// All threads of the host: the second number of `0.00 0.00 0.00 2/398 12345`.
fn threads(loadavg: &str) -> Option<u64> {
    let (_, all) = loadavg.split_ascii_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// A figure of a line `TCP: inuse 1 orphan 0 …`.
fn of_line(text: &str, line: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix(line))?;
    let mut words = line.split_ascii_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(told: &[Told], name: &str, attribute: Option<&str>) -> Option<f64> {
        let is_it = |told: &&Told| {
            let mut attributes = told.attributes.iter();
            let has = attribute
                .is_none_or(|wanted| attributes.any(|a| a.value == wanted.to_owned().into()));
            told.def.name == name && has
        };
        match &told.iter().find(is_it)?.value {
            PointValue::Int(value) => Some(*value as f64),
            PointValue::Double(value) => Some(*value),
            PointValue::Histogram(_) => None,
        }
    }

    /// Checks figures of files as the kernel writes them.
    #[test]
    fn files() {
        let mut out = Vec::new();
        let stat = "cpu  30 2 8 900 5 1 7 3 0 0\ncpu0 10 1 4 500 3 0 7 3 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n\
                    intr 5 0\nprocs_running 3\nprocs_blocked 4\n";
        cpus(stat, &mut out);
        assert_eq!(
            value_of(&out, "system.cpu.time", Some("interrupt")),
            Some(0.08)
        );
        assert_eq!(value_of(&out, "system.cpu.logical.count", None), Some(2.0));
        assert_eq!(
            value_of(&out, "observer.cpu.run_queue.length", None),
            Some(2.0)
        );
        memory("MemTotal: 10 kB\nMemAvailable: 4 kB\n", &mut out);
        assert_eq!(
            value_of(&out, "system.memory.usage", Some("used")),
            Some(6144.0)
        );
        assert_eq!(value_of(&out, "system.memory.usage", Some("free")), None);
        paging("pgfault 10\npgmajfault 3\noom_kill 1\n", &mut out);
        assert_eq!(
            value_of(&out, "system.paging.faults", Some("minor")),
            Some(7.0)
        );
        assert_eq!(value_of(&out, "observer.memory.oom_kills", None), Some(1.0));
        assert_eq!(threads("0.00 0.01 0.05 2/398 12345\n"), Some(398));
        let sockets = "sockets: used 15\nTCP: inuse 1 orphan 2 tw 0 alloc 1 mem 16\n";
        assert_eq!(of_line(sockets, "TCP:", "orphan"), Some(2));
    }
}
