//! What tools cost when nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use observer_userspace::kernel::stats;
use serde_json::json;
use tempfile::TempDir;

use super::matrix::{Contender, Observer, Outcome, Peer, Ready, Role, Work};
use super::report::{Section, Target};
use super::{Options, exec, machine, peers, switch, syscalls};
use observer_testkit::{daemon, interrupt};

/// By then Observer's first interval (10 s) is over with its symbols read for
/// the first time; what comes after is the steady state.
const SETTLED: Duration = Duration::from_secs(12);

/// What a run of a tool used.
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
            "cpu_percent_with_first_interval": self.with_first,
            "resident_mb": self.resident,
            "peak_mb": self.peak,
            "others_percent": self.others * 100.0,
        })
    }
}

/// Nothing is done, for nobody to watch.
struct Idle;

impl Work for Idle {
    fn unit(&self) -> &'static str {
        ""
    }

    fn run(&mut self, _quick: bool) -> Result<Outcome> {
        Ok(Outcome::default())
    }
}

/// A tool's.
struct Line {
    name: String,
    usage: Usage,
    /// Percent of a core that its programs ran for, and how often per second.
    bpf: (f64, f64),
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let (settle, steady) = if options.quick {
        (Duration::from_secs(2), Duration::from_secs(9))
    } else {
        (SETTLED, Duration::from_secs(60))
    };
    let (mut lines, mut notes) = (Vec::new(), Vec::new());
    for contender in contenders()? {
        let name = contender.name();
        eprintln!("idle: {name}");
        // Others have no intervals to wait for.
        let (settle, steady) = match contender.role() {
            Role::Observer => (settle, steady),
            _ => (settle / 3, steady / 2),
        };
        match line(&*contender, settle, steady) {
            Ok(line) => lines.push(line),
            Err(error) => notes.push(format!("{name} can't be measured here: {error:#}")),
        }
        interrupt::check()?;
    }
    if options.quick {
        notes.push("a quick run doesn't wait until Observer's first interval is over".into());
    }
    notes.push(format!("load average after it: {}", machine::load()));
    Ok(section(&lines, steady, notes))
}

fn contenders() -> Result<Vec<Box<dyn Contender>>> {
    let mut all: Vec<Box<dyn Contender>> = vec![
        Box::new(Observer::all()),
        Box::new(Observer::named("observer, summary on the terminal").without_otlp()),
    ];
    for (name, script) in [
        ("bpftrace, syscalls by comm", syscalls::BPFTRACE),
        ("bpftrace, run queue by comm", switch::RUN_QUEUE),
        ("bpftrace, programs by comm", exec::BPFTRACE),
    ] {
        all.push(Box::new(Peer::bpftrace(name, script)));
    }
    let folder = TempDir::new().context("cannot make a temporary folder")?;
    let probee = Peer::new(
        "probee, 19 Hz",
        ["probee", peers::FROM_CRATES],
        Ready::Settles("", Duration::from_secs(1)),
        move |_, command| {
            command.args(["--dwarf", "-f", "19", "-t", "3600000", "-o"]);
            command.arg(folder.path().join("out.svg"));
            Ok(())
        },
    );
    all.push(Box::new(probee));
    Ok(all)
}

fn line(contender: &dyn Contender, settle: Duration, steady: Duration) -> Result<Line> {
    contender.prepare()?;
    let running = contender.start(&Idle)?;
    let pids = running.pids();
    let pid = pids.first().copied().context("it has no process")?;
    let usage = usage(pid, settle, steady)?;
    // Measuring costs, too: hence not at the same time.
    let measured = stats::enable()?;
    let (begin, before) = (Instant::now(), daemon::bpf(pid));
    std::thread::sleep(steady / 3);
    let (after, seconds) = (daemon::bpf(pid), begin.elapsed().as_secs_f64());
    drop(measured);
    running.finish().context("at its end")?;
    Ok(Line {
        name: contender.name(),
        usage,
        bpf: (
            (after.0 - before.0) / seconds * 100.0,
            after.1.saturating_sub(before.1) as f64 / seconds,
        ),
    })
}

