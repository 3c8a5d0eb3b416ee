//! What it costs to see requests: throughput and latency of a web server, and
//! what programs pay whose connections carry something else.

mod sink;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use observer_userspace::kernel::stats;
use serde_json::{Value, json};

use super::report::{Section, Target};
use super::stats::Spread;
use super::{Options, machine};
use observer_testkit::collector::Collector;
use observer_testkit::daemon;
use observer_testkit::packages::program;
use observer_testkit::requests::{Scene, free_port};
use observer_testkit::tool::Tool;
use sink::Sink;

/// Requests per second at which latency is measured: far below what the server
/// can do, so that it is not that of a queue.
const RATE: u32 = 5000;

/// How the daemon runs beside what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It doesn't.
    Without,
    /// At its defaults, with the summary on the terminal.
    Defaults,
    /// All probes, every span kept and sent over OTLP.
    AllSpans,
    /// All probes but this one.
    Others,
    /// This probe alone.
    Requests,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Without => "without Observer",
            Self::Defaults => "all probes, defaults",
            Self::AllSpans => "all probes, every span over OTLP",
            Self::Others => "all probes but requests",
            Self::Requests => "requests alone",
        }
    }

    fn start(self, sink: &str) -> Result<Option<Tool>> {
        let arguments: &[&str] = match self {
            Self::Without => return Ok(None),
            Self::Defaults => &[],
            Self::AllSpans => &[
                "--otlp-endpoint",
                sink,
                "--otlp-protocol",
                "http/protobuf",
                "--span-rate",
                "1000000",
                "--span-burst",
                "1000000",
                "--budget",
                "off",
            ],
            Self::Others => &["--probes", "syscalls,tcp,block,cpu,sched,offcpu"],
            Self::Requests => &["--probes", "requests"],
        };
        let sampler = (self == Self::AllSpans).then_some(("OTEL_TRACES_SAMPLER", "always_on"));
        let tool = daemon::start_with(arguments, sampler.as_slice())?;
        Ok(Some(tool))
    }
}

/// A figure of each round, by mode.
struct Figures {
    modes: Vec<Mode>,
    values: Vec<Vec<f64>>,
    /// The daemon's CPU, in percent of a core.
    cpu: Vec<Vec<f64>>,
}

impl Figures {
    /// Measures each mode once per round, by turns.
    fn take(
        what: &str,
        modes: &[Mode],
        rounds: usize,
        sink: &str,
        mut measure: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let mut figures = Self {
            modes: modes.to_vec(),
            values: vec![Vec::new(); modes.len()],
            cpu: vec![Vec::new(); modes.len()],
        };
        for round in 0..rounds {
            // Whoever comes first has a machine that just was idle: by turns.
            for index in 0..modes.len() {
                let index = (index + round) % modes.len();
                let daemon = modes[index].start(sink)?;
                // What it has to read at first is over; warm caches.
                std::thread::sleep(Duration::from_millis(500));
                let before = daemon
                    .as_ref()
                    .map(|d| daemon::cpu_seconds(d.pid()))
                    .transpose()?;
                let begin = std::time::Instant::now();
                let value = measure()?;
                let seconds = begin.elapsed().as_secs_f64();
                if let (Some(daemon), Some(before)) = (&daemon, before) {
                    let used = daemon::cpu_seconds(daemon.pid())? - before;
                    figures.cpu[index].push(used / seconds * 100.0);
                }
                eprintln!("requests: {what}, {}: {value:.1}", modes[index].name());
                figures.values[index].push(value);
                if let Some(daemon) = daemon {
                    daemon.end()?;
                }
            }
        }
        Ok(figures)
    }

    /// Ratios of a mode's figures to another's of the same round.
    fn ratio(&self, mode: Mode, to: Mode) -> Option<Spread> {
        let at = |mode| self.modes.iter().position(|m| *m == mode);
        let (mode, to) = (&self.values[at(mode)?], &self.values[at(to)?]);
        let ratios: Vec<f64> = mode.iter().zip(to).map(|(a, b)| a / b).collect();
        Spread::of(&ratios)
    }

