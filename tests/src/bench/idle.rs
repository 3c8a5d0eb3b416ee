//! What the whole daemon costs at defaults when nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use observer_userspace::kernel::stats;
use serde_json::json;

use super::collector::Collector;
use super::report::{Section, Target};
use super::{Options, daemon, machine};

/// By then the first interval (10 s) is over with its symbols read for the
/// first time; what comes after is the steady state.
const SETTLED: Duration = Duration::from_secs(12);

/// What a run of the daemon used.
pub(super) struct Usage {
    /// CPU seconds until it was ready, and then until it settled.
    pub(super) start: f64,
    pub(super) first_interval: f64,
    /// Shares of a core in the steady state, in percent.
    pub(super) total: f64,
    pub(super) user: f64,
    pub(super) system: f64,
    /// The same over all the time since it was ready.
    pub(super) with_first: f64,
    /// Megabytes.
    pub(super) resident: f64,
    pub(super) peak: f64,
    /// Cores' worth of CPU that all others used meanwhile.
    pub(super) others: f64,
}

impl Usage {
    /// As the report's data.
    pub(super) fn numbers(&self) -> serde_json::Value {
        json!({
            "cpu_percent": self.total,
            "user_percent": self.user,
            "system_percent": self.system,
            "start_seconds": self.start,
            "first_interval_seconds": self.first_interval,
            "resident_mb": self.resident,
            "peak_mb": self.peak,
            "others_percent": self.others * 100.0,
        })
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let steady = Duration::from_secs(if options.quick { 20 } else { 60 });
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    eprintln!("idle: with the summary on the terminal");
    let terminal = measure(&[], steady)?;
    eprintln!("idle: with OTLP");
    let otlp = measure(&["--otlp-endpoint", &endpoint], steady)?;
    drop(collector);
    eprintln!("idle: the kernel half's run time");
    let (bpf, rate) = kernel_half(steady / 2)?;

    let runs = [("summary on the terminal", &terminal), ("OTLP", &otlp)];
    let rows = runs.iter().map(|(name, usage)| {
        let mut row = vec![(*name).to_string()];
        row.extend([
            format!("{:.2} %", usage.total),
            format!("{:.2} + {:.2} %", usage.user, usage.system),
            format!("{:.2} %", usage.with_first),
            format!("{:.2} + {:.2} s", usage.start, usage.first_interval),
            format!("{:.1} MB", usage.resident),
            format!("{:.1} MB", usage.peak),
            format!("{:.0} %", usage.others * 100.0),
        ]);
        row
    });
    let targets = runs.iter().flat_map(|(name, usage)| {
        [
            ("CPU of the daemon", usage.total, 0.5, " % of a core"),
            ("resident at its peak", usage.peak, 60.0, " MB"),
        ]
        .map(|(what, measured, limit, unit)| Target {
            what: format!("{what}, {name}"),
            measured,
            limit,
            unit,
        })
    });
    let data = runs.iter().map(|(name, usage)| {
        let mut numbers = usage.numbers();
        numbers["cpu_percent_with_first_interval"] = usage.with_first.into();
        ((*name).to_string(), numbers)
    });
    Ok(Section {
        name: "idle",
        title: "what the daemon costs when nothing happens".into(),
        method: format!(
            "`observer run` with all probes at defaults, left alone for {} s after its first interval. \
             CPU is user and system time of all its threads in percent of one core; the start (loading \
             and attaching, then the first interval with its symbols) is given separately in seconds. \
             `others` is what everything else on the machine used meanwhile, in percent of one core: \
             the busier, the less idle was the machine.",
            steady.as_secs()
        ),
        columns: vec![
            "output",
            "CPU",
            "user + system",
            "with the first interval",
            "start",
            "resident",
            "peak",
            "others",
        ],
        rows: rows.collect(),
        targets: targets.collect(),
        notes: vec![
            format!(
                "in a run of its own, with the kernel measuring: the kernel half ran for {bpf:.3} % of \
                 one core, {rate:.0} program runs per second, on behalf of whatever ran on the machine"
            ),
            format!("load average after it: {}", machine::load()),
        ],
        data: {
            let mut data: serde_json::Map<_, _> = data.collect();
            data.insert("bpf_percent".into(), json!(bpf));
            data.insert("bpf_runs_per_second".into(), json!(rate));
            data.into()
        },
    })
}

/// Starts the daemon, waits until it has settled, and measures it for that long.
pub(super) fn measure(args: &[&str], steady: Duration) -> Result<Usage> {
    let daemon = daemon::start(args)?;
    let pid = daemon.pid();
    let ready = Instant::now();
    let start = daemon::cpu_seconds(pid)?;
    std::thread::sleep(SETTLED);
    let settled = Instant::now();
    let (cpu, others) = (daemon::cpu_seconds(pid)?, machine::busy_seconds());
    let ticks = daemon::user_and_system(pid)?;
    std::thread::sleep(steady);
    let context = "the daemon ended early";
    let cpu_end = daemon::cpu_seconds(pid).context(context)?;
    let ticks_end = daemon::user_and_system(pid).context(context)?;
    let others_end = machine::busy_seconds();
    let seconds = settled.elapsed().as_secs_f64();
    let (resident, peak) = daemon::resident(pid).context(context)?;
    let total = cpu_end - cpu;
    // The clock is exact, the ticks tell in which mode.
    let (user, system) = (ticks_end.0 - ticks.0, ticks_end.1 - ticks.1);
    let part = |ticks: f64| ticks / (user + system).max(1e-9) * total / seconds * 100.0;
    let usage = Usage {
        start,
        first_interval: cpu - start,
        total: total / seconds * 100.0,
        user: part(user),
        system: part(system),
        with_first: (cpu_end - start) / ready.elapsed().as_secs_f64() * 100.0,
        resident,
        peak,
        others: (others_end - others - total).max(0.0) / seconds,
    };
    daemon.end()?;
    Ok(usage)
}

/// Percent of a core that the BPF programs run for, and how often they run per
/// second. Measuring costs too: hence not in the other runs.
fn kernel_half(time: Duration) -> Result<(f64, f64)> {
    let daemon = daemon::start(&[])?;
    let measured = stats::enable()?;
    let begin = Instant::now();
    let before = daemon::bpf(daemon.pid());
    std::thread::sleep(time);
    let after = daemon::bpf(daemon.pid());
    let seconds = begin.elapsed().as_secs_f64();
    drop(measured);
    daemon.end()?;
    let runs = after.1.saturating_sub(before.1) as f64 / seconds;
    Ok(((after.0 - before.0) / seconds * 100.0, runs))
}