fn section(lines: &[Line], steady: Duration, notes: Vec<String>) -> Section {
    let rows = lines.iter().map(|line| {
        let usage = &line.usage;
        vec![
            line.name.clone(),
            format!("{:.2} %", usage.total),
            format!("{:.2} + {:.2} %", usage.user, usage.system),
            format!("{:.3} %", line.bpf.0),
            format!("{:.0}", line.bpf.1),
            format!("{:.2} %", usage.with_first),
            format!("{:.2} + {:.2} s", usage.start, usage.first_interval),
            format!("{:.1}, {:.1}", usage.resident, usage.peak),
            format!("{:.0} %", usage.others * 100.0),
        ]
    });
    let observers = lines
        .iter()
        .filter(|line| line.name.starts_with("observer"));
    let targets = observers.flat_map(|line| {
        [
            ("CPU", line.usage.total, 0.5, " % of a core"),
            ("resident", line.usage.resident, 60.0, " MB"),
            ("resident at its peak", line.usage.peak, 60.0, " MB"),
        ]
        .map(|(what, measured, limit, unit)| Target {
            what: format!("{}: {what}", line.name),
            measured,
            limit,
            unit,
        })
    });
    let data = lines.iter().map(|line| {
        let mut numbers = line.usage.numbers();
        numbers["bpf_percent"] = line.bpf.0.into();
        numbers["bpf_runs_per_second"] = line.bpf.1.into();
        (line.name.clone(), numbers)
    });
    Section {
        name: "idle",
        title: "what tools cost when nothing happens".into(),
        method: format!(
            "Each is left alone for {} s (peers: half of it) after it has settled (Observer: after its first interval). CPU is user and \
             system time of its process in percent of one core; the start (loading and attaching, then the time to \
             settle, with Observer's first interval and its symbols) is given separately in seconds. BPF run time \
             (percent of a core) and runs per second are from a further {} s (half) in which the kernel measured, on behalf of \
             whatever ran on the machine. Resident memory in MB, at the end and at its peak. `others` is what \
             everything else on the machine used meanwhile, in percent of one core: the busier, the less idle was the \
             machine.",
            steady.as_secs(),
            (steady / 3).as_secs()
        ),
        columns: vec![
            "tool",
            "CPU",
            "user + system",
            "BPF",
            "runs/s",
            "with the first interval",
            "start",
            "resident, peak",
            "others",
        ],
        rows: rows.collect(),
        targets: targets.collect(),
        notes,
        data: serde_json::Map::from_iter(data).into(),
    }
}

/// Starts the daemon, waits until it has settled, and measures it for that long.
pub(super) fn measure(args: &[&str], steady: Duration) -> Result<Usage> {
    let daemon = daemon::start(args)?;
    let usage = usage(daemon.pid(), SETTLED, steady)?;
    daemon.end()?;
    Ok(usage)
}

/// What a process uses that is ready.
fn usage(pid: u32, settle: Duration, steady: Duration) -> Result<Usage> {
    let ready = Instant::now();
    let start = daemon::cpu_seconds(pid)?;
    std::thread::sleep(settle);
    let settled = Instant::now();
    let (cpu, others) = (daemon::cpu_seconds(pid)?, machine::busy_seconds());
    let ticks = daemon::user_and_system(pid)?;
    std::thread::sleep(steady);
    let context = "it ended early";
    let cpu_end = daemon::cpu_seconds(pid).context(context)?;
    let ticks_end = daemon::user_and_system(pid).context(context)?;
    let others_end = machine::busy_seconds();
    let seconds = settled.elapsed().as_secs_f64();
    let (resident, peak) = daemon::resident(pid).context(context)?;
    let total = cpu_end - cpu;
    // The clock is exact, the ticks tell in which mode.
    let (user, system) = (ticks_end.0 - ticks.0, ticks_end.1 - ticks.1);
    let part = |ticks: f64| ticks / (user + system).max(1e-9) * total / seconds * 100.0;
    Ok(Usage {
        start,
        first_interval: cpu - start,
        total: total / seconds * 100.0,
        user: part(user),
        system: part(system),
        with_first: (cpu_end - start) / ready.elapsed().as_secs_f64() * 100.0,
        resident,
        peak,
        others: (others_end - others - total).max(0.0) / seconds,
    })
}
