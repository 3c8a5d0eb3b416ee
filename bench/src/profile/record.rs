//! What a recording costs from its start to its end, beside other profilers,
//! what the recorded programs pay for it, and how much of the stacks each gets.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use observer_userspace::kernel::stats;
use serde_json::json;
use tempfile::TempDir;

use super::stacks::Quality;
use super::tools::{Recording, Who};
use crate::pulse::{Busy, Programs};
use crate::report::{Section, Target};
use crate::stats::{Spread, median};
use crate::{Options, machine};
use observer_testkit::tool::Spent;
use observer_testkit::{daemon, interrupt};

/// Samples per second and CPU.
const RATES: [u32; 2] = [99, 999];

/// From a tool's start to where the recorded programs' work is measured: by then
/// all of them record.
const SETTLED: Duration = Duration::from_millis(1500);

/// How long their work is measured without a tool, before and after each.
const BARE: Duration = Duration::from_secs(1);

/// A peer's stacks are worth a comparison if this share of them is complete.
const GOOD: f64 = 0.9;

/// Who used more CPU seconds than this has had its turn.
const TOO_DEAR: f64 = 20.0;

/// A program to record, and who does.
struct Case {
    name: &'static str,
    title: &'static str,
    /// How it was compiled.
    program: &'static str,
    compile: fn(&Programs) -> Result<PathBuf>,
    /// Where complete stacks begin.
    roots: &'static [&'static str],
    whos: &'static [Who],
}

/// With frame pointers.
const WITH: Case = Case {
    name: "profile/fp",
    title: "what a recording of programs with frame pointers costs",
    program: "a sort of its own, with frame pointers in all of its functions (but none in libc, so a stack is \
              complete that reaches `main`)",
    compile: Programs::pulse_with_frame_pointers,
    roots: &["_start", "__libc_start", "main"],
    whos: &[
        Who::Observer,
        Who::Probee { dwarf: false },
        Who::Perf { dwarf: false },
        Who::Bpftrace,
        Who::Bcc,
        Who::Lightswitch,
    ],
};

/// Without, as distributions compile.
const WITHOUT: Case = Case {
    name: "profile/no-fp",
    title: "what a recording of programs without frame pointers costs",
    program: "libc's `qsort`, compiled with `-O2 -fomit-frame-pointer` (a stack is complete that begins at \
              `_start`)",
    compile: Programs::pulse,
    roots: &["_start"],
    whos: &[
        Who::Observer,
        Who::Probee { dwarf: true },
        Who::Perf { dwarf: true },
        Who::Bpftrace,
        Who::Bcc,
        Who::Lightswitch,
    ],
};

/// Runs it with frame pointers.
pub fn with_frame_pointers(options: &Options) -> Result<Section> {
    WITH.run(options)
}

/// Runs it without.
pub fn without_frame_pointers(options: &Options) -> Result<Section> {
    WITHOUT.run(options)
}

/// One run of a tool.
struct Run {
    spent: Spent,
    /// Seconds that its BPF programs ran.
    bpf: f64,
    /// How fast the programs were meanwhile, to how fast without it.
    speed: f64,
    /// Samples that were to be had.
    expected: f64,
    quality: Option<Quality>,
}

impl Run {
    fn cpu(&self) -> f64 {
        self.spent.cpu() + self.bpf
    }
}

/// A tool's runs at one rate.
struct Series {
    who: Who,
    rate: u32,
    runs: Vec<Run>,
    /// Why there are no more.
    failure: Option<String>,
}

impl Series {
    fn of(&self, figure: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().map(figure).collect()
    }

    /// Unless it failed, or takes too long to be run again.
    fn has_a_turn(&self) -> bool {
        self.failure.is_none() && self.runs.iter().all(|run| run.cpu() < TOO_DEAR)
    }

    /// A share of the samples of all runs, or nothing.
    fn share(&self, figure: fn(&Quality) -> f64) -> Option<f64> {
        let shares = self.runs.iter().filter_map(|run| run.quality.as_ref());
        let shares: Vec<f64> = shares.map(figure).collect();
        (!shares.is_empty()).then(|| median(&shares))
    }
}

impl Case {
    /// Why it isn't measured at all.
    fn left_out(&self, who: Who, rate: u32, options: &Options) -> Option<String> {
        if options.quick && who == (Who::Perf { dwarf: true }) && rate > RATES[0] {
            return Some("reading its recording takes a minute; left out of a quick run".into());
        }
        who.usable().err().map(|error| format!("{error:#}"))
    }

