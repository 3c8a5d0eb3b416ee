//! What the daemon needs when many different programs run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::pulse::{Herd, Programs};
use crate::report::{Section, Target};
use crate::{Options, machine};
use observer_testkit::collector::Collector;
use observer_testkit::daemon;

/// Different programs.
const PROGRAMS: usize = 300;

/// What each of them does.
const BUSY: Duration = Duration::from_millis(1);
const PERIOD: Duration = Duration::from_millis(300);

/// What a run showed.
struct Measured {
    name: &'static str,
    /// Megabytes before they ran, at the end, and at most.
    before: f64,
    resident: f64,
    peak: f64,
    /// Unwinding tables at the end, and their megabytes in the kernel.
    tables: f64,
    table_mb: f64,
    /// CPU seconds since they ran.
    cpu: f64,
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let time = Duration::from_secs(if options.quick { 20 } else { 60 });
    let runs = [
        ("dynamically linked", false),
        ("every second one static", true),
    ];
    let measured = runs
        .into_iter()
        .map(|(name, half_static)| {
            eprintln!("profile/many: {name}");
            measure(name, half_static, time)
        })
        .collect::<Result<Vec<_>>>()?;
    let rows = measured.iter().map(|one| {
        vec![
            one.name.to_string(),
            format!("{:.1} MB", one.before),
            format!("{:.1} MB", one.resident),
            format!("{:.1} MB", one.peak),
            format!("{:.0}", one.tables),
            format!("{:.1} MB", one.table_mb),
            format!("{:.2} s", one.cpu),
        ]
    });
    let targets = measured.iter().map(|one| Target {
        what: format!("resident at its peak, {}", one.name),
        measured: one.peak,
        limit: 80.0,
        unit: " MB",
    });
    let data = measured.iter().map(|one| {
        let numbers = json!({
            "before_mb": one.before,
            "resident_mb": one.resident,
            "peak_mb": one.peak,
            "tables": one.tables,
            "table_mb": one.table_mb,
            "cpu_seconds": one.cpu,
        });
        (one.name.to_string(), numbers)
    });
    Ok(Section {
        name: "profile/many",
        title: format!("what {PROGRAMS} different programs cost"),
        method: format!(
            "`observer run` with all probes at defaults and OTLP, then {PROGRAMS} executables, copies of one \
             with another build id each, all running at once, each computing for {} ms every {} ms. After \
             {} s: resident memory of the daemon, at the end and at most since its start; how many unwinding \
             tables it has in the kernel and what these take there; its CPU time since the programs were \
             started.",
            BUSY.as_millis(),
            PERIOD.as_millis(),
            time.as_secs()
        ),
        columns: vec![
            "executables",
            "before",
            "resident",
            "peak",
            "tables",
            "in the kernel",
            "CPU",
        ],
        rows: rows.collect(),
        targets: targets.collect(),
        notes: vec![format!("load average after it: {}", machine::load())],
        data: serde_json::Map::from_iter(data).into(),
    })
}

fn measure(name: &'static str, half_static: bool, time: Duration) -> Result<Measured> {
    let programs = Programs::new()?;
    let copies = programs.copies(PROGRAMS, half_static)?;
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let daemon = daemon::start(&["--otlp-endpoint", &endpoint])?;
    let pid = daemon.pid();
    let (before, _) = daemon::resident(pid)?;
    let cpu = daemon::cpu_seconds(pid)?;
    let mut herd = Herd::pulsing(&copies, BUSY, PERIOD)?;
    std::thread::sleep(time);
    let alive = herd.alive();
    ensure!(alive == PROGRAMS, "{alive} of {PROGRAMS} programs run");
    let (resident, peak) = daemon::resident(pid).context("the daemon ended early")?;
    let cpu = daemon::cpu_seconds(pid)? - cpu;
    // Its last word on tables comes at its end.
    let printed = daemon.end()?;
    drop(herd);
    let tables = collector.own("observer.unwind.table.count", |_| true)?;
    ensure!(tables > 0.0, "the daemon told of no tables: {printed}");
    Ok(Measured {
        name,
        before,
        resident,
        peak,
        tables,
        table_mb: collector.own("observer.unwind.table.size", |_| true)? / 1e6,
        cpu,
    })
}
