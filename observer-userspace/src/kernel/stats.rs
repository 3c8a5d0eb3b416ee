//! What the kernel half itself costs: run time and count per program.
//!
//! The kernel measures that only while asked to, and measuring costs two clock
//! reads per run. So it is asked for short windows; rates outside are taken to
//! be the same. There is one window in each interval, or, where a governor
//! wants to know more often, many short ones.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::programs::Program;
use observer_common::loss::MadeUp;
use observer_common::names::programs;

use super::Kernel;

/// A shorter window tells too little of an interval of which it is the only one.
pub const MIN_WINDOW: Duration = Duration::from_millis(100);

/// Run time and number of runs of a program, as the kernel measured them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Nanoseconds.
    pub time_ns: u64,
    /// Runs.
    pub count: u64,
    /// Events that the kernel did not show to the program, because the event
    /// came while the same program ran on the same CPU. Counted by the kernel
    /// also outside of windows, so never estimated: [`Missed`].
    pub missed: u64,
}

/// `BPF_ENABLE_STATS` of enum bpf_cmd (include/uapi/linux/bpf.h).
const BPF_ENABLE_STATS: libc::c_long = 32;

/// Has the kernel measure run times until the result is dropped (since 5.8).
///
/// # Errors
/// The kernel is too old, or CAP_SYS_ADMIN is missing.
pub fn enable() -> Result<OwnedFd> {
    // union bpf_attr's `enable_stats`: BPF_STATS_RUN_TIME is 0.
    let attr = 0u32;
    // SAFETY: the kernel reads four bytes of `attr`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_ENABLE_STATS,
            &raw const attr,
            size_of::<u32>(),
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot have BPF run times measured");
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Run times since the start, estimated from windows: in each interval the
/// kernel measures for a while, and the rest of the interval is taken to be
/// alike.
#[derive(Default)]
pub struct Estimate {
    totals: HashMap<String, RunStats>,
    window: Option<Window>,
    /// What the interval's finished windows saw, and how long they were.
    seen: HashMap<String, RunStats>,
    seconds_seen: f64,
    last_tick: Option<Instant>,
    failed: bool,
}

struct Window {
    /// Measuring goes on while this is open.
    _enabled: OwnedFd,
    begin: HashMap<String, RunStats>,
    since: Instant,
}

impl Estimate {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the first interval.
    pub fn begin(&mut self) {
        self.last_tick = Some(Instant::now());
    }

    /// Adds an interval: what its windows saw is taken for all of it. Without a
    /// finished window it is added with the next one.
    pub fn tick(&mut self) {
        if self.seconds_seen == 0.0 {
            return;
        }
        let now = Instant::now();
        let interval = self
            .last_tick
            .replace(now)
            .map_or(0.0, |last| (now - last).as_secs_f64());
        let factor = (interval / std::mem::take(&mut self.seconds_seen)).max(1.0);
        for (name, run) in self.seen.drain() {
            let total = self.totals.entry(name).or_default();
            total.time_ns += (run.time_ns as f64 * factor) as u64;
            total.count += (run.count as f64 * factor) as u64;
        }
    }

    /// Opens a window, unless one is open.
    pub fn open_window(&mut self, kernel: &Kernel) {
        if self.failed || self.window.is_some() {
            return;
        }
        match enable() {
            Ok(enabled) => {
                self.window = Some(Window {
                    _enabled: enabled,
                    begin: read(kernel),
                    since: Instant::now(),
                });
            }
            Err(error) => {
                self.failed = true;
                tracing::warn!("the kernel half's own cost is not known: {error:#}");
            }
        }
    }

    /// Ends the window, if one is open and so long or longer. Returns how many
    /// CPUs all programs together took in it.
    pub fn end_window(&mut self, kernel: &Kernel, shortest: Duration) -> Option<f64> {
        let window = self
            .window
            .take_if(|window| window.since.elapsed() >= shortest)?;
        let end = read(kernel);
        let length = window.since.elapsed().as_secs_f64();
        let mut time_ns = 0;
        for (name, now) in end {
            let begin = window.begin.get(&name).copied().unwrap_or_default();
            let ran = now.time_ns.saturating_sub(begin.time_ns);
            time_ns += ran;
            let seen = self.seen.entry(name).or_default();
            seen.time_ns += ran;
            seen.count += now.count.saturating_sub(begin.count);
        }
        self.seconds_seen += length;
        Some(time_ns as f64 / 1e9 / length.max(1e-6))
    }

    /// Estimated totals by program.
    pub fn totals(&self) -> impl Iterator<Item = (&str, RunStats)> {
        self.totals.iter().map(|(name, run)| (name.as_str(), *run))
    }

    /// Estimated CPU seconds of all programs together.
    pub fn seconds(&self) -> f64 {
        let ns: u64 = self.totals.values().map(|run| run.time_ns).sum();
        ns as f64 / 1e9
    }
}

/// The statistics of all programs that are loaded for events, by name.
/// Iterators run when the daemon reads them, in its own CPU time.
pub fn read(kernel: &Kernel) -> HashMap<String, RunStats> {
    kernel
        .programs()
        .filter(|(_, program)| !matches!(program, Program::Iter(_)))
        .filter_map(|(name, program)| {
            let fd = program.fd().ok()?;
            Some((name.to_string(), info(fd.as_fd()).ok()?))
        })
        .collect()
}

/// Events that the kernel did not show to our programs since they were loaded
/// (`recursion_misses`), read now: what is lost in an interval is told with it,
/// also in the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Ends of system calls, but for those that the second look saw.
    pub syscall_ends: u64,
    /// All others, likewise.
    pub others: u64,
}

