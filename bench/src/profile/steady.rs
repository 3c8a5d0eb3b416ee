//! What the daemon costs at defaults when all CPUs are busy.

use std::time::Duration;

use anyhow::Result;

use crate::idle::{self, Usage};
use crate::pulse::{Herd, Programs};
use crate::report::{Section, Target};
use crate::{Options, machine};
use observer_testkit::collector::Collector;

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let steady = Duration::from_secs(if options.quick { 15 } else { 60 });
    let programs = Programs::new()?;
    let busy = Herd::busy(&programs.pulse()?)?;
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    eprintln!("profile/run: with the summary on the terminal");
    let terminal = idle::measure(&[], steady)?;
    eprintln!("profile/run: with OTLP");
    let otlp = idle::measure(&["--otlp-endpoint", &endpoint], steady)?;
    drop(busy);
    Ok(section(
        &[("summary on the terminal", terminal), ("OTLP", otlp)],
        steady,
    ))
}

fn section(runs: &[(&str, Usage)], steady: Duration) -> Section {
    let rows = runs.iter().map(|(name, usage)| {
        vec![
            (*name).to_string(),
            format!("{:.2} %", usage.total),
            format!("{:.2} + {:.2} %", usage.user, usage.system),
            format!("{:.2} + {:.2} s", usage.start, usage.first_interval),
            format!("{:.1} MB", usage.resident),
            format!("{:.1} MB", usage.peak),
            format!("{:.0} %", usage.others * 100.0),
        ]
    });
    let targets = runs.iter().map(|(name, usage)| Target {
        what: format!("CPU of the daemon, {name}"),
        measured: usage.total,
        limit: 1.0,
        unit: " % of a core",
    });
    let data = runs
        .iter()
        .map(|(name, usage)| ((*name).to_string(), usage.numbers()));
    Section {
        name: "profile/run",
        title: "what the daemon costs while all CPUs are busy".into(),
        method: format!(
            "`observer run` with all probes at defaults and the same busy processes, for {} s after its \
             first interval. CPU is user and system time of all its threads in percent of one core; the \
             start (loading and attaching, then the first interval, in which tables are built and symbols \
             read) is given separately in seconds. `others` is what everything else on the machine used \
             meanwhile, in percent of one core.",
            steady.as_secs()
        ),
        columns: vec![
            "output",
            "CPU",
            "user + system",
            "start",
            "resident",
            "peak",
            "others",
        ],
        rows: rows.collect(),
        targets: targets.collect(),
        notes: vec![format!("load average after it: {}", machine::load())],
        data: serde_json::Map::from_iter(data).into(),
    }
}
