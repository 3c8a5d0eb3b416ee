//! What a recording costs from its start to its end, beside other profilers,
//! and how much of the stacks each gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;

use super::stacks::{self, Quality};
use crate::bench::peers::{self, Spent, Tool};
use crate::bench::pulse::{Herd, Programs};
use crate::bench::report::{Section, Target};
use crate::bench::stats::{Spread, median};
use crate::bench::{Options, machine};
use crate::observer_bin;

/// Samples per second and CPU.
const FREQUENCY: &str = "99";

/// How much longer than the recording a tool may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Observer,
    Probee,
    Perf,
}

/// One run of a tool.
struct Run {
    spent: Spent,
    /// What came of it, if it was asked for collapsed stacks.
    quality: Option<Quality>,
}

impl Who {
    const ALL: [Self; 3] = [Self::Observer, Self::Probee, Self::Perf];

    fn name(self) -> &'static str {
        match self {
            Self::Observer => "observer record",
            Self::Probee => "probee --dwarf",
            Self::Perf => "perf record --call-graph dwarf, perf script",
        }
    }

    /// Why it can't be measured here, if it can't.
    fn missing(self) -> Option<String> {
        let there = match self {
            Self::Observer => true,
            Self::Probee => super::probee().is_some_and(|path| path.is_file()),
            Self::Perf => peers::find("perf").is_some(),
        };
        let why = match self {
            Self::Probee => "is neither where OBSERVER_PROBEE says nor in PATH",
            _ => "is not in PATH",
        };
        (!there).then(|| format!("it {why}"))
    }

    /// Records to a picture, or to stacks in a form that can be judged.
    fn run(self, seconds: u64, folder: &Path, judged: bool) -> Result<Run> {
        let out = folder.join(if judged { "out.folded" } else { "out.svg" });
        let lines = |judged: bool, parse: fn(&str) -> Vec<_>| -> Result<Option<Quality>> {
            if !judged {
                return Ok(None);
            }
            let text = fs::read(&out).context("it wrote nothing")?;
            Ok(Some(Quality::of(&parse(&String::from_utf8_lossy(&text)))))
        };
        let limit = Duration::from_secs(seconds) + PATIENCE;
        match self {
            Self::Observer => {
                let mut command = Command::new(observer_bin());
                command.args(["record", "--frequency", FREQUENCY, "--duration"]);
                command.arg(format!("{seconds}s")).arg("-o").arg(&out);
                let spent = Tool::start(&mut command)?.spent(limit)?;
                let quality = lines(judged, stacks::folded)?;
                Ok(Run { spent, quality })
            }
            Self::Probee => {
                let mut command = Command::new(super::probee().context("it isn't there")?);
                command.args(["--dwarf", "-f", FREQUENCY, "-t"]);
                command
                    .arg((seconds * 1000).to_string())
                    .arg("-o")
                    .arg(&out);
                peers::with_tracefs(&mut command);
                let spent = Tool::start(&mut command)?.spent(limit)?;
                let quality = lines(judged, stacks::folded)?;
                Ok(Run { spent, quality })
            }
            Self::Perf => {
                let spent = perf(seconds, folder, &out, limit)?;
                let quality = lines(judged, stacks::perf_script)?;
                Ok(Run { spent, quality })
            }
        }
    }
}

/// Recording, and reading the recording: only the latter walks the stacks.
fn perf(seconds: u64, folder: &Path, out: &Path, limit: Duration) -> Result<Spent> {
    let data = folder.join("perf.data");
    let mut record = Command::new("perf");
    record.args([
        "record",
        "-q",
        "-F",
        FREQUENCY,
        "--call-graph",
        "dwarf",
        "-a",
    ]);
    record.arg("-o").arg(&data);
    record.args(["--", "sleep"]).arg(seconds.to_string());
    let recorded = Tool::start(&mut record)?.spent(limit)?;
    let mut script = Command::new("sh");
    script.args([
        "-c",
        "exec perf script -F comm,pid,ip,sym -i \"$0\" >\"$1\"",
    ]);
    let read = Tool::start(script.arg(&data).arg(out))?.spent(limit)?;
    Ok(Spent {
        user: recorded.user + read.user,
        system: recorded.system + read.system,
        peak: recorded.peak.max(read.peak),
        printed: recorded.printed + &read.printed,
    })
}

/// A tool's rounds.
struct Series {
    who: Who,
    rounds: Vec<Spent>,
    quality: Option<Quality>,
    /// Why there are no more.
    failure: Option<String>,
}

