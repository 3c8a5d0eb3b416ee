//! What a large host would see, from the slopes of the lines.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use observer_common::tally::HistogramCell;
use observer_common::workload::DEFAULT_WORKLOADS;
use serde_json::json;

use super::line::{Unit, measured};
use super::watched::{DEFAULT_INTERVAL, INTERVAL};
use super::{connections, default_cells_of, events, processes, rate, stacks, workloads};
use crate::Options;
use crate::report::{Section, Target};

/// CPUs of the host …
const CPUS: f64 = 128.0;
/// … and how many of them are busy on average.
const BUSY: f64 = 64.0;
/// Its containers …
const CONTAINERS: f64 = 10_000.0;
/// … and what each has.
const PROCESSES_EACH: f64 = 3.0;
const WORKLOADS_EACH: f64 = 2.0;
const CONNECTIONS_EACH: f64 = 10.0;
/// What each busy CPU does in a second.
const SYSCALLS_EACH: f64 = 20_000.0;
const SWITCHES_EACH: f64 = 5_000.0;
const REQUESTS_EACH: f64 = 500.0;
/// Samples per second and CPU by default.
const FREQUENCY: f64 = 49.0;
/// How many samples of a profile have a stack that no other one of it has.
const DIFFERENT: f64 = 0.5;

/// What the lines must have measured, and who does.
type Run = fn(&Options) -> Result<Section>;
const NEEDED: [(&str, Run); 8] = [
    ("process memory", processes::run),
    ("stack profile", stacks::run),
    ("workload interval", workloads::run),
    ("connection memory", connections::run),
    ("sample bpf", rate::run),
    ("syscall bpf", events::syscalls),
    ("switch bpf", events::switches),
    ("request bpf", events::requests),
];

/// A part of the sum.
struct Part {
    what: &'static str,
    /// How it was calculated.
    how: String,
    /// Seconds per second, of the daemon and of the kernel half.
    daemon: f64,
    bpf: f64,
    /// Bytes resident.
    memory: f64,
}

/// Runs it, and those lines before it that haven't run yet.
pub fn run(options: &Options) -> Result<Section> {
    for (slope, run) in NEEDED {
        if measured(slope).is_none() {
            run(options)?;
        }
    }
    let parts = parts(seconds_per_cell())?;
    Ok(section(&parts))
}

/// A slope; what is below nothing is noise.
fn slope(name: &str) -> Result<f64> {
    let fit = measured(name).with_context(|| format!("no slope {name}"))?;
    Ok(fit.slope.max(0.0))
}

