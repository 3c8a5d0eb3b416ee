//! What a system call pays.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use super::collector::Collector;
use super::loops::{Kind, Loop};
use super::matrix::{self, Contender, Figures, Outcome, Peer, Plan, Ready, Results, Work};
use super::report::{Section, Target};
use super::stats::median;

/// The same job in bpftrace's language: a log2 histogram of all syscalls'
/// durations by comm.
const BPFTRACE: &str = "tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; } \
     tracepoint:raw_syscalls:sys_exit /@start[tid]/ \
     { @ns[comm] = hist(nsecs - @start[tid]); delete(@start[tid]); } \
     END { clear(@start); }";

const BPFTRACE_NAME: &str = "bpftrace, histogram by comm";

/// Bursts of a run, whose median counts: what interrupts a burst makes it an
/// outlier.
const BURSTS: u32 = 16;

/// A loop of system calls.
struct Calls {
    looped: Loop,
    unit: &'static str,
}

impl Work for Calls {
    fn unit(&self) -> &'static str {
        self.unit
    }

    fn pid(&self) -> Option<u32> {
        Some(self.looped.pid())
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let time = Duration::from_millis(if quick { 800 } else { 2400 }) / BURSTS;
        let mut rates = Vec::new();
        let mut calls = 0;
        for _ in 0..BURSTS {
            let burst = self.looped.burst(time)?;
            rates.push(burst.rate());
            calls += burst.calls;
        }
        Ok(Outcome {
            rate: median(&rates),
            facts: Figures::from([("calls", calls as f64)]),
            extra: Figures::new(),
        })
    }
}

/// A loop and the system call that it is made of.
struct Case {
    kind: Kind,
    syscall: &'static str,
    unit: &'static str,
}

impl Case {
    fn contenders(&self) -> Vec<Box<dyn Contender>> {
        let (comm, syscall) = (self.kind.comm(), self.syscall);
        let mut all = matrix::standard(&["syscalls"], |observer| {
            observer.counts("calls", move |collector: &Collector| {
                Ok(collector.syscall_calls(comm, syscall)? as f64)
            })
        });
        let bpftrace = Peer::bpftrace(BPFTRACE_NAME, BPFTRACE).counts("calls", move |printed| {
            let total = histogram_total(printed, comm);
            Ok(total.with_context(|| format!("no histogram of the loop: {printed}"))? as f64)
        });
        all.push(Box::new(bpftrace));
        let strace = Peer::new(
            "strace -c",
            ["strace", "strace"],
            Ready::Says("attached"),
            |work, command| {
                let pid = work.pid().context("no process")?.to_string();
                command.args(["-f", "-c", "-U", "name,calls", "-p", &pid]);
                Ok(())
            },
        );
        let strace = strace.silent().counts("calls", move |printed| {
            let calls = printed.lines().find_map(|line| {
                let mut fields = line.split_whitespace();
                let name = fields.next()?;
                (name == syscall).then(|| fields.next()?.parse().ok())?
            });
            calls.with_context(|| printed.to_string())
        });
        all.push(Box::new(strace));
        all
    }

    fn measure(&self, plan: &Plan) -> Result<Results> {
        let mut work = Calls {
            looped: Loop::start(self.kind)?,
            unit: self.unit,
        };
        plan.measure(&mut work, &self.contenders())
    }
}

/// The loop of getppid.
pub fn getppid(options: &Options) -> Result<Section> {
    let case = Case {
        kind: Kind::Getppid,
        syscall: "getppid",
        unit: "calls/s",
    };
    let plan = Plan::new(
        options,
        "getppid",
        "what a system call pays",
        "A process bound to one CPU calls `getppid`, the cheapest call there is; its rate is by its own CPU time. \
         bpftrace keeps a histogram of all syscalls by comm (and counts the loop's few reads and writes as well), \
         Observer one by workload and syscall, and its errors.",
    );
    let results = case.measure(&plan)?;
    let mut targets = Vec::new();
    for one in results.observers() {
        for (other, whose, limit) in [
            (results.floor_of(one), "the floor's", 2.0),
            (results.of(BPFTRACE_NAME), "bpftrace's", 1.0 / 3.0),
        ] {
            if let Some(ratio) = other.and_then(|other| one.added_to(other)) {
                targets.push(Target {
                    what: format!("{}: added, to {whose}", one.name),
                    measured: ratio.median,
                    limit,
                    unit: "",
                });
            }
        }
    }
    targets.extend(results.usual_targets(&[("calls", "syscalls")]));
    Ok(results.section(&plan, targets, Vec::new()))
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