    fn run(&self, options: &Options) -> Result<Section> {
        let (rounds, seconds) = if options.quick { (1, 4) } else { (3, 10) };
        let programs = Programs::new()?;
        let busy = Busy::start(&(self.compile)(&programs)?)?;
        let folder = TempDir::new()?;
        let mut all = Vec::new();
        for rate in RATES {
            let mut series: Vec<Series> = self
                .whos
                .iter()
                .map(|who| Series {
                    who: *who,
                    rate,
                    runs: Vec::new(),
                    failure: self.left_out(*who, rate, options),
                })
                .collect();
            for round in 1..=rounds {
                let recording = Recording {
                    rate,
                    seconds,
                    folder: folder.path(),
                };
                let mut before = bare(&busy)?;
                for one in series.iter_mut().filter(|one| one.has_a_turn()) {
                    interrupt::check()?;
                    let run = self.turn(one.who, recording, &busy);
                    let after = bare(&busy)?;
                    match run {
                        Ok(mut run) => {
                            run.speed /= (before + after) / 2.0;
                            eprintln!(
                                "{}: {rate} Hz, round {round} of {rounds}: {}: {:.2} s",
                                self.name,
                                one.who.name(),
                                run.cpu()
                            );
                            one.runs.push(run);
                        }
                        Err(error) => one.failure = Some(format!("{error:#}")),
                    }
                    before = after;
                }
            }
            all.append(&mut series);
        }
        drop(busy);
        Ok(self.section(&all, rounds, seconds))
    }

    /// One recording. The speed is still in rounds per CPU second.
    fn turn(&self, who: Who, recording: Recording<'_>, busy: &Busy) -> Result<Run> {
        let (pid, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let enabled = stats::enable()?;
        let (recorded, watched) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(recording, busy, &pid, &over));
            let recorded = who.record(recording, &|now| pid.store(now, Ordering::Relaxed));
            over.store(true, Ordering::Relaxed);
            (recorded, watching.join())
        });
        drop(enabled);
        let recorded = recorded?;
        let watched = watched.ok().context("a thread panicked")??;
        Ok(Run {
            quality: recorded.lines.map(|lines| Quality::of(&lines, self.roots)),
            spent: recorded.spent,
            bpf: watched.bpf,
            speed: watched.speed,
            expected: watched.cpus * f64::from(recording.rate) * recording.seconds as f64,
        })
    }
}

/// What was seen of a tool and of the programs while it ran.
struct Watched {
    bpf: f64,
    /// Rounds per CPU second.
    speed: f64,
    /// CPUs' worth of time that the programs had.
    cpus: f64,
}

