//! The files of one cgroup, of both versions
//! (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/).

use std::path::{Path, PathBuf};

use super::figures::{Counter as C, Counters, Level as L, Levels};
use super::text::{number, pressure, sum, value};
use crate::foreign::{Foreign, cgroup};

/// Where a cgroup's files of one kind are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// The cgroup's own.
    pub path: PathBuf,
    /// The begin of the hierarchy.
    pub root: PathBuf,
    pub is_v2: bool,
}

/// Where a cgroup's files are; `None` where it is the host's own cgroup, or unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directories {
    /// Pressure and members: v2's, or none.
    pub unified: Option<Directory>,
    pub cpu: Option<Directory>,
    pub memory: Option<Directory>,
    pub pids: Option<Directory>,
}

/// How much of something is used, and of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub used: u64,
    pub most: u64,
}

/// What was read of a cgroup.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub counters: Counters,
    pub levels: Levels,
    /// Its limit of memory, or that of the nearest cgroup above that has one.
    pub memory: Option<Use>,
    /// The same of threads.
    pub threads: Option<Use>,
}

/// How far up limits are looked for.
const LEVELS_ABOVE: usize = 8;

/// v1 writes a limit that is none as the most that it can count, a little less than this.
const NO_LIMIT: u64 = i64::MAX as u64 - (1 << 20);

impl Directory {
    fn text(&self, foreign: &Foreign, file: &str) -> Option<String> {
        cgroup::text(foreign, &self.path, file)
    }

    /// The limit in `file`, here or above, and what `used` says there.
    fn nearest(
        &self,
        foreign: &Foreign,
        file: &str,
        used: impl Fn(&Path) -> Option<u64>,
    ) -> Option<Use> {
        let mut path: &Path = &self.path;
        for _ in 0..LEVELS_ABOVE {
            if path == self.root {
                return None;
            }
            let limit = number(&cgroup::text(foreign, path, file)?);
            if let Some(most) = limit.filter(|limit| *limit < NO_LIMIT) {
                return Some(Use {
                    used: used(path)?,
                    most,
                });
            }
            path = path.parent()?;
        }
        None
    }
}

impl Directories {
    /// Each.
    pub(super) fn all(&self) -> impl Iterator<Item = Option<&Directory>> {
        let all = [&self.unified, &self.cpu, &self.memory, &self.pids];
        all.into_iter().map(Option::as_ref)
    }

    /// Those that `keep` accepts.
    pub(super) fn only(&self, keep: impl Fn(&Directory) -> bool) -> Self {
        let kept = |one: &Option<Directory>| one.clone().filter(&keep);
        Self {
            unified: kept(&self.unified),
            cpu: kept(&self.cpu),
            memory: kept(&self.memory),
            pids: kept(&self.pids),
        }
    }

    /// Whether there is nothing to be read.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads all; `None` if the cgroup is gone.
    pub(super) fn read(&self, foreign: &Foreign) -> Option<Reading> {
        if !self.all().flatten().any(|it| it.path.is_dir()) {
            return None;
        }
        let mut reading = Reading::default();
        if let Some(unified) = &self.unified {
            pressures(foreign, unified, &mut reading.counters);
        }
        if let Some(cpu) = &self.cpu {
            throttling(foreign, cpu, &mut reading);
        }
        if let Some(memory) = &self.memory {
            memory_of(foreign, memory, &mut reading);
        }
        if let Some(pids) = &self.pids {
            threads(foreign, pids, &mut reading);
        }
        Some(reading)
    }
}

fn pressures(foreign: &Foreign, unified: &Directory, counters: &mut Counters) {
    for (file, some, full) in [
        ("cpu.pressure", C::CpuSome, C::CpuFull),
        ("memory.pressure", C::MemorySome, C::MemoryFull),
        ("io.pressure", C::IoSome, C::IoFull),
    ] {
        let text = unified.text(foreign, file).unwrap_or_default();
        counters.set(some, pressure(&text, "some"));
        counters.set(full, pressure(&text, "full"));
    }
}

fn throttling(foreign: &Foreign, cpu: &Directory, reading: &mut Reading) {
    let stat = cpu.text(foreign, "cpu.stat").unwrap_or_default();
    let (periods, throttled) = (value(&stat, "nr_periods"), value(&stat, "nr_throttled"));
    let time = match cpu.is_v2 {
        true => value(&stat, "throttled_usec").map(|time| time.saturating_mul(1000)),
        false => value(&stat, "throttled_time"),
    };
    let limit = cpu_limit(foreign, cpu);
    reading.levels.set(L::CpuLimit, limit);
    // Where there never was a limit there is nothing to tell.
    if limit.is_none() && periods.is_none_or(|periods| periods == 0) {
        return;
    }
    let free = periods
        .zip(throttled)
        .map(|(all, part)| all.saturating_sub(part));
    reading.counters.set(C::PeriodsFree, free);
    reading.counters.set(C::PeriodsThrottled, throttled);
    reading.counters.set(C::ThrottledTime, time);
}

