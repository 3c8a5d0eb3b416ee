//! What a syscall pays: a getppid loop with nothing attached, with empty
//! programs, with Observer and with its peers.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_userspace::kernel::{Attach, Kernel, LoadOptions, ProbeSpec, ProgramSpec};
use serde_json::json;

use super::collector::Collector;
use super::getppid::{COMM, Loop};
use super::peers::{self, Tool};
use super::report::{Section, Target};
use super::stats::{Spread, median};
use super::{Options, daemon};

/// The programs that do nothing.
static FLOOR: ProbeSpec = ProbeSpec {
    family: "floor",
    observes: "nothing",
    programs: &[
        ProgramSpec {
            name: "floor_enter",
            attach: Attach::Tracepoint("sys_enter"),
            needs: &[],
            lost_without: "the floor",
        },
        ProgramSpec {
            name: "floor_exit",
            attach: Attach::Tracepoint("sys_exit"),
            needs: &[],
            lost_without: "the floor",
        },
    ],
};

/// The same job in bpftrace's language: a log2 histogram of all syscalls'
/// durations by comm.
const BPFTRACE: &str = "tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; } \
     tracepoint:raw_syscalls:sys_exit /@start[tid]/ \
     { @ns[comm] = hist(nsecs - @start[tid]); delete(@start[tid]); } \
     END { clear(@start); }";

/// Calls per burst, unless each takes microseconds.
const CALLS: u64 = 100_000;

/// Who is attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Nothing,
    Floor,
    Syscalls,
    Everything,
    Bpftrace,
    Strace,
}

impl Who {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Floor,
        Self::Syscalls,
        Self::Everything,
        Self::Bpftrace,
        Self::Strace,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Floor => "empty programs (the floor)",
            Self::Syscalls => "observer, syscalls only",
            Self::Everything => "observer, all probes",
            Self::Bpftrace => "bpftrace, histogram by comm",
            Self::Strace => "strace -c",
        }
    }

    fn calls(self) -> u64 {
        match self {
            Self::Strace => CALLS / 50,
            _ => CALLS,
        }
    }

    /// Why it can't be measured here, if it can't.
    fn prepare(self) -> Result<()> {
        match self {
            Self::Bpftrace => peers::ensure("bpftrace", "bpftrace"),
            Self::Strace => peers::ensure("strace", "strace"),
            _ => Ok(()),
        }
    }

    /// Attaches it, has the loop run, detaches it. The bare loop runs before and
    /// after: whatever else disturbs the machine disturbs it, too.
    fn round(self, work: &mut Loop) -> Result<Round> {
        let before = work.measure(CALLS)?;
        let begin = work.calls;
        let (ns, counted) = match self {
            Self::Nothing => (work.measure(self.calls())?, None),
            Self::Floor => (floor(work, self.calls())?, None),
            Self::Syscalls => observer(&["--probes", "syscalls"], work, self.calls())?,
            Self::Everything => observer(&[], work, self.calls())?,
            Self::Bpftrace => bpftrace(work, self.calls())?,
            Self::Strace => strace(work, self.calls())?,
        };
        let made = work.calls - begin;
        let bare = (before + work.measure(CALLS)?) / 2.0;
        Ok(Round {
            ns,
            bare,
            made,
            counted,
        })
    }
}

struct Round {
    /// CPU nanoseconds per call.
    ns: f64,
    /// The same with nothing attached, just before and after.
    bare: f64,
    /// Calls made.
    made: u64,
    /// Calls that the tool counted; `None` of one that doesn't.
    counted: Option<u64>,
}

fn floor(work: &mut Loop, calls: u64) -> Result<f64> {
    let mut kernel = Kernel::load(&LoadOptions::default())?;
    kernel.attach(&FLOOR);
    for state in kernel.states() {
        let name = state.program.name;
        ensure!(state.failure.is_none(), "{name}: {:?}", state.failure);
    }
    work.measure(calls)
}

