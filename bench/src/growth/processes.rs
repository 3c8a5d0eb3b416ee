//! What each process on the machine costs.

use anyhow::{Context, Result};

use super::line::{COUNT, Line, MB, S, slope};
use super::program::Compiled;
use super::watched::{Watched, lost, lost_text};
use crate::Options;
use crate::report::Section;

/// How long each step is watched, in seconds: once in that time the daemon looks
/// at all processes for libraries that they loaded meanwhile.
const WATCHED: u64 = 30;

/// Of the processes the busy half burns so many microseconds each second.
const BUSY_US: &str = "50";

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let counts: &[u64] = if options.quick {
        &[10, 2000]
    } else {
        &[10, 100, 1000, 5000]
    };
    let mut line = Line::new(
        "growth/processes",
        "processes",
        "process",
        &[
            ("start-up", S, slope("process start", 1e6, 0, " µs")),
            (
                "CPU of the start",
                S,
                slope("process start CPU", 1e6, 0, " µs"),
            ),
            ("CPU per minute", S, slope("process minute", 1e6, 0, " µs")),
            ("resident", MB, slope("process memory", 1.0, 0, " B")),
            ("lost", COUNT, None),
        ],
    );
    let crowd = Compiled::new("crowd")?;
    for count in counts {
        let number = count.to_string();
        let mut crowd = crowd.start(&[&number, "1000", BUSY_US, "0", "0", "0"])?;
        crowd.ready().context("processes")?;
        crowd.tell("go")?;
        let daemon = Watched::start(&[])?;
        let (start, start_cpu) = (daemon.start, daemon.start_cpu);
        // What is read at first isn't read every minute.
        daemon.used_in(3)?;
        let used = daemon.used_in(WATCHED)?;
        let ended = daemon.end()?;
        let lost = lost(&ended.collector)?;
        if !lost.is_empty() {
            line.note(format!("lost with {count}: {}", lost_text(&lost)));
        }
        line.step(
            *count as f64,
            &[
                start,
                start_cpu,
                used.cpu / used.seconds * 60.0,
                used.resident,
                lost.values().sum::<u64>() as f64,
            ],
        );
    }
    Ok(line.section(
        "what each process on the machine costs",
        format!(
            "So many processes, each a program of its own, all of the same name; each burns {BUSY_US} µs of \
             CPU time a second. `observer run` with all probes is started when they run. Start-up is from the \
             daemon's start to its being ready; what it uses per minute is from {WATCHED} s after that, in \
             which it looks once at what every process has loaded."
        ),
    ))
}