    fn rows(&self, what: &str, unit: &str, decimals: usize, rows: &mut Vec<Vec<String>>) {
        for (index, mode) in self.modes.iter().enumerate() {
            let spread = Spread::of(&self.values[index]);
            let cpu = Spread::of(&self.cpu[index]);
            rows.push(vec![
                format!("{what}, {}", mode.name()),
                spread.map_or_else(String::new, |s| format!("{} {unit}", s.text(decimals))),
                self.ratio(*mode, Mode::Without)
                    .map_or_else(String::new, |s| s.text(3)),
                cpu.map_or_else(String::new, |s| format!("{:.0} %", s.median)),
            ]);
        }
    }

    fn json(&self) -> Value {
        let modes = self.modes.iter().zip(&self.values).zip(&self.cpu);
        let of = modes.map(|((mode, values), cpu)| {
            let value = json!({"values": values, "daemon_cpu_percent": cpu});
            (mode.name().to_string(), value)
        });
        Value::Object(of.collect())
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let (rounds, seconds) = if options.quick { (2, 2) } else { (7, 4) };
    let mut scene = Scene::new()?;
    let port = free_port()?;
    std::fs::write(scene.folder().join("index.html"), "hello\n".repeat(20))?;
    let http = format!("server {{ listen 127.0.0.1:{port}; }}");
    scene.nginx("worker_processes 1;", &http, port)?;
    let url = format!("http://127.0.0.1:{port}/index.html");
    let sink = Sink::start()?;
    let endpoint = sink.endpoint();
    wrk(&url, 1)?;

    let web = [Mode::Without, Mode::Defaults, Mode::AllSpans];
    let throughput = Figures::take("throughput", &web, rounds, &endpoint, || {
        wrk(&url, seconds).map(|(rate, _)| rate)
    })?;
    let latency = Figures::take("p99 in µs", &web, rounds, &endpoint, || {
        let (rate, requests) = (RATE.to_string(), (RATE * seconds).to_string());
        let report = scene.load(
            port,
            &[
                "--rate",
                &rate,
                "--requests",
                &requests,
                "--connections",
                "8",
                "--path",
                "/index.html",
            ],
        )?;
        Ok(report["p99_ns"].as_f64().context("p99_ns")? / 1000.0)
    })?;
    let foreign = [Mode::Without, Mode::Others, Mode::Requests, Mode::Defaults];
    let foreign = Figures::take("unknown protocol", &foreign, rounds, &endpoint, || {
        let output = scene
            .own("observer-pingpong")?
            .arg(seconds.to_string())
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    })?;
    let account = account(&url, seconds)?;
    Ok(section(
        &throughput,
        &latency,
        &foreign,
        &account,
        rounds,
        seconds,
    ))
}

/// Requests per second, and requests.
fn wrk(url: &str, seconds: u32) -> Result<(f64, u64)> {
    let mut wrk: Command = program("wrk", "wrk")?;
    let output = wrk
        .args(["-t", "1", "-c", "16", "-d", &seconds.to_string(), url])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !said.contains("Non-2xx"),
        "wrk: {said}"
    );
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    let count = said
        .lines()
        .find_map(|line| line.split_once(" requests in "));
    let rate = rate.context("no rate")?.trim().parse()?;
    Ok((rate, count.context("no count")?.0.trim().parse()?))
}

/// What became of the requests of one run, with the kernel measuring its
/// programs.
struct Account {
    asked: u64,
    counted: u64,
    spans: u64,
    losses: Vec<(String, u64)>,
    /// Percent of a core.
    bpf: f64,
    daemon: f64,
    resident: f64,
}

fn account(url: &str, seconds: u32) -> Result<Account> {
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let arguments = [
        "--otlp-endpoint",
        &endpoint,
        "--interval",
        "1s",
        "--span-rate",
        "1000000",
        "--span-burst",
        "1000000",
    ];
    let sampler = ("OTEL_TRACES_SAMPLER", "always_on");
    let daemon = daemon::start_with(&arguments, &[sampler])?;
    let pid = daemon.pid();
    let measured = stats::enable()?;
    let (bpf, cpu) = (daemon::bpf(pid).0, daemon::cpu_seconds(pid)?);
    let (_, asked) = wrk(url, seconds)?;
    let share = |seconds_used: f64| seconds_used / f64::from(seconds) * 100.0;
    let (bpf, cpu) = (
        share(daemon::bpf(pid).0 - bpf),
        share(daemon::cpu_seconds(pid)? - cpu),
    );
    drop(measured);
    let (_, resident) = daemon::resident(pid)?;
    std::thread::sleep(Duration::from_millis(2500));
    daemon.end()?;
    let counted = collector.histogram_count("http.server.request.duration")?;
    let mut losses = Vec::new();
    for (cause, lost) in collector.losses()? {
        if lost > 0 {
            losses.push((cause, lost));
        }
    }
    Ok(Account {
        asked,
        counted,
        spans: collector.spans()?,
        losses,
        bpf,
        daemon: cpu,
        resident,
    })
}