impl Missed {
    /// What was missed so far.
    ///
    /// # Errors
    /// The kernel refuses to read how often the second look helped.
    pub fn read(kernel: &Kernel) -> Result<Self> {
        let programs = read(kernel);
        let programs = programs.iter().map(|(name, run)| (name.as_str(), run));
        Ok(Self::of(
            programs,
            kernel.made_up(MadeUp::SyscallBegin)?,
            kernel.made_up(MadeUp::SyscallEnd)?,
        ))
    }

    /// `begins` and `ends` of system calls were seen at the second look only. What that
    /// itself misses matters only if the first look has missed it, too.
    fn of<'a>(
        programs: impl Iterator<Item = (&'a str, &'a RunStats)>,
        begins: u64,
        ends: u64,
    ) -> Self {
        let mut all = Self::default();
        for (name, RunStats { missed, .. }) in programs {
            match name {
                programs::SYSCALLS_EXIT => all.syscall_ends += missed.saturating_sub(ends),
                programs::OFFCPU_EXIT => all.others += missed.saturating_sub(ends),
                programs::SYSCALLS_ENTER | programs::OFFCPU_ENTER => {
                    all.others += missed.saturating_sub(begins);
                }
                programs::SYSCALLS_ENTER2
                | programs::SYSCALLS_EXIT2
                | programs::OFFCPU_ENTER2
                | programs::OFFCPU_EXIT2 => {}
                _ => all.others += missed,
            }
        }
        all
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD` of enum bpf_cmd (include/uapi/linux/bpf.h).
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `struct bpf_prog_info` (ibidem) up to what is needed; a kernel that knows
/// less leaves the rest as it is.
#[repr(C)]
struct ProgramInfo {
    /// From `type` to `prog_tags`: nothing is asked for there.
    before: [u64; 24],
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
}
const _: () = assert!(std::mem::offset_of!(ProgramInfo, run_time_ns) == 192);

/// union bpf_attr's `info`.
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// A program's statistics: one system call, where `/proc/self/fdinfo` takes
/// three and a lot of text.
fn info(program: BorrowedFd<'_>) -> std::io::Result<RunStats> {
    let mut info = ProgramInfo {
        before: [0; 24],
        run_time_ns: 0,
        run_cnt: 0,
        recursion_misses: 0,
    };
    let mut attr = InfoAttr {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<ProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel reads and writes `attr`, and writes at most `info_len`
    // bytes of `info`; both live here. The arrays that it could fill have no
    // length.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw mut attr,
            size_of::<InfoAttr>(),
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(RunStats {
        time_ns: info.run_time_ns,
        count: info.run_cnt,
        missed: info.recursion_misses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that ends of system calls are told apart from all else that is missed, and
    /// that what the second look saw isn't missed.
    #[test]
    fn missed_events_are_told_apart() {
        let run = |missed| RunStats {
            missed,
            ..RunStats::default()
        };
        let (exit, enter, switch) = (run(5), run(7), run(1));
        let programs = [
            ("syscalls_exit", &exit),
            ("syscalls_enter", &enter),
            ("syscalls_enter2", &switch),
            ("syscalls_exit2", &enter),
            ("sched_switch", &switch),
        ];
        let expected = Missed {
            syscall_ends: 5,
            others: 8,
        };
        assert_eq!(Missed::of(programs.into_iter(), 0, 0), expected);
        let expected = Missed {
            syscall_ends: 1,
            others: 2,
        };
        assert_eq!(Missed::of(programs.into_iter(), 6, 4), expected);
        // What was seen is read after what was missed.
        let expected = Missed {
            syscall_ends: 0,
            others: 1,
        };
        assert_eq!(Missed::of(programs.into_iter(), 8, 6), expected);
    }
}
