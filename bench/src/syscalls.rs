//! What a system call pays.

use anyhow::{Context, Result};

use super::Options;
use super::load::tool_output;
use super::loops::{Kind, Loop, LoopWork};
use super::matrix::{self, Contender, Peer, Plan, Ready, Results};
use super::report::{Section, Target};
use observer_testkit::collector::Collector;

/// The same job in bpftrace's language: a log2 histogram of all syscalls'
/// durations by comm.
pub(super) const BPFTRACE: &str = "tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; } \
     tracepoint:raw_syscalls:sys_exit /@start[tid]/ \
     { @ns[comm] = hist(nsecs - @start[tid]); delete(@start[tid]); } \
     END { clear(@start); }";

const BPFTRACE_NAME: &str = "bpftrace, histogram by comm";

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
        let syscount = Peer::libbpf("syscount -L", "syscount", &["-L", "-T", "1000"]);
        let syscount = syscount.counts("calls", move |printed| {
            let calls = printed.lines().find_map(|line| {
                let mut fields = line.split_whitespace();
                (fields.next()? == syscall).then(|| fields.next()?.parse().ok())?
            });
            calls.with_context(|| printed.to_string())
        });
        all.push(Box::new(syscount));
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
        let mut work = LoopWork {
            looped: Loop::start(self.kind)?,
            unit: self.unit,
            calls: "calls",
            bursts: 16,
            switches: false,
        };
        plan.measure(&mut work, &self.contenders())
    }
}

/// Said of all of them.
const METHOD: &str = "Its rate is by its own CPU time. bpftrace keeps a histogram of all syscalls by comm (and counts \
     the loop's few reads and writes of commands as well), syscount sums up durations by syscall, \
     everybody's together; Observer keeps a histogram by workload and syscall, and counts errors.";

/// The loop of getppid.
pub fn getppid(options: &Options) -> Result<Section> {
    let case = Case {
        kind: Kind::Getppid,
        syscall: "getppid",
        unit: "calls/s",
    };
    let plan = Plan::new(
        options,
        "syscalls/getppid",
        "what the cheapest system call pays",
        format!("A process bound to one CPU calls `getppid`. {METHOD}"),
    );
    let results = case.measure(&plan)?;
    let mut targets = to_others(&results);
    targets.extend(results.usual_targets(&[("calls", "syscalls")]));
    Ok(results.section(&plan, targets, Vec::new()))
}

/// The loop of reads.
pub fn read(options: &Options) -> Result<Section> {
    let case = Case {
        kind: Kind::Zero,
        syscall: "read",
        unit: "calls/s",
    };
    let plan = Plan::new(
        options,
        "syscalls/read",
        "what a read pays",
        format!("A process bound to one CPU reads bytes of `/dev/zero`, one by one. {METHOD}"),
    );
    let results = case.measure(&plan)?;
    let mut targets = to_others(&results);
    targets.extend(results.usual_targets(&[("calls", "syscalls")]));
    Ok(results.section(&plan, targets, Vec::new()))
}

/// Two threads and a futex.
pub fn futex(options: &Options) -> Result<Section> {
    let case = Case {
        kind: Kind::Futex,
        syscall: "futex",
        unit: "rounds/s",
    };
    let plan = Plan::new(
        options,
        "syscalls/futex",
        "what a lock pays that has to wait",
        format!(
            "Two threads of a process, both bound to one CPU, wake each other by turns: about four calls of `futex` and \
             two context switches a round. {METHOD}"
        ),
    );
    let results = case.measure(&plan)?;
    let targets = results.usual_targets(&[("calls", "syscalls")]);
    Ok(results.section(&plan, targets, Vec::new()))
}

/// What was promised of histograms of system calls.
fn to_others(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for one in results.observers() {
        for (other, whose, limit) in [
            (results.floor_of(one), "the floor's", 2.0),
            (results.of(BPFTRACE_NAME), "bpftrace's", 0.333),
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
    targets
}

/// The sum of the histogram that bpftrace prints of a program's name, if any.
pub(super) fn histogram_total(printed: &str, comm: &str) -> Option<u64> {
    let head = format!("@ns[{comm}]:");
    tool_output::buckets(printed, &head)
        .ok()
        .map(|sum| sum as u64)
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