fn observer(args: &[&str], work: &mut Loop, calls: u64) -> Result<(f64, Option<u64>)> {
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let args = [&["--otlp-endpoint", &endpoint], args].concat();
    let daemon = daemon::start(&args)?;
    let ns = work.measure(calls)?;
    // The last interval is exported at the end.
    let printed = daemon.end()?;
    let counted = collector.syscall_calls(COMM, "getppid")?;
    ensure!(counted > 0, "nothing was counted: {printed}");
    Ok((ns, Some(counted)))
}

fn bpftrace(work: &mut Loop, calls: u64) -> Result<(f64, Option<u64>)> {
    let mut command = Command::new("bpftrace");
    command.args(["-e", BPFTRACE]);
    peers::with_tracefs(&mut command);
    let mut tool = Tool::start(&mut command)?;
    let mut descriptors = (0, Instant::now());
    tool.wait_until(|tool| {
        // It says so before it does, and each probe is a descriptor.
        let now = daemon::descriptors(tool.pid()).count();
        if now != descriptors.0 || !tool.printed()?.contains("Attaching") {
            descriptors = (now, Instant::now());
        }
        Ok(descriptors.1.elapsed() > Duration::from_millis(1500))
    })?;
    let ns = work.measure(calls)?;
    let printed = tool.end()?;
    let counted = histogram_total(&printed, COMM)
        .with_context(|| format!("no histogram of the loop: {printed}"))?;
    // The loop reads a number and prints one per burst besides.
    Ok((ns, Some(counted)))
}

/// The sum of bpftrace's buckets, as it prints them:
/// `@ns[comm]:` and then `[64, 128)   123 |@@@ |` line by line.
fn histogram_total(printed: &str, comm: &str) -> Option<u64> {
    let mut lines = printed.lines();
    let head = format!("@ns[{comm}]:");
    lines.find(|line| line.trim() == head)?;
    let counts = lines
        .take_while(|line| line.starts_with(['[', '(']))
        .filter_map(|line| {
            let (bucket, _) = line.split_once('|')?;
            bucket.split_whitespace().next_back()?.parse::<u64>().ok()
        });
    Some(counts.sum())
}

fn strace(work: &mut Loop, calls: u64) -> Result<(f64, Option<u64>)> {
    let mut command = Command::new("strace");
    command.args(["-c", "-U", "name,calls", "-p", &work.pid().to_string()]);
    let mut tool = Tool::start(&mut command)?;
    tool.wait_until(|tool| Ok(tool.printed()?.contains("attached")))?;
    let ns = work.measure(calls)?;
    let printed = tool.end()?;
    let counted = printed.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (name == "getppid").then(|| fields.next()?.parse().ok())?
    });
    Ok((ns, Some(counted.with_context(|| printed.clone())?)))
}

/// A contender's rounds.
struct Series {
    who: Who,
    rounds: Vec<Round>,
    /// Why there are no more.
    failure: Option<String>,
}

