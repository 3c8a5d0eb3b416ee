//! What each event costs: system calls, context switches, requests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::line::{Line, Slope, Unit};
use super::program::{Compiled, Program};
use super::watched::{Ended, Used, Watched, lost, lost_text, total};
use crate::Options;
use crate::report::Section;
use observer_testkit::collector::text;

/// Percent of one CPU.
const OF_A_CPU: Unit = Unit::new(100.0, 2, " %");

/// The columns of all lines about events; the slopes' names tell whose.
fn line(
    name: &'static str,
    what: &'static str,
    one: &'static str,
    slopes: [&'static str; 2],
) -> Line {
    let slope = |name| {
        Some(Slope {
            name,
            unit: Unit::new(1e9, 0, " ns"),
        })
    };
    Line::new(
        name,
        what,
        one,
        &[
            ("BPF", OF_A_CPU, slope(slopes[0])),
            ("daemon", OF_A_CPU, slope(slopes[1])),
            ("resident", super::line::MB, None),
        ],
    )
}

fn step(line: &mut Line, done: u64, used: &Used) {
    line.step(
        done as f64 / used.seconds,
        &[
            used.bpf / used.seconds,
            used.cpu / used.seconds,
            used.resident,
        ],
    );
}

/// Says what was lost, and whether all events were counted.
fn truth(line: &mut Line, what: &str, ended: &Ended, done: u64, counted: u64) -> Result<()> {
    let lost = lost(&ended.collector)?;
    line.note(format!("{what}: {done} made, {counted} counted"));
    if !lost.is_empty() {
        line.note(format!("lost: {}", lost_text(&lost)));
    }
    line.target(
        format!("{what} counted, against those made"),
        done.abs_diff(counted) as f64,
        0.0,
        " apart",
    );
    let sum: u64 = lost.values().sum();
    line.target("events lost", sum as f64, 0.0, "");
    Ok(())
}

/// System calls per second.
pub fn syscalls(options: &Options) -> Result<Section> {
    let rates: &[u64] = if options.quick {
        &[1000, 100_000, 1_000_000]
    } else {
        &[1000, 10_000, 100_000, 300_000, 1_000_000]
    };
    let mut line = line(
        "growth/call-rate",
        "system calls/s",
        "call",
        ["syscall bpf", "syscall daemon"],
    );
    let program = Compiled::new("pace")?;
    let daemon = Watched::start(&[])?;
    let mut pace = program.start(&[])?;
    daemon.used_in(2)?;
    let mut done = 0;
    for rate in rates {
        let seconds = seconds(options);
        let (calls, used) = daemon.used(|| pace.ask(&format!("s {rate} {}", seconds * 1000)))?;
        done += calls;
        step(&mut line, calls, &used);
    }
    drop(pace);
    let ended = daemon.end()?;
    let counted = total(
        &ended.collector,
        "observer.syscall.calls",
        |_, attributes| text(attributes, "syscall.name") == Some("getppid"),
    )?;
    truth(&mut line, "calls of getppid", &ended, done, counted)?;
    Ok(line.section(
        "what each system call costs",
        "A process on one CPU calls `getppid` at this rate, in bursts every 10 ms. One daemon with all probes. \
         `BPF` is how long the kernel half's programs run, in percent of one CPU; the rest of the machine is in \
         the base of the line. Truth is the process's own count."
            .into(),
    ))
}

/// Context switches per second.
pub fn switches(options: &Options) -> Result<Section> {
    let rates: &[u64] = if options.quick {
        &[1000, 20_000, 100_000]
    } else {
        &[1000, 10_000, 50_000, 100_000, 200_000]
    };
    let mut line = line(
        "growth/switch-rate",
        "switches/s",
        "switch",
        ["switch bpf", "switch daemon"],
    );
    let program = Compiled::new("pace")?;
    let daemon = Watched::start(&[])?;
    let mut pace = program.start(&[])?;
    daemon.used_in(2)?;
    for rate in rates {
        let before = context_switches()?;
        let question = format!("w {rate} {}", seconds(options) * 1000);
        let (_, used) = daemon.used(|| pace.ask(&question))?;
        step(&mut line, context_switches()? - before, &used);
    }
    drop(pace);
    let ended = daemon.end()?;
    let lost = lost(&ended.collector)?;
    line.target("events lost", lost.values().sum::<u64>() as f64, 0.0, "");
    line.note(
        "each of these switches comes with two system calls (a read and a write of a pipe), whose cost is \
         in the slope; `growth/host` takes it out",
    );
    Ok(line.section(
        "what each context switch costs",
        "Two processes on one CPU pass a byte to and fro through pipes at this rate, in bursts every 10 ms. The \
         rate is the kernel's own count of all switches (`ctxt` of /proc/stat)."
            .into(),
    ))
}

/// Requests per second.
pub fn requests(options: &Options) -> Result<Section> {
    let rates: &[Option<u64>] = if options.quick {
        &[Some(100), Some(5000), None]
    } else {
        &[Some(100), Some(1000), Some(5000), Some(10_000), None]
    };
    let mut line = line(
        "growth/request-rate",
        "requests/s",
        "request",
        ["request bpf", "request daemon"],
    );
    let folder = TempDir::new()?;
    let log = folder.path().join("log");
    let mut server = Program::start(Command::new(own("observer-server")?).arg(&log))?;
    let port = server.number()?;
    let daemon = Watched::start(&[])?;
    daemon.used_in(2)?;
    let mut done = 0;
    for rate in rates {
        let seconds = seconds(options);
        let count = rate.map_or(20_000, |rate| rate) * seconds;
        let mut load = Command::new(own("observer-load")?);
        load.arg(format!("127.0.0.1:{port}"));
        load.args(["--connections", "8", "--requests", &count.to_string()]);
        if let Some(rate) = rate {
            load.args(["--rate", &rate.to_string()]);
        }
        let (requests, used) = daemon.used(|| {
            let output = load.output().context("observer-load")?;
            let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            report["requests"].as_u64().context("no count of requests")
        })?;
        done += requests;
        step(&mut line, requests, &used);
    }
    std::thread::sleep(Duration::from_millis(500));
    let ended = daemon.end()?;
    drop(server);
    let counted = total(
        &ended.collector,
        "http.server.request.duration",
        |whose, _| text(whose, "process.executable.name") == Some("observer-server"),
    )?;
    truth(&mut line, "requests", &ended, done, counted)?;
    Ok(line.section(
        "what each request costs",
        "HTTP/1.1 requests over 8 kept connections to a server with a thread for each, both observed with all \
         probes at defaults (at most 1,000 traces a second and workload). The last step is as fast as they can. \
         A request is eight system calls or so and four switches, whose cost is in the slope. Truth is \
         the client's count."
            .into(),
    ))
}

/// How long a step is.
fn seconds(options: &Options) -> u64 {
    if options.quick { 3 } else { 6 }
}

/// One of the test kit's programs, built beside ours.
fn own(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.is_file(), "{} is missing", path.display());
    Ok(path)
}

/// All switches since the machine started.
fn context_switches() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "));
    Ok(line.context("no ctxt in /proc/stat")?.trim().parse()?)
}