impl Series {
    fn of(&self, figure: impl Fn(&Spent) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let (rounds, seconds) = if options.quick { (1, 3) } else { (3, 10) };
    let programs = Programs::new()?;
    let pulse: PathBuf = programs.pulse()?;
    let busy = Herd::busy(&pulse)?;
    let folder = TempDir::new()?;
    let mut series = Who::ALL.map(|who| Series {
        who,
        rounds: Vec::new(),
        quality: None,
        failure: who.missing(),
    });
    let mut said = None;
    for round in 0..=rounds {
        let judged = round == rounds;
        match judged {
            true => eprintln!("profile/record: the stacks"),
            false => eprintln!("profile/record: round {} of {rounds}", round + 1),
        }
        for one in series.iter_mut().filter(|one| one.failure.is_none()) {
            match one.who.run(seconds, folder.path(), judged) {
                Ok(run) => {
                    if one.who == Who::Observer && judged {
                        said = own_word(&run.spent.printed);
                    }
                    one.quality = run.quality;
                    if !judged {
                        one.rounds.push(run.spent);
                    }
                }
                Err(error) => one.failure = Some(format!("{error:#}")),
            }
        }
    }
    drop(busy);
    let expected = seconds * 99 * machine::cpus() as u64;
    Ok(section(&series, rounds, seconds, expected, said))
}

/// What `observer record` says itself about the stacks of everybody on the
/// machine.
fn own_word(printed: &str) -> Option<String> {
    let said = printed
        .lines()
        .find(|line| line.contains("with complete stacks"));
    said.map(str::to_owned)
}

fn section(
    series: &[Series],
    rounds: u64,
    seconds: u64,
    expected: u64,
    said: Option<String>,
) -> Section {
    let cpu = |who: Who| {
        let found = series.iter().find(|one| one.who == who);
        found.map(|one| one.of(Spent::cpu)).unwrap_or_default()
    };
    let observer = cpu(Who::Observer);
    let mut rows = Vec::new();
    let mut data = serde_json::Map::new();
    let mut notes = Vec::new();
    for one in series {
        let name = one.who.name();
        if let Some(failure) = &one.failure {
            notes.push(format!("{name} can't be measured here: {failure}"));
        }
        let spent = one.of(Spent::cpu);
        let Some(total) = Spread::of(&spent) else {
            continue;
        };
        let (user, system) = (one.of(|s| s.user), one.of(|s| s.system));
        let peak = one.of(|s| s.peak).into_iter().fold(0.0, f64::max);
        let ratio = Spread::of(&ratios(&spent, &observer));
        let mut row = vec![
            name.to_string(),
            total.text(2),
            format!("{:.2} + {:.2}", median(&user), median(&system)),
            ratio.map_or("–".into(), |ratio| ratio.text(2)),
            format!("{peak:.0} MB"),
        ];
        row.extend(
            one.quality
                .map_or(["–", "–", "–"].map(String::from), |quality| {
                    [
                        quality.samples.to_string(),
                        format!("{:.1} %", quality.complete * 100.0),
                        format!("{:.1} %", quality.whole_chain * 100.0),
                    ]
                }),
        );
        rows.push(row);
        let numbers = json!({
            "cpu_seconds": total.json(),
            "user_seconds": median(&user),
            "system_seconds": median(&system),
            "to_observer": ratio.map(|ratio| ratio.json()),
            "peak_mb": peak,
            "samples": one.quality.map(|q| q.samples),
            "complete": one.quality.map(|q| q.complete),
            "whole_chain": one.quality.map(|q| q.whole_chain),
        });
        data.insert(name.to_string(), numbers);
    }
    let to_probee = ratios(&observer, &cpu(Who::Probee));
    let targets = Spread::of(&to_probee).map(|ratio| Target {
        what: "CPU of observer record, against probee's".into(),
        measured: ratio.median,
        limit: 0.5,
        unit: "",
    });
    notes.extend(said.map(|said| {
        format!("observer's own word on the stacks of everybody who ran on the machine: {said}")
    }));
    notes.push(format!("load average after it: {}", machine::load()));
    Section {
        name: "profile/record",
        title: "what a recording costs".into(),
        method: format!(
            "On each CPU a process is busy in a chain of 20 functions, called from the compare \
             function of libc's `qsort` and compiled with `-O2 -fomit-frame-pointer`. The tools record \
             the whole machine, {FREQUENCY} Hz, {seconds} s, to an SVG (perf: to what `perf script` prints), \
             one after the other, {rounds} × in turn. CPU is user and system time in seconds from the \
             tool's start to its end with that of its children, the median with its quartiles, a ratio \
             the median of the ratios within a round; the peak is the highest resident memory of all \
             rounds. Of a further run to collapsed stacks: how many samples of the two processes there \
             are (about {expected} were to be had, less where others ran), the share of them that \
             is complete (begins at `_start`, or at frames without a name and then `_start`, and has no gap or \
             disorder as far as it goes) and the share that \
             has the whole chain to its leaf (where all are complete, the rest was sampled in `qsort` or on \
             the way down)."
        ),
        columns: vec![
            "tool",
            "CPU s",
            "user + system",
            "to observer's",
            "peak",
            "samples",
            "complete",
            "whole chain",
        ],
        rows,
        targets: targets.into_iter().collect(),
        notes,
        data: data.into(),
    }
}

/// Round by round.
fn ratios(one: &[f64], other: &[f64]) -> Vec<f64> {
    let pairs = one.iter().zip(other).filter(|(_, other)| **other > 0.0);
    pairs.map(|(one, other)| one / other).collect()
}
