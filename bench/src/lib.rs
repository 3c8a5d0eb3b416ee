//! `cargo xtask bench`: what Observer costs and whether its figures are true,
//! beside empty programs and peers, in one run.
//!
//! A benchmark is a file here that makes a [`report::Section`]; timings are
//! compared only within a run, and nothing here fails because it is slow.

pub mod churn;
pub mod exec;
pub mod growth;
pub mod idle;
pub mod load;
pub mod loops;
pub mod machine;
pub mod matrix;
pub mod peers;
pub mod profile;
pub mod pulse;
pub mod report;
pub mod requests;
pub mod stats;
pub mod switch;
pub mod syscalls;

use anyhow::Result;

/// How thorough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fewer rounds, shorter waits.
    pub quick: bool,
}

/// A benchmark by the name that `cargo xtask bench` takes.
pub struct Benchmark {
    /// The word by which it is chosen; so is what stands after a slash, and what
    /// stands before it chooses all that begin with it.
    pub name: &'static str,
    /// Takes so long that it only runs when it is named.
    pub only_named: bool,
    /// Says little that others don't: left out of a quick run, unless it is named.
    pub thorough: bool,
    /// Programs of others that it starts, with the Debian packages (or
    /// [`peers::FROM_CRATES`]) that have them; installed before anything is
    /// measured.
    pub needs: &'static [(&'static str, &'static str)],
    /// Runs it.
    pub run: fn(&Options) -> Result<report::Section>,
}

impl Benchmark {
    const fn new(name: &'static str, run: fn(&Options) -> Result<report::Section>) -> Self {
        Self {
            name,
            only_named: false,
            thorough: false,
            needs: &[],
            run,
        }
    }

    const fn needs(mut self, programs: &'static [(&'static str, &'static str)]) -> Self {
        self.needs = programs;
        self
    }

    const fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    const fn only_named(mut self) -> Self {
        self.only_named = true;
        self
    }

