//! Whether the daemon keeps its size, and account of every sample, while
//! processes come and go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::unwind::Outcome;
use observer_userspace::kernel::stats;
use serde_json::json;

use super::pulse::{Churn, Pace, Programs};
use super::report::{Section, Target};
use super::stats::median;
use super::{Options, machine};
use observer_testkit::collector::{Collector, text};
use observer_testkit::daemon::{self, Held};

/// Different programs.
const PROGRAMS: usize = 300;

/// 200 a second that live for 10 s: 2,000 at a time, which compute little enough
/// to leave the machine half of its time.
const PACE: Pace = Pace {
    rate: 200.0,
    life: Duration::from_secs(10),
    busy: Duration::from_micros(150),
    period: Duration::from_secs(1),
};

/// How much growth is noise, in MB.
const LIMIT: f64 = 2.0;

/// One look at the daemon.
struct Look {
    seconds: f64,
    resident: f64,
}

/// Where every sample went.
struct Account {
    /// Runs of the program that takes samples, as the kernel counted them.
    runs: u64,
    /// Runs that the kernel left out.
    missed: u64,
    /// Samples by what walking the stack came to.
    outcomes: Vec<(&'static str, u64)>,
    /// Samples in the profiles that arrived.
    arrived: u64,
    /// Samples that the daemon says were lost before it counted them, and since.
    lost_before: u64,
    lost_since: u64,
}

impl Account {
    fn counted(&self) -> u64 {
        self.outcomes.iter().map(|(_, count)| count).sum()
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let (warm, time) = if options.quick { (20, 20) } else { (60, 240) };
    let programs = Programs::new()?;
    let copies = programs.copies(PROGRAMS, false)?;
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let measured = stats::enable()?;
    let mut daemon = daemon::start(&["--otlp-endpoint", &endpoint])?;
    let pid = daemon.pid();
    let program = Held::sampler(&mut daemon)?;
    let cpu = daemon::cpu_seconds(pid)?;
    let churn = Churn::start(copies, PACE);
    let begin = Instant::now();
    let mut looks = Vec::new();
    let mut most = 0;
    while begin.elapsed() < Duration::from_secs(warm + time) {
        std::thread::sleep(Duration::from_secs(1));
        let (resident, _) = daemon::resident(pid).context("the daemon ended early")?;
        looks.push(Look {
            seconds: begin.elapsed().as_secs_f64(),
            resident,
        });
        let (started, ended) = churn.counts();
        most = most.max(started - ended);
        if looks.len() % 10 == 0 {
            eprintln!(
                "churn: {} s, {started} started, {ended} ended, {resident:.1} MB",
                looks.len()
            );
        }
    }
    let (started, _) = churn.counts();
    let rate = started as f64 / begin.elapsed().as_secs_f64();
    let (_, peak) = daemon::resident(pid)?;
    let cpu = (daemon::cpu_seconds(pid)? - cpu) / begin.elapsed().as_secs_f64() * 100.0;
    // While they still run: the last samples are the hardest to keep.
    daemon.end()?;
    churn.end()?;
    ensure!(started > 0, "no process was started");
    let account = account(&collector, &program)?;
    drop(measured);
    // Two intervals each, in which memory goes up and down.
    let window = (time as f64 / 4.0).min(20.0);
    let between = |from: f64, to: f64| {
        let looks = looks.iter().filter(|l| (from..to).contains(&l.seconds));
        median(&looks.map(|look| look.resident).collect::<Vec<_>>())
    };
    let (warm, end) = (warm as f64, (warm + time) as f64);
    let at_first = between(warm, warm + window);
    let at_last = between(end - window, f64::MAX);
    let memory = [at_first, at_last, peak];
    let rates = [rate, most as f64, cpu];
    let mut section = section(memory, [warm, time as f64], rates, &account);
    if options.quick {
        let note = "a quick run is too short to tell growth from the ups and downs of intervals";
        section.notes.push(note.into());
    }
    Ok(section)
}

fn account(collector: &Collector, program: &Held) -> Result<Account> {
    let program = program.read()?;
    let own = |metric: &str, key: &'static str, value: &str| -> Result<u64> {
        let sum = collector.own(metric, |attributes| text(attributes, key) == Some(value))?;
        Ok(sum as u64)
    };
    let outcomes = Outcome::ALL.iter().map(|outcome| {
        let name = outcome.name();
        Ok((
            name,
            own("observer.profile.samples", "observer.unwind.outcome", name)?,
        ))
    });
    let outcomes: Vec<_> = outcomes.collect::<Result<_>>()?;
    let lost = |cause| own("observer.probe.lost", "error.type", cause);
    Ok(Account {
        runs: program.run_count,
        missed: program.missed,
        outcomes: outcomes
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect(),
        arrived: collector.profile_samples()?,
        lost_before: lost("sample_table_full")? + lost("stack_ring_full")?,
        lost_since: lost("symbolizer_too_slow")?
            + own("observer.export.lost", "observer.signal", "profiles")?,
    })
}

fn section(
    [at_first, at_last, peak]: [f64; 3],
    [warm, time]: [f64; 2],
    [rate, most, cpu]: [f64; 3],
    account: &Account,
) -> Section {
    let growth = at_last - at_first;
    let (counted, arrived) = (account.counted(), account.arrived);
    let (lost_before, lost_since) = (account.lost_before, account.lost_since);
    let outcomes: serde_json::Map<_, _> = account
        .outcomes
        .iter()
        .map(|(name, count)| ((*name).to_string(), json!(count)))
        .collect();
    let row = |what: &str, figure: String| vec![what.to_string(), figure];
    let mut rows = vec![
        row("processes started per second", format!("{rate:.0}")),
        row("processes at a time, at most", format!("{most:.0}")),
        row("CPU of the daemon", format!("{cpu:.1} % of a core")),
        row("resident after the warm-up", format!("{at_first:.1} MB")),
        row("resident at the end", format!("{at_last:.1} MB")),
        row("resident at its peak", format!("{peak:.1} MB")),
        row("samples taken in the kernel", account.runs.to_string()),
        row("samples counted by outcome", counted.to_string()),
        row("samples in the profiles", arrived.to_string()),
        row(
            "samples lost before they were counted",
            lost_before.to_string(),
        ),
        row("samples lost since", lost_since.to_string()),
        row("ticks that the kernel left out", account.missed.to_string()),
    ];
    rows.extend(account.outcomes.iter().map(|(name, count)| {
        let share = *count as f64 / counted.max(1) as f64 * 100.0;
        row(
            &format!("outcome {name}"),
            format!("{count} ({share:.2} %)"),
        )
    }));
    let apart = |a: u64, b: u64| a.abs_diff(b) as f64;
    let target = |what: &str, measured: f64, limit: f64, unit: &'static str| Target {
        what: what.into(),
        measured,
        limit,
        unit,
    };
    Section {
        name: "churn",
        title: "whether the daemon keeps its size and its accounts while processes come and go"
            .into(),
        method: format!(
            "`observer run` with all probes at defaults and OTLP. {:.0} processes per second are started from \
             {PROGRAMS} different executables; each computes for {} µs every {} s and ends after {} s. {warm:.0} s \
             to warm up, then {time:.0} s. Resident memory is the median of the first and of the last looks, one \
             per second. The kernel counts how often the program ran that takes samples, the daemon \
             what unwinding each stack came to (`observer.profile.samples`) and what it lost, and the \
             receiver what is in the profiles that arrived; all four must agree.",
            PACE.rate,
            PACE.busy.as_micros(),
            PACE.period.as_secs(),
            PACE.life.as_secs(),
        ),
        columns: vec!["", "figure"],
        rows,
        targets: vec![
            target("growth of resident memory", growth, LIMIT, " MB"),
            target(
                "samples in the profiles and lost since, against those counted",
                apart(counted, arrived + lost_since),
                0.0,
                " apart",
            ),
            target(
                "samples counted and lost, against those taken in the kernel",
                apart(account.runs, counted + lost_before),
                0.0,
                " apart",
            ),
        ],
        notes: vec![format!("load average after it: {}", machine::load())],
        data: json!({
            "rate": rate,
            "alive": most,
            "cpu_percent": cpu,
            "resident_first_mb": at_first,
            "resident_last_mb": at_last,
            "growth_mb": growth,
            "peak_mb": peak,
            "samples_taken": account.runs,
            "samples_missed": account.missed,
            "samples_counted": counted,
            "samples_in_profiles": arrived,
            "samples_lost": lost_before + lost_since,
            "outcomes": outcomes,
        }),
    }
}
