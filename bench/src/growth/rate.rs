//! What sampling costs at each rate.

use anyhow::Result;

use super::line::{COUNT, Line, MB, PERCENT, Unit, slope};
use super::watched::{Watched, lost, lost_text};
use crate::pulse::{Herd, Programs};
use crate::report::Section;
use crate::{Options, machine};

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let (rates, seconds): (&[u32], _) = if options.quick {
        (&[19, 99, 999], 4)
    } else {
        (&[19, 49, 99, 499, 999], 10)
    };
    let mut line = Line::new(
        "growth/rate",
        "Hz",
        "sample",
        &[
            (
                "BPF, of a busy CPU",
                PERCENT,
                slope("sample bpf", 1e9, 0, " ns"),
            ),
            (
                "daemon, of a busy CPU",
                PERCENT,
                slope("sample daemon", 1e9, 0, " ns"),
            ),
            ("together", PERCENT, slope("sample", 1e9, 0, " ns")),
            ("resident", MB, None),
            ("samples", COUNT, None),
            ("of expected", Unit::new(100.0, 1, " %"), None),
            ("lost", COUNT, None),
        ],
    );
    let programs = Programs::new()?;
    let pulse = programs.pulse()?;
    let cpus = machine::cpus() as f64;
    for rate in rates {
        let busy = Herd::busy(&pulse)?;
        let daemon = Watched::start(&["--frequency", &rate.to_string()])?;
        // Tables are built and symbols read; the first profile ends after 10 s.
        let before = daemon.used_in(2)?;
        let used = daemon.used_in(seconds)?;
        drop(busy);
        let ended = daemon.end()?;
        // What naming the profile takes at its end is a part of the price.
        let cpu = (ended.cpu - before.cpu - used.cpu).max(0.0)
            * (used.seconds / (used.seconds + before.seconds))
            + used.cpu;
        let samples = ended.collector.profile_samples()? as f64;
        let expected = f64::from(*rate) * cpus * (before.seconds + used.seconds);
        let lost = lost(&ended.collector)?;
        if !lost.is_empty() {
            line.note(format!("lost at {rate} Hz: {}", lost_text(&lost)));
        }
        let share = |seconds: f64| seconds / used.seconds / cpus;
        line.step(
            f64::from(*rate),
            &[
                share(used.bpf),
                share(cpu),
                share(used.bpf + cpu),
                used.resident,
                samples,
                samples / expected,
                lost.values().sum::<u64>() as f64,
            ],
        );
    }
    Ok(line.section(
        "what sampling costs at each rate",
        format!(
            "Each CPU is busy with the process of `profile/record` (a chain of 20 functions). `observer run` \
             with all probes and this rate, {seconds} s. `BPF` is how long the kernel half's programs run, \
             `daemon` its CPU with its part of the profile that is made at the end, both in percent of the \
             CPUs' time. Expected is the rate × CPUs × the time until the processes end."
        ),
    ))
}