    /// The word that chooses it and those like it.
    pub fn group(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// Its name within them.
    pub fn short(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }

    /// Whether it runs when these names are given.
    pub fn chosen(&self, names: &[String], quick: bool) -> bool {
        let named =
            |name: &String| [self.name, self.group(), self.short()].contains(&name.as_str());
        let left_out = self.only_named || self.thorough && quick;
        names.iter().any(named) || names.is_empty() && !left_out
    }
}

const BPFTRACE: (&str, &str) = ("bpftrace", "bpftrace");
const STRACE: (&str, &str) = ("strace", "strace");
const PERF: (&str, &str) = ("perf", "linux-perf");
const LIBBPF: (&str, &str) = ("syscount", "libbpf-tools");
const BCC: (&str, &str) = ("execsnoop-bpfcc", "bpfcc-tools");
const IP: (&str, &str) = ("tc", "iproute2");
const FIO: (&str, &str) = ("fio", "fio");
const NGINX: (&str, &str) = ("nginx", "nginx-light");
const WRK: (&str, &str) = ("wrk", "wrk");
const REDIS: (&str, &str) = ("redis-server", "redis-server");
// Its own programs are in nobody's path.
const POSTGRESQL: (&str, &str) = ("pg_createcluster", "postgresql");
const PROBEE: (&str, &str) = ("probee", peers::FROM_CRATES);
const PROFILERS: &[(&str, &str)] = &[BPFTRACE, BCC, PERF, PROBEE];

/// All, in the order in which they run.
pub const ALL: &[Benchmark] = &[
    Benchmark::new("syscalls/getppid", syscalls::getppid).needs(&[BPFTRACE, LIBBPF, STRACE]),
    Benchmark::new("syscalls/read", syscalls::read).needs(&[BPFTRACE, LIBBPF, STRACE]),
    Benchmark::new("syscalls/futex", syscalls::futex).needs(&[BPFTRACE, LIBBPF, STRACE]),
    Benchmark::new("switch", switch::run).needs(&[BPFTRACE, LIBBPF, BCC, PERF]),
    Benchmark::new("exec/fast", exec::fast).needs(&[BPFTRACE, LIBBPF, BCC]),
    Benchmark::new("exec/paced", exec::paced)
        .needs(&[BPFTRACE, LIBBPF, BCC])
        .thorough(),
    Benchmark::new("idle", idle::run).needs(&[BPFTRACE, PROBEE]),
    Benchmark::new("profile/fp", profile::record::with_frame_pointers).needs(PROFILERS),
    Benchmark::new("profile/no-fp", profile::record::without_frame_pointers).needs(PROFILERS),
    Benchmark::new("profile/sample", profile::sample::run).needs(&[PERF, PROBEE]),
    Benchmark::new("profile/run", profile::steady::run),
    Benchmark::new("profile/many", profile::many::run).thorough(),
    Benchmark::new("requests", requests::run).thorough(),
    Benchmark::new("tcp/connections", load::connections::run).needs(&[BPFTRACE, LIBBPF, BCC, IP]),
    Benchmark::new("tcp/loss", load::bulk::run).needs(&[BPFTRACE, BCC, IP]),
    Benchmark::new("fio/sync", load::disk::sync).needs(&[BPFTRACE, LIBBPF, BCC, FIO]),
    Benchmark::new("fio/async", load::disk::asynchronous).needs(&[BPFTRACE, LIBBPF, BCC, FIO]),
    Benchmark::new("wrk/one-worker", load::web::one).needs(&[BPFTRACE, NGINX, WRK]),
    Benchmark::new("wrk/two-workers", load::web::two)
        .needs(&[BPFTRACE, NGINX, WRK])
        .thorough(),
    Benchmark::new("redis/get", load::keys::get).needs(&[BPFTRACE, REDIS]),
    Benchmark::new("redis/set", load::keys::set)
        .needs(&[BPFTRACE, REDIS])
        .thorough(),
    Benchmark::new("redis/pipeline", load::keys::pipelined).needs(&[BPFTRACE, REDIS]),
    Benchmark::new("pgbench/tpcb", load::sql::tpc_b).needs(&[BPFTRACE, POSTGRESQL]),
    Benchmark::new("pgbench/select", load::sql::select)
        .needs(&[BPFTRACE, POSTGRESQL])
        .thorough(),
    Benchmark::new("growth/processes", growth::processes::run).thorough(),
    Benchmark::new("growth/stacks", growth::stacks::run).thorough(),
    Benchmark::new("growth/workloads", growth::workloads::run).thorough(),
    Benchmark::new("growth/connections", growth::connections::run).thorough(),
    Benchmark::new("growth/rate", growth::rate::run).thorough(),
    Benchmark::new("growth/call-rate", growth::events::syscalls).thorough(),
    Benchmark::new("growth/switch-rate", growth::events::switches).thorough(),
    Benchmark::new("growth/request-rate", growth::events::requests).thorough(),
    Benchmark::new("growth/host", growth::host::run).thorough(),
    Benchmark::new("churn", churn::run).only_named(),
];

/// Every word by which something is chosen.
pub fn names() -> Vec<&'static str> {
    let all = ALL.iter().flat_map(|b| [b.group(), b.name, b.short()]);
    let mut names = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks who runs: all but the slow one without names, else those named, by
    /// their own or their group's.
    #[test]
    fn choice() {
        let chosen = |names: &[&str]| -> Vec<_> {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let chosen = ALL
                .iter()
                .filter(|benchmark| benchmark.chosen(&names, false));
            chosen.map(|benchmark| benchmark.name).collect()
        };
        assert!(chosen(&[]).contains(&"profile/many"));
        assert!(!chosen(&[]).contains(&"churn"));
        assert_eq!(chosen(&["churn", "idle"]), ["idle", "churn"]);
        assert_eq!(chosen(&["profile/many"]), ["profile/many"]);
        assert!(chosen(&["profile"]).len() >= 4);
        assert_eq!(chosen(&["getppid"]), ["syscalls/getppid"]);
        assert!(names().contains(&"profile"));
        assert!(
            ALL.iter()
                .any(|b| b.chosen(&[], false) && !b.chosen(&[], true))
        );
        for name in names() {
            assert!(!chosen(&[name]).is_empty(), "{name}");
        }
    }
}