fn section(
    throughput: &Figures,
    latency: &Figures,
    foreign: &Figures,
    account: &Account,
    rounds: usize,
    seconds: u32,
) -> Section {
    let mut rows = Vec::new();
    throughput.rows("throughput", "/s", 0, &mut rows);
    latency.rows("p99", "µs", 0, &mut rows);
    foreign.rows("unknown protocol", "rounds/s", 0, &mut rows);
    let median = |ratio: Option<Spread>| ratio.map_or(f64::NAN, |spread| spread.median);
    let lost = |ratio| (1.0 - median(ratio)) * 100.0;
    let target = |what: &str, measured, limit, unit| Target {
        what: what.into(),
        measured,
        limit,
        unit,
    };
    let losses: Vec<String> = account
        .losses
        .iter()
        .map(|(cause, n)| format!("{cause} {n}"))
        .collect();
    Section {
        name: "requests",
        title: "what it costs to see requests".into(),
        method: format!(
            "wrk (1 thread, 16 connections) against nginx (1 worker) with a file of 120 bytes, {rounds} rounds of \
             {seconds} s, all modes by turns in each round; ratios are those of one round, median (and quartiles) \
             of all. Latency: {RATE} requests per second, sent when they are due on 8 connections. The unknown \
             protocol is a message of 64 bytes that two threads on one CPU pass to and fro. Spans go to a sink \
             that reads them and throws them away, on the same machine."
        ),
        columns: vec!["", "figure", "ratio", "CPU of the daemon"],
        rows,
        targets: vec![
            target(
                "throughput lost with every span",
                lost(throughput.ratio(Mode::AllSpans, Mode::Without)),
                10.0,
                " %",
            ),
            target(
                "throughput lost at defaults",
                lost(throughput.ratio(Mode::Defaults, Mode::Without)),
                10.0,
                " %",
            ),
            target(
                "p99 with every span, to that without",
                median(latency.ratio(Mode::AllSpans, Mode::Without)),
                1.1,
                " times",
            ),
            target(
                "p99 at defaults, to that without",
                median(latency.ratio(Mode::Defaults, Mode::Without)),
                1.1,
                " times",
            ),
            target(
                "speed lost with an unknown protocol, requests alone",
                lost(foreign.ratio(Mode::Requests, Mode::Without)),
                3.0,
                " %",
            ),
            target(
                "speed lost with an unknown protocol, by requests beside all other probes",
                lost(foreign.ratio(Mode::Defaults, Mode::Others)),
                3.0,
                " %",
            ),
            target(
                "requests neither counted nor lost by name",
                account.asked.saturating_sub(
                    account.counted + account.losses.iter().map(|(_, n)| n).sum::<u64>(),
                ) as f64,
                0.0,
                "",
            ),
        ],
        notes: vec![
            format!(
                "in a run of its own, with the kernel measuring: {} requests, {} counted, {} spans; lost: {}; the \
                 kernel half ran for {:.1} % of a core, the daemon for {:.1} %, with {:.0} MB at most",
                account.asked,
                account.counted,
                account.spans,
                if losses.is_empty() {
                    "nothing".into()
                } else {
                    losses.join(", ")
                },
                account.bpf,
                account.daemon,
                account.resident,
            ),
            format!("load average after it: {}", machine::load()),
        ],
        data: json!({
            "throughput": throughput.json(),
            "p99_us": latency.json(),
            "unknown_protocol": foreign.json(),
            "asked": account.asked,
            "counted": account.counted,
            "spans": account.spans,
            "losses": losses,
            "bpf_percent": account.bpf,
            "daemon_percent": account.daemon,
        }),
    }
}
