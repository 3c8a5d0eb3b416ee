//! What each different stack in a profile costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer_common::unwind::Outcome;
use observer_export::otlp::Signal;
use observer_userspace::kernel::stats;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use prost::Message;

use super::line::{COUNT, Line, MB, MS, PERCENT, slope};
use super::program::Compiled;
use super::watched::{Watched, lost, lost_text};
use crate::Options;
use crate::report::Section;
use observer_testkit::collector::{Collector, text};
use observer_testkit::daemon;

/// Samples per second and CPU: as many as are allowed, so that most chains are
/// met in one profile.
const FREQUENCY: u32 = 10_000;

/// Seconds of one profile, the daemon's own period.
const PROFILE: u64 = 10;

/// How long naming one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let depths: &[u32] = if options.quick {
        &[7, 13, 17]
    } else {
        &[7, 10, 13, 15, 17]
    };
    let mut line = Line::new(
        "growth/stacks",
        "stacks",
        "stack",
        &[
            ("chains", COUNT, None),
            ("samples", COUNT, None),
            ("CPU per profile", MS, slope("stack profile", 1e6, 1, " µs")),
            ("resident", MB, slope("stack memory", 1.0, 0, " B")),
            ("at its peak", MB, slope("stack peak", 1.0, 0, " B")),
            ("lost", COUNT, None),
            ("unaccounted for", PERCENT, None),
        ],
    );
    let chains = Compiled::new("chains")?;
    let mut apart: u64 = 0;
    for depth in depths {
        let mut chains = chains.start(&[&depth.to_string()])?;
        chains.ready()?;
        let enabled = stats::enable()?;
        let frequency = FREQUENCY.to_string();
        // Only samples: what else the daemon does isn't a stack's.
        let daemon = Watched::start(&["--probes", "cpu", "--frequency", &frequency])?;
        let programs = daemon::programs(daemon.pid());
        let sampler = programs.iter().find(|p| p.kind == daemon::PERF_EVENT);
        let sampler = sampler.map_or(0, |program| program.id);
        let held = daemon::Held::by_id(sampler)?;
        let begin = Instant::now();
        let used = daemon.used(|| {
            while begin.elapsed() < Duration::from_secs(PROFILE) {
                std::thread::sleep(Duration::from_millis(100));
            }
            // The rest of the CPU time is the daemon's.
            drop(chains);
            while stacks(daemon.collector())? == 0 {
                ensure!(begin.elapsed() < PATIENCE, "no profile came");
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        let ((), used) = used?;
        let ended = daemon.end()?;
        let program = held.read()?;
        drop(enabled);
        let samples = outcomes(&ended.collector)?;
        let lost = lost(&ended.collector)?;
        let lost_samples: u64 = lost
            .iter()
            .filter(|(cause, _)| {
                cause.ends_with("sample_table_full") || cause.ends_with("stack_ring_full")
            })
            .map(|(_, count)| count)
            .sum();
        let missing = program.run_count.abs_diff(samples + lost_samples);
        apart += missing;
        if !lost.is_empty() {
            line.note(format!(
                "lost with {} chains: {}",
                1_u64 << depth,
                lost_text(&lost)
            ));
        }
        let stacks = stacks(&ended.collector)?;
        line.step(
            stacks as f64,
            &[
                (1_u64 << depth) as f64,
                samples as f64,
                used.cpu,
                used.resident,
                ended.peak,
                lost.values().sum::<u64>() as f64,
                missing as f64 / program.run_count.max(1) as f64,
            ],
        );
    }
    line.target(
        "samples counted and lost by name, against those taken",
        apart as f64,
        0.0,
        " apart",
    );
    Ok(line.section(
        "what each different stack costs",
        format!(
            "On each CPU a process goes through 2ⁿ different chains of n calls, chosen at random. `observer \
             run --probes cpu --frequency {FREQUENCY}`, so that as many stacks as possible are in one profile \
             of {PROFILE} s. Stacks are those of the profile that arrived; the CPU is all that the daemon used \
             until then, so also what it has to do with each new stack; resident is what is left afterwards. \
             Samples that found the kernel half's table full are lost by name (`sample_table_full`)."
        ),
    ))
}

/// Samples that the daemon counted, by whatever unwinding came to.
fn outcomes(collector: &Collector) -> Result<u64> {
    Outcome::ALL.iter().try_fold(0, |sum, outcome| {
        let name = Some(outcome.name());
        let found = collector.own("observer.profile.samples", |attributes| {
            text(attributes, "observer.unwind.outcome") == name
        })?;
        Ok(sum + found as u64)
    })
}

/// Different stacks in the profiles that arrived.
fn stacks(collector: &Collector) -> Result<u64> {
    let mut count = 0;
    for request in collector.receiver().taken(Signal::Profiles) {
        let request = ExportProfilesServiceRequest::decode(&request.message[..])?;
        // The first one is none.
        let table = request.dictionary.unwrap_or_default().stack_table;
        count = count.max(table.len().saturating_sub(1) as u64);
    }
    Ok(count)
}
