//! What each open connection costs.

use anyhow::{Context, Result};

use super::line::{COUNT, Line, MB, MS, S, slope};
use super::program::{Compiled, Program};
use super::watched::{INTERVAL, Watched, lost, lost_text};
use crate::Options;
use crate::report::Section;

/// Connections of one program: each of its two processes may have 20,000 files
/// or fewer.
const AT_MOST: u64 = 5000;

/// The first program's port.
const PORT: u64 = 7700;

/// Each connection carries a message and its answer once in so many seconds.
const PERIOD: u64 = 10;

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let (counts, seconds): (&[u64], _) = if options.quick {
        (&[10, 2000, 20_000], INTERVAL)
    } else {
        (&[10, 1000, 5000, 20_000], 3 * INTERVAL)
    };
    let mut line = Line::new(
        "growth/connections",
        "connections",
        "connection",
        &[
            (
                "CPU to open them",
                S,
                slope("connection open", 1e6, 1, " µs"),
            ),
            ("resident", MB, slope("connection memory", 1.0, 0, " B")),
            (
                "CPU per interval, idle",
                MS,
                slope("connection interval", 1e6, 2, " µs"),
            ),
            (
                "CPU per interval, active",
                MS,
                slope("connection active", 1e6, 2, " µs"),
            ),
            (
                "programs, active",
                MS,
                slope("connection programs", 1e6, 2, " µs"),
            ),
            (
                "start-up when open",
                S,
                slope("connection start", 1e6, 1, " µs"),
            ),
            ("lost", COUNT, None),
        ],
    );
    let program = Compiled::new("connections")?;
    for count in counts {
        let daemon = Watched::start(&[])?;
        daemon.used_in(1)?;
        let (mut programs, opening) = daemon.used(|| {
            let programs = open(&program, *count);
            // Records wait in their rings until then.
            std::thread::sleep(std::time::Duration::from_secs(INTERVAL));
            programs
        })?;
        let idle = daemon.used_in(seconds)?;
        let (_, active) = daemon.used(|| {
            for _ in 0..seconds {
                talk(&mut programs, *count)?;
            }
            Ok(())
        })?;
        let ended = daemon.end()?;
        let lost = lost(&ended.collector)?;
        if !lost.is_empty() {
            line.note(format!("lost with {count}: {}", lost_text(&lost)));
        }
        let again = Watched::start(&[])?;
        let start = again.start;
        again.end()?;
        drop(programs);
        line.step(
            *count as f64,
            &[
                opening.cpu,
                idle.resident,
                idle.per_interval(),
                active.per_interval(),
                active.bpf / active.seconds * INTERVAL as f64,
                start,
                lost.values().sum::<u64>() as f64,
            ],
        );
    }
    Ok(line.section(
        "what each open connection costs",
        format!(
            "So many TCP connections on the loopback, of which Observer sees both ends, opened while the daemon \
             runs with all probes; then idle, then each with a message of no known protocol and its answer once \
             in {PERIOD} s. The daemon exports every {INTERVAL} s. `programs` is how long the kernel half's \
             programs run in such an interval. At last the daemon is started again while they are open."
        ),
    ))
}

/// Opens them, in as many programs as it takes.
fn open(program: &Compiled, count: u64) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    let mut left = count;
    while left > 0 {
        let some = left.min(AT_MOST);
        let port = PORT + programs.len() as u64;
        let mut started = program.start(&[&port.to_string(), &some.to_string()])?;
        started.ready().context("connections")?;
        programs.push(started);
        left -= some;
    }
    Ok(programs)
}

/// A second in which some of them carry a message.
fn talk(programs: &mut [Program], count: u64) -> Result<()> {
    let each = (count / PERIOD).max(1) / programs.len().max(1) as u64;
    for program in programs.iter_mut() {
        program.tell(&each.max(1).to_string())?;
    }
    for program in programs {
        program.number()?;
    }
    Ok(())
}
