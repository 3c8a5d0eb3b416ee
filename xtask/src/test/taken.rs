//! How much CPU time others took away while a test ran.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// From this share of the machine's CPU time on a test may say that it had too
/// little: a quiet machine stays far below.
const MUCH: f64 = 0.03;

/// Ticks of /proc/stat per second, to programs (`USER_HZ`).
const TICKS: f64 = 100.0;

/// CPU time, in seconds, that was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// By the machine below ours.
    pub stolen: f64,
    /// By a limit of our cgroup: how long its processes were held up.
    pub throttled: f64,
    /// By processes that aren't the test's.
    pub others: f64,
    /// What there was, on all CPUs together.
    pub there_was: f64,
    /// How long CPUs had something to do, and did it.
    pub busy: f64,
}

impl Taken {
    /// The share of what there was; or of what was wanted, if that is more. An idle CPU
    /// is taken from nobody, and of many CPUs a test may want one.
    pub fn share(&self) -> f64 {
        let away = self.stolen + self.throttled;
        let of = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        of(away + self.others, self.there_was).max(of(away, away + self.busy))
    }

    /// Was it so much that it can be why something came late?
    pub fn much(&self) -> bool {
        self.share() >= MUCH
    }
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} % of the CPU was taken away: of {:.1} s, in {:.1} s of which there was \
             something to do, {:.1} s by other processes, {:.1} s by the host, {:.1} s by a \
             cgroup's limit",
            self.share() * 100.0,
            self.there_was,
            self.busy,
            self.others,
            self.stolen,
            self.throttled
        )
    }
}

/// Waits until the machine takes little away, or for a minute.
pub fn wait_until_quiet() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let accounts = Accounts::read();
        // What is stolen shows only while there is something to do.
        let spinning = Instant::now();
        while spinning.elapsed() < Duration::from_secs(1) {
            std::hint::spin_loop();
        }
        if !accounts.taken().much() {
            return;
        }
    }
}

/// The accounts at one time. Between two, all of the test's processes must have
/// ended and been waited for.
#[derive(Debug)]
pub struct Accounts {
    at: Instant,
    /// User time of everybody, and of us and our ended children: what the kernel's
    /// own threads do for the test is system time.
    all: f64,
    ours: f64,
    stolen: f64,
    busy: f64,
    throttled: f64,
}

impl Accounts {
    /// Reads them; what isn't there counts as nothing.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (all, stolen, busy) = of_stat(&stat);
        Self {
            at: Instant::now(),
            all,
            ours: own_user_time(),
            stolen,
            busy,
            throttled: throttled(),
        }
    }

    /// What was taken since.
    pub fn taken(&self) -> Taken {
        let cpus = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        self.taken_until(&Self::read(), cpus)
    }

    fn taken_until(&self, end: &Self, cpus: f64) -> Taken {
        let others = (end.all - self.all) - (end.ours - self.ours);
        Taken {
            stolen: end.stolen - self.stolen,
            busy: end.busy - self.busy,
            throttled: end.throttled - self.throttled,
            others: others.max(0.0),
            there_was: (end.at - self.at).as_secs_f64() * cpus,
        }
    }
}

/// Seconds in user mode (nice or not), stolen, and of everything but idleness and what was
/// stolen: columns of proc_stat(5).
fn of_stat(stat: &str) -> (f64, f64, f64) {
    let line = stat.lines().next().unwrap_or_default();
    let columns: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|column| column.parse().ok())
        .collect();
    let column = |n: usize| columns.get(n).copied().unwrap_or_default();
    let user = column(0) + column(1);
    let busy = user + column(2) + column(5) + column(6);
    (user / TICKS, column(7) / TICKS, busy / TICKS)
}

fn own_user_time() -> f64 {
    let seconds = |who| {
        let usage = getrusage(who).map(|usage| usage.user_time());
        usage.map_or(0.0, |t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6)
    };
    seconds(UsageWho::RUSAGE_SELF) + seconds(UsageWho::RUSAGE_CHILDREN)
}

/// How long the processes of our cgroup were held up by its limit, in seconds.
fn throttled() -> f64 {
    let stat = own_cgroup().and_then(|folder| fs::read_to_string(folder.join("cpu.stat")).ok());
    stat.as_deref().map_or(0.0, of_cpu_stat)
}

/// cgroups v2 say `throttled_usec`, v1 `throttled_time`, in nanoseconds.
fn of_cpu_stat(stat: &str) -> f64 {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse::<f64>().ok())
    };
    let v2 = value("throttled_usec ").map(|us| us / 1e6);
    let v1 = value("throttled_time ").map(|ns| ns / 1e9);
    v2.or(v1).unwrap_or_default()
}

/// The folder of our cgroup in the hierarchy that has the CPU controller.
fn own_cgroup() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |wanted: &str| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let is_it = controllers.split(',').any(|name| name == wanted);
            is_it.then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match of("cpu") {
        Some(path) => Some(super::slow::v1_mount()?.join(path)),
        None => Some(super::slow::v2_mount()?.join(of("")?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is read of the kernel's files.
    #[test]
    fn files() {
        let stat = "cpu  1000 200 300 5000 10 20 30 400 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(of_stat(stat), (12.0, 4.0, 15.5));
        let v1 = "nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n";
        assert_eq!(of_cpu_stat(v1), 1.5);
        let v2 = "usage_usec 7\nnr_throttled 3\nthrottled_usec 250000\n";
        assert_eq!(of_cpu_stat(v2), 0.25);
        assert_eq!(of_cpu_stat("usage_usec 7\n"), 0.0);
    }

    /// Checks that what others used is what we and our children didn't, and when
    /// it is much.
    #[test]
    fn whose() {
        let begin = Accounts {
            at: Instant::now(),
            all: 100.0,
            ours: 40.0,
            stolen: 5.0,
            busy: 150.0,
            throttled: 0.5,
        };
        let end = |all, ours| Accounts {
            at: begin.at + Duration::from_secs(10),
            all,
            ours,
            ..begin
        };
        let quiet = begin.taken_until(&end(112.0, 52.0), 2.0);
        assert_eq!((quiet.others, quiet.there_was), (0.0, 20.0));
        assert!(!quiet.much());
        // Ticks aren't exact.
        let rounded = begin.taken_until(&end(111.9, 52.0), 2.0);
        assert_eq!(rounded.others, 0.0);
        let busy = begin.taken_until(&end(122.0, 52.0), 2.0);
        assert_eq!(busy.others, 10.0);
        assert!(busy.much() && busy.to_string().contains("50 % of the CPU"));
        // Half a second of a single thread's ten, on a machine with 64 CPUs.
        let end = Accounts {
            stolen: 5.5,
            busy: 159.5,
            ..end(109.5, 49.5)
        };
        assert!(begin.taken_until(&end, 64.0).much());
        let quiet = Accounts { stolen: 5.1, ..end };
        assert!(!begin.taken_until(&quiet, 64.0).much());
    }
}