fn parts(cell: f64) -> Result<Vec<Part>> {
    let ns = Unit::new(1e9, 0, " ns");
    let us = Unit::new(1e6, 1, " µs");
    let bytes = Unit::new(1.0, 0, " B");
    let base = measured("process minute").context("no base")?.base.max(0.0);
    // With as many cells as such a host has; all are resident from the start.
    let base_memory = measured("workload memory").context("no base")?.base;
    let mut parts = vec![Part {
        what: "the daemon alone",
        how: "the bases of growth/processes (CPU) and growth/workloads (memory, with all cells)"
            .into(),
        daemon: base / 60.0,
        bpf: 0.0,
        memory: base_memory,
    }];

    let processes = CONTAINERS * PROCESSES_EACH;
    let (minute, memory) = (slope("process minute")?, slope("process memory")?);
    parts.push(Part {
        what: "processes",
        how: format!(
            "{processes} × {} a minute, × {}",
            us.text(minute),
            bytes.text(memory)
        ),
        daemon: processes * minute / 60.0,
        bpf: 0.0,
        memory: processes * memory,
    });

    let workloads = (CONTAINERS * WORKLOADS_EACH).min(f64::from(DEFAULT_WORKLOADS));
    let (interval, each) = (slope("workload interval")?, slope("workload memory")?);
    let cells = f64::from(default_cells_of(CPUS as u32));
    // Those that a workload has here are in its own slope.
    let more = (cells - workloads * slope("workload cells")?).max(0.0);
    parts.push(Part {
        what: "workloads",
        how: format!(
            "{workloads} × {} per export, × {}; and {more:.0} cells more, since each belongs to one CPU, × {} per export; an export every {DEFAULT_INTERVAL} s",
            us.text(interval),
            bytes.text(each),
            ns.text(cell)
        ),
        daemon: (workloads * interval + more * cell) / DEFAULT_INTERVAL,
        bpf: 0.0,
        memory: workloads * each,
    });

    let connections = CONTAINERS * CONNECTIONS_EACH;
    let (active, memory) = (slope("connection active")?, slope("connection memory")?);
    parts.push(Part {
        what: "connections",
        how: format!(
            "{connections} × {} in {INTERVAL} s, active, × {}",
            us.text(active),
            bytes.text(memory)
        ),
        daemon: connections * active / INTERVAL as f64,
        bpf: 0.0,
        memory: connections * memory,
    });

    let sample = slope("sample bpf")?;
    let samples = BUSY * FREQUENCY;
    parts.push(Part {
        what: "samples",
        how: format!("{samples}/s × {}", ns.text(sample)),
        daemon: 0.0,
        bpf: samples * sample,
        memory: 0.0,
    });
    let different = samples * DEFAULT_INTERVAL * DIFFERENT;
    let (profile, memory) = (slope("stack profile")?, slope("stack peak")?);
    parts.push(Part {
        what: "stacks",
        how: format!(
            "{different:.0} in a profile of {DEFAULT_INTERVAL} s × {}, × {} while it is made",
            us.text(profile),
            bytes.text(memory)
        ),
        daemon: different * profile / DEFAULT_INTERVAL,
        bpf: 0.0,
        memory: different * memory,
    });

    let rates = [
        ("system calls", SYSCALLS_EACH, "syscall", 0.0),
        // Two system calls come with each in its line.
        ("context switches", SWITCHES_EACH, "switch", 2.0),
        ("requests", REQUESTS_EACH, "request", 0.0),
    ];
    for (what, each, name, calls) in rates {
        let rate = BUSY * each;
        let of = |half: &str| -> Result<f64> {
            let calls = calls * slope(&format!("syscall {half}"))?;
            Ok((slope(&format!("{name} {half}"))? - calls).max(0.0))
        };
        let (bpf, daemon) = (of("bpf")?, of("daemon")?);
        parts.push(Part {
            what,
            how: format!(
                "{rate}/s × ({} BPF + {} daemon)",
                ns.text(bpf),
                ns.text(daemon)
            ),
            daemon: rate * daemon,
            bpf: rate * bpf,
            memory: 0.0,
        });
    }
    Ok(parts)
}

/// What adding up one cell takes, when there are more of them than caches hold:
/// as the daemon does it, word by word.
fn seconds_per_cell() -> f64 {
    const CELLS: usize = 65_536;
    let words = size_of::<HistogramCell>() / size_of::<u64>();
    let table = vec![1_u64; CELLS * words];
    let mut sum = vec![0_u64; words];
    let begin = Instant::now();
    for cell in black_box(&table).chunks_exact(words) {
        for (to, word) in sum.iter_mut().zip(cell) {
            // SAFETY: a reference is valid to read from. Volatile as in the
            // daemon, so that the sums aren't vectorised where it can't.
            *to += unsafe { std::ptr::from_ref(word).read_volatile() };
        }
    }
    black_box(&sum);
    begin.elapsed().as_secs_f64() / CELLS as f64
}