/// Millionths of a CPU.
fn cpu_limit(foreign: &Foreign, cpu: &Directory) -> Option<u64> {
    let (quota, period) = match cpu.is_v2 {
        true => {
            let text = cpu.text(foreign, "cpu.max")?;
            let (quota, period) = text.trim_end().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        // -1, which is no number here, is none.
        false => (
            number(&cpu.text(foreign, "cpu.cfs_quota_us")?)?,
            number(&cpu.text(foreign, "cpu.cfs_period_us")?)?,
        ),
    };
    let quota: u64 = quota;
    quota.saturating_mul(1_000_000).checked_div(period)
}

/// Without what can be dropped: cached files that weren't used lately.
fn working_set(usage: u64, stat: &str, is_v2: bool) -> u64 {
    let name = if is_v2 {
        "inactive_file"
    } else {
        "total_inactive_file"
    };
    usage.saturating_sub(value(stat, name).unwrap_or(0))
}

fn memory_of(foreign: &Foreign, memory: &Directory, reading: &mut Reading) {
    let text = |file| memory.text(foreign, file);
    let of = |file| number(&text(file)?);
    let (levels, counters) = (&mut reading.levels, &mut reading.counters);
    let stat = text("memory.stat").unwrap_or_default();
    let (usage, limit) = match memory.is_v2 {
        true => ("memory.current", "memory.max"),
        false => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
    };
    let used = of(usage);
    let working = used.map(|used| working_set(used, &stat, memory.is_v2));
    let own = of(limit).filter(|limit| *limit < NO_LIMIT);
    levels.set(L::Memory, used);
    levels.set(L::WorkingSet, working);
    levels.set(L::MemoryLimit, own);
    let available = own
        .zip(working)
        .map(|(own, working)| own.saturating_sub(working));
    levels.set(L::Available, available);
    let count = |name| value(&stat, name);
    let (faults, major) = if memory.is_v2 {
        levels.set(L::Peak, of("memory.peak"));
        levels.set(L::Swap, of("memory.swap.current"));
        levels.set(L::Anonymous, count("anon"));
        levels.set(L::Cached, count("file"));
        levels.set(L::Shared, count("shmem"));
        let parts = ["kernel_stack", "pagetables", "slab"].map(count);
        let parts: u64 = parts.into_iter().flatten().sum();
        levels.set(
            L::OfKernel,
            count("kernel").or((parts > 0).then_some(parts)),
        );
        let huge = ["anon_thp", "file_thp", "shmem_thp"].map(count);
        levels.set(
            L::Huge,
            huge.into_iter().flatten().reduce(u64::saturating_add),
        );
        let events = text("memory.events").unwrap_or_default();
        for (which, name) in [
            (C::High, "high"),
            (C::Max, "max"),
            (C::Oom, "oom"),
            (C::OomKill, "oom_kill"),
        ] {
            counters.set(which, value(&events, name));
        }
        (count("pgfault"), count("pgmajfault"))
    } else {
        levels.set(L::Peak, of("memory.max_usage_in_bytes"));
        levels.set(L::Swap, count("total_swap"));
        levels.set(L::Anonymous, count("total_rss"));
        levels.set(L::Cached, count("total_cache"));
        levels.set(L::Shared, count("total_shmem"));
        levels.set(L::OfKernel, of("memory.kmem.usage_in_bytes"));
        levels.set(L::Huge, count("total_rss_huge"));
        counters.set(C::Max, of("memory.failcnt"));
        let control = text("memory.oom_control").unwrap_or_default();
        counters.set(C::OomKill, value(&control, "oom_kill"));
        (count("total_pgfault"), count("total_pgmajfault"))
    };
    let minor = faults
        .zip(major)
        .map(|(all, major)| all.saturating_sub(major));
    counters.set(C::FaultsMinor, minor);
    counters.set(C::FaultsMajor, major);
    reading.memory = match own.zip(working) {
        Some((most, used)) => Some(Use { used, most }),
        None => memory.nearest(foreign, limit, |path| {
            let used = number(&cgroup::text(foreign, path, usage)?)?;
            let stat = cgroup::text(foreign, path, "memory.stat")?;
            Some(working_set(used, &stat, memory.is_v2))
        }),
    };
}

fn threads(foreign: &Foreign, pids: &Directory, reading: &mut Reading) {
    let current = pids.text(foreign, "pids.current");
    reading
        .levels
        .set(L::Threads, current.as_deref().and_then(number));
    let events = pids.text(foreign, "pids.events").unwrap_or_default();
    reading.counters.set(C::ForksRefused, sum(&events, "max"));
    reading.threads = pids.nearest(foreign, "pids.max", |path| {
        number(&cgroup::text(foreign, path, "pids.current")?)
    });
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
