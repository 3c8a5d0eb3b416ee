//! What each workload costs, and what becomes of those beyond the table.

use anyhow::{Context, Result};
use observer_common::workload::DEFAULT_WORKLOADS;

use super::default_cells_of;
use super::line::{COUNT, Line, MB, MS, slope};
use super::program::Compiled;
use super::watched::{INTERVAL, Watched, folded, lost, lost_text, total};
use crate::Options;
use crate::report::Section;
use observer_testkit::collector::text;

/// System calls that each process makes in each of its rounds …
const CALLS: &str = "10";
/// … of one second, and how many.
const ROUNDS: u64 = 8;

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let counts: &[u64] = if options.quick {
        &[10, 500, 2000]
    } else {
        &[10, 100, 500, 1000, 2000, 4000]
    };
    let mut line = Line::new(
        "growth/workloads",
        "workloads",
        "workload in the table",
        &[
            ("in the table", COUNT, None),
            ("cells", COUNT, slope("workload cells", 1.0, 1, "")),
            (
                "CPU per interval",
                MS,
                slope("workload interval", 1e6, 1, " µs"),
            ),
            ("resident", MB, slope("workload memory", 1.0, 0, " B")),
            ("calls made", COUNT, None),
            ("counted", COUNT, None),
            ("of them as other", COUNT, None),
            ("folded", COUNT, None),
            ("lost", COUNT, None),
        ],
    );
    let crowd = Compiled::new("crowd")?;
    // As many as a large machine has by default.
    let all_cells = default_cells_of(u32::MAX);
    let mut apart = 0;
    for count in counts {
        let (number, rounds) = (count.to_string(), ROUNDS.to_string());
        let daemon = Watched::start(&["--table-cells", &all_cells.to_string()])?;
        let mut crowd = crowd.start(&[&number, "1000", "0", CALLS, &rounds, "1"])?;
        crowd.ready().context("workloads")?;
        let ((), _) = daemon.used(|| crowd.tell("go"))?;
        // By then each has been seen and has its resource.
        daemon.used_in(INTERVAL)?;
        let used = daemon.used_in(2 * INTERVAL)?;
        let made = crowd.number()?;
        let ended = daemon.end()?;
        drop(crowd);
        let calls = |other: bool| {
            total(
                &ended.collector,
                "observer.syscall.calls",
                |whose, attributes| {
                    (!other || text(whose, "service.name") == Some("other"))
                        && text(attributes, "syscall.name") == Some("sched_get_priority_min")
                },
            )
        };
        let counted = calls(false)?;
        let other = calls(true)?;
        let fill = |map: &str| {
            ended
                .collector
                .own("observer.bpf.map.utilization", |attributes| {
                    text(attributes, "observer.bpf.map.name") == Some(map)
                })
        };
        let known = fill("WORKLOADS")? * f64::from(DEFAULT_WORKLOADS);
        let cells = fill("HISTOGRAMS")? * f64::from(all_cells);
        apart += made.abs_diff(counted);
        let lost = lost(&ended.collector)?;
        if !lost.is_empty() {
            line.note(format!("lost with {count}: {}", lost_text(&lost)));
        }
        line.labelled_step(
            &count.to_string(),
            known,
            &[
                known,
                cells,
                used.per_interval(),
                used.resident,
                made as f64,
                counted as f64,
                other as f64,
                folded(&ended.collector)? as f64,
                lost.values().sum::<u64>() as f64,
            ],
        );
    }
    line.target(
        "calls counted, `other` with them, against those made",
        apart as f64,
        0.0,
        " apart",
    );
    Ok(line.section(
        "what each workload costs, and what becomes of those beyond the table",
        format!(
            "So many processes with a name of their own each make {CALLS} calls of `sched_get_priority_min` a \
             second, {ROUNDS} × (and some others to sleep). The table has its default size, \
             {DEFAULT_WORKLOADS}; that of cells has {all_cells}, as by default on a machine with 64 CPUs or more. The daemon exports every {INTERVAL} s; the CPU is that of one such interval. \
             Cells are what the kernel half's table of histograms has in use, one for each workload, series and \
             CPU; folded are the events that were counted as `other` because there was no room. Truth is the sum of what the processes say they called."
        ),
    ))
}