impl Series {
    fn ns(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.ns).collect()
    }

    /// What it adds to a call, round by round.
    fn added(&self) -> Vec<f64> {
        self.rounds
            .iter()
            .map(|round| round.ns - round.bare)
            .collect()
    }

    /// The tool's count against the number of calls made.
    fn truth(&self) -> String {
        let made: u64 = self.rounds.iter().map(|round| round.made).sum();
        let counted: Option<u64> = self.rounds.iter().map(|round| round.counted).sum();
        match counted {
            _ if self.rounds.is_empty() => "–".into(),
            None => "–".into(),
            Some(counted) if counted == made => format!("{made} = {made}"),
            Some(counted) => format!("{counted} of {made}"),
        }
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<Section> {
    let rounds = if options.quick { 3 } else { 9 };
    let mut work = Loop::start()?;
    let mut series: Vec<Series> = Who::ALL
        .into_iter()
        .map(|who| Series {
            who,
            rounds: Vec::new(),
            failure: who.prepare().err().map(|error| format!("{error:#}")),
        })
        .collect();
    for round in 1..=rounds {
        eprintln!("syscalls: round {round} of {rounds}");
        for one in series.iter_mut().filter(|one| one.failure.is_none()) {
            match one.who.round(&mut work) {
                Ok(round) => one.rounds.push(round),
                Err(error) => one.failure = Some(format!("{error:#}")),
            }
        }
    }
    Ok(section(&series, rounds))
}

fn section(series: &[Series], rounds: usize) -> Section {
    let of = |who| series.iter().find(|one| one.who == who);
    let added = |who| of(who).map(Series::added).unwrap_or_default();
    let (floor, bpftrace) = (added(Who::Floor), added(Who::Bpftrace));
    let mut rows = Vec::new();
    let mut data = serde_json::Map::new();
    let mut notes = Vec::new();
    for one in series {
        let (name, failure) = (one.who.name(), &one.failure);
        if let Some(failure) = failure {
            notes.push(format!("{name} can't be measured here: {failure}"));
        }
        let Some(ns) = Spread::of(&one.ns()) else {
            continue;
        };
        let added = one.added();
        let mut cells = vec![name.to_string(), ns.text(0)];
        let mut numbers = json!({"ns_per_call": ns.json(), "truth": one.truth()});
        if one.who != Who::Nothing {
            cells.push(Spread::of(&added).map_or("–".into(), |spread| spread.text(0)));
            numbers["added_ns"] = json!(median(&added));
            for (peer, key) in [(&floor, "to_floor"), (&bpftrace, "to_bpftrace")] {
                let ratio = Spread::of(&ratios(&added, peer));
                cells.push(ratio.map_or("–".into(), |spread| spread.text(2)));
                numbers[key] = ratio.map_or(serde_json::Value::Null, |spread| spread.json());
            }
        } else {
            cells.extend(["–", "–", "–"].map(String::from));
        }
        cells.push(one.truth());
        rows.push(cells);
        data.insert(name.to_string(), numbers);
    }
    let targets = [(&floor, "the floor's", 2.5), (&bpftrace, "bpftrace's", 0.5)]
        .into_iter()
        .filter(|(peer, ..)| !peer.is_empty())
        .flat_map(|(peer, whose, limit)| {
            [Who::Syscalls, Who::Everything].map(|who| Target {
                what: format!("{}: added, against what {whose} adds", who.name()),
                measured: median(&ratios(&added(who), peer)),
                limit,
                unit: "",
            })
        })
        .collect();
    notes.push(
        "the daemon has the kernel measure its programs' run times for a quarter of a second in each \
         interval; the figures include that as it comes"
            .into(),
    );
    Section {
        name: "syscalls",
        title: "what a system call pays".into(),
        method: format!(
            "A process bound to one CPU calls `getppid` in bursts of {CALLS} (strace: {}) and measures \
             its own CPU time. {rounds} rounds, in each of which every tool is started, measured and \
             ended in turn, and the bare loop is measured just before and after, to which it is \
             compared; a figure is the median of the rounds with its quartiles, a ratio the median \
             of the ratios within a round. bpftrace keeps a histogram of all syscalls by comm; Observer \
             one by workload and syscall, and its errors. Truth is what the tool counted against the \
             calls made (bpftrace counts the loop's own few reads and writes as well).",
            Who::Strace.calls()
        ),
        columns: vec![
            "attached",
            "ns per call",
            "added ns",
            "to the floor's",
            "to bpftrace's",
            "truth",
        ],
        rows,
        targets,
        notes,
        data: data.into(),
    }
}

/// Round by round.
fn ratios(added: &[f64], peer: &[f64]) -> Vec<f64> {
    let pairs = added.iter().zip(peer).filter(|(_, peer)| **peer > 0.0);
    pairs.map(|(added, peer)| added / peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the sum over a histogram as bpftrace prints it, among others.
    #[test]
    fn bpftrace_histogram() {
        let printed = "Attaching 3 probes...\n^C\n\n@ns[sh]: \n[1K, 2K)     9 |@@   |\n\n\
             @ns[bench-getppid]: \n[128, 256)    1000 |@@@@@|\n[256, 512)      23 |@    |\n\n\
             @ns[zsh]: \n[1]   5 |@|\n";
        assert_eq!(histogram_total(printed, "bench-getppid"), Some(1023));
        assert_eq!(histogram_total(printed, "zsh"), Some(5));
        assert_eq!(histogram_total(printed, "fish"), None);
    }
}