/// Looks at both until the tool is `over`.
fn watch(
    recording: Recording<'_>,
    busy: &Busy,
    pid: &AtomicU32,
    over: &AtomicBool,
) -> Result<Watched> {
    let begin = Instant::now();
    let mut bpf: f64 = 0.0;
    let mut look = |until: Duration| {
        while begin.elapsed() < until && !over.load(Ordering::Relaxed) {
            bpf = bpf.max(daemon::bpf(pid.load(Ordering::Relaxed)).0);
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    look(SETTLED);
    let (first, at) = (busy.done()?, begin.elapsed());
    look(Duration::from_secs(recording.seconds));
    let (last, end) = (busy.done()?, begin.elapsed());
    look(Duration::MAX);
    Ok(Watched {
        bpf,
        speed: last.rate_since(&first),
        cpus: (last.cpu - first.cpu) / (end - at).as_secs_f64(),
    })
}

/// Rounds per CPU second without a tool.
fn bare(busy: &Busy) -> Result<f64> {
    let first = busy.done()?;
    std::thread::sleep(BARE);
    Ok(busy.done()?.rate_since(&first))
}

impl Case {
    fn section(&self, all: &[Series], rounds: usize, seconds: u64) -> Section {
        let mut rows = Vec::new();
        let mut data = serde_json::Map::new();
        let mut notes = Vec::new();
        let mut targets = Vec::new();
        for rate in RATES {
            let series: Vec<&Series> = all.iter().filter(|one| one.rate == rate).collect();
            let observer = series.iter().find(|one| one.who == Who::Observer);
            let observer = observer.map(|one| one.of(Run::cpu)).unwrap_or_default();
            // The cheapest of those that do the job.
            let mut best: Option<(Spread, &str)> = None;
            for one in &series {
                let name = one.who.name();
                if let Some(failure) = &one.failure
                    && (rate == RATES[0] || one.who.usable().is_ok())
                {
                    notes.push(format!("{rate} Hz: {name} isn't measured: {failure}"));
                }
                let Some(total) = Spread::of(&one.of(Run::cpu)) else {
                    continue;
                };
                let good = one.share(|q| q.complete).is_some_and(|share| share >= GOOD);
                if one.who != Who::Observer && good {
                    let ratio = Spread::of(&ratios(&observer, &one.of(Run::cpu)));
                    best = best
                        .into_iter()
                        .chain(ratio.map(|ratio| (ratio, name)))
                        .max_by(|a, b| a.0.median.total_cmp(&b.0.median));
                }
                rows.push(row(one, total, &observer));
                data.insert(format!("{rate} Hz, {name}"), numbers(one, total));
            }
            targets.extend(best.map(|(ratio, name)| Target {
                what: format!("{rate} Hz: CPU of observer record, against {name}'s"),
                measured: ratio.median,
                limit: 0.5,
                unit: "",
            }));
        }
        notes.push(
            "lightswitch finds no stacks on a kernel without modules (it reads /proc/modules), so it records \
             without making a profile; it takes prime rates only"
                .into(),
        );
        notes.push(format!("load average after it: {}", machine::load()));
        Section {
            name: self.name,
            title: self.title.into(),
            method: format!(
                "On each CPU a process is busy in a chain of 20 functions, called from the compare function of {}. \
                 The tools record the whole machine for {seconds} s and write collapsed stacks (perf: what `perf \
                 script` prints), one after the other, {rounds} × in turn. `speed` is how much the processes do per \
                 CPU second while they are recorded, to what they do just before and after. CPU is user and system \
                 time in seconds from the tool's start to its end with that of its children, and the time that \
                 its BPF programs ran (in the processes' time); the median with its quartiles, a ratio the \
                 median of the ratios within a round. perf samples in the kernel, which only `speed` shows. The \
                 peak is the highest resident memory of all rounds (one only for who takes more than {TOO_DEAR} CPU seconds). Of the samples of the processes: their number \
                 to what the rate and the processes' CPU time make; the share that is complete and has no gap or \
                 disorder; and the share that has the whole chain to its leaf (where all are complete, the rest \
                 was sampled in the sort or on the way down). The target compares with the cheapest peer of which \
                 {:.0} % of the stacks are complete.",
                self.program,
                GOOD * 100.0
            ),
            columns: vec![
                "tool",
                "speed",
                "CPU s",
                "user + system + BPF",
                "to observer's",
                "peak",
                "samples to expected",
                "complete",
                "whole chain",
            ],
            rows,
            targets,
            notes,
            data: data.into(),
        }
    }
}

fn row(one: &Series, total: Spread, observer: &[f64]) -> Vec<String> {
    let ratio = Spread::of(&ratios(&one.of(Run::cpu), observer));
    let percent =
        |share: Option<f64>| share.map_or("–".into(), |s| format!("{:.1} %", s * 100.0));
    vec![
        format!("{} Hz, {}", one.rate, one.who.name()),
        Spread::of(&one.of(|run| run.speed)).map_or("–".into(), |speed| speed.text(4)),
        total.text(2),
        format!(
            "{:.2} + {:.2} + {:.3}",
            median(&one.of(|run| run.spent.user)),
            median(&one.of(|run| run.spent.system)),
            median(&one.of(|run| run.bpf))
        ),
        ratio.map_or("–".into(), |ratio| ratio.text(2)),
        format!("{:.0} MB", peak(one)),
        percent(samples(one)),
        percent(one.share(|q| q.complete)),
        percent(one.share(|q| q.whole_chain)),
    ]
}

/// The most memory in any round.
fn peak(one: &Series) -> f64 {
    let peaks = one.of(|run| run.spent.peak);
    peaks.into_iter().fold(0.0, f64::max)
}

/// Samples to those that were to be had.
fn samples(one: &Series) -> Option<f64> {
    let shares = one.runs.iter().filter_map(|run| {
        let quality = run.quality?;
        Some(quality.samples as f64 / run.expected)
    });
    let shares: Vec<f64> = shares.collect();
    (!shares.is_empty()).then(|| median(&shares))
}

fn numbers(one: &Series, total: Spread) -> serde_json::Value {
    json!({
        "cpu_seconds": total.json(),
        "user_seconds": median(&one.of(|run| run.spent.user)),
        "system_seconds": median(&one.of(|run| run.spent.system)),
        "bpf_seconds": median(&one.of(|run| run.bpf)),
        "speed": median(&one.of(|run| run.speed)),
        "peak_mb": peak(one),
        "samples_to_expected": samples(one),
        "complete": one.share(|q| q.complete),
        "whole_chain": one.share(|q| q.whole_chain),
    })
}

/// Round by round.
fn ratios(one: &[f64], other: &[f64]) -> Vec<f64> {
    let pairs = one.iter().zip(other).filter(|(_, other)| **other > 0.0);
    pairs.map(|(one, other)| one / other).collect()
}