fn section(parts: &[Part]) -> Section {
    let percent = |seconds: f64| format!("{:.2} %", seconds * 100.0);
    let megabytes = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
    let mut rows: Vec<Vec<String>> = parts
        .iter()
        .map(|part| {
            vec![
                part.what.to_owned(),
                part.how.clone(),
                percent(part.daemon),
                percent(part.bpf),
                megabytes(part.memory),
            ]
        })
        .collect();
    let sum = |of: fn(&Part) -> f64| parts.iter().map(of).sum::<f64>();
    let (daemon, bpf, memory) = (sum(|p| p.daemon), sum(|p| p.bpf), sum(|p| p.memory));
    rows.push(vec![
        "all".into(),
        "percent of one CPU".into(),
        percent(daemon),
        percent(bpf),
        megabytes(memory),
    ]);
    let host = (daemon + bpf) / CPUS;
    rows.push(vec![
        "of the host".into(),
        format!("÷ {CPUS} CPUs"),
        percent(daemon / CPUS),
        percent(bpf / CPUS),
        String::new(),
    ]);
    let data = parts.iter().map(|part| {
        let value = json!({
            "daemon": part.daemon,
            "bpf": part.bpf,
            "memory": part.memory,
            "how": part.how,
        });
        (part.what.to_owned(), value)
    });
    let mut data: serde_json::Map<_, _> = data.collect();
    data.insert("host_share".into(), json!(host));
    data.insert("memory".into(), json!(memory));
    Section {
        name: "growth/host",
        title: format!("what a host with {CPUS} CPUs and {CONTAINERS} containers would see"),
        method: format!(
            "Calculated, not measured: the slopes of the lines above times what such a host is taken to have. \
             Assumed: {BUSY} of its {CPUS} CPUs are busy; each container has {PROCESSES_EACH} processes, \
             {WORKLOADS_EACH} names of programs (workloads) and {CONNECTIONS_EACH} open connections, each with a \
             message every 10 s; each busy CPU makes {SYSCALLS_EACH} system calls, {SWITCHES_EACH} context \
             switches and {REQUESTS_EACH} requests a second; the default rate of {FREQUENCY} Hz and interval of \
             {DEFAULT_INTERVAL} s; of the samples of an interval the share of {DIFFERENT} has a stack of its own. \
             Tables have their default sizes: {DEFAULT_WORKLOADS} workloads, the rest is counted as `other`, and \
             {} cells, taken as all in use. The formula is in each row, in seconds per second: number × slope. \
             It is too much rather than too little: a request's own system calls and switches are \
             counted twice, and the memory for stacks is only needed while a profile is made. It doesn't know what \
             only large machines have: more expensive cache misses between sockets, and processors faster or \
             slower than this one.",
            default_cells_of(CPUS as u32)
        ),
        columns: vec!["", "how", "daemon", "BPF", "resident"],
        rows,
        targets: vec![
            Target {
                what: "CPU of the host".into(),
                measured: host * 100.0,
                limit: 1.0,
                unit: " %",
            },
            Target {
                what: "CPU of the daemon, whose work is nearly all in one thread".into(),
                measured: daemon * 100.0,
                limit: 100.0,
                unit: " % of a CPU",
            },
        ],
        notes: Vec::new(),
        data: data.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{COUNT, Line, Slope};
    use super::*;

    /// Checks some of the sum by hand, from slopes that are known.
    #[test]
    fn sums() {
        let one = |name: &'static str, slope: f64, base: f64| {
            let unit = COUNT;
            let column = ("figure", COUNT, Some(Slope { name, unit }));
            let mut line = Line::new("growth/test", "things", "thing", &[column]);
            line.step(0.0, &[base]);
            line.step(1.0, &[base + slope]);
            line.section("a test", String::new());
        };
        assert!(parts(0.0).is_err(), "nothing is measured");
        for name in [
            "process memory",
            "workload cells",
            "connection memory",
            "connection active",
            "sample bpf",
            "stack profile",
            "stack peak",
            "syscall daemon",
            "switch daemon",
            "request bpf",
            "request daemon",
        ] {
            one(name, 0.0, 0.0);
        }
        one("process minute", 60e-6, 6.0);
        one("workload memory", 1000.0, 5e6);
        one("workload interval", 1e-3, 0.0);
        one("syscall bpf", 100e-9, 0.0);
        one("switch bpf", 500e-9, 0.0);
        let parts = parts(1e-6).expect("all slopes");
        let part = |what: &str| parts.iter().find(|p| p.what == what).expect("a part");
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.abs(), "{a} is not {b}");
        near(part("the daemon alone").daemon, 0.1);
        near(part("the daemon alone").memory, 5e6);
        near(part("processes").daemon, 30_000.0 * 1e-6);
        near(part("workloads").daemon, (1.024 + 0.065_536) / 10.0);
        near(part("workloads").memory, 1_024_000.0);
        near(part("system calls").bpf, 64.0 * 20_000.0 * 100e-9);
        // Two system calls come with each switch.
        near(part("context switches").bpf, 64.0 * 5_000.0 * 300e-9);
        let section = section(&parts);
        assert_eq!(section.rows.len(), parts.len() + 2);
        assert!(
            section.method.contains("10000 containers")
                || section.title.contains("10000 containers")
        );
    }
}
