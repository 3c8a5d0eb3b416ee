//! What the kernel half itself costs: run time and count per program.
//!
//! The kernel measures that only while asked to, and measuring costs two clock
//! reads per run. So it is asked for short windows; rates outside are taken to
//! be the same.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Kernel;

/// A shorter window tells too little.
const MIN_WINDOW: Duration = Duration::from_millis(100);

/// Run time and number of runs of a program, as the kernel measured them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Nanoseconds.
    pub time_ns: u64,
    /// Runs.
    pub count: u64,
    /// Events that the kernel did not show to the program, because the event
    /// came while the same program ran on the same CPU. Always counted.
    pub missed: u64,
}

/// `BPF_ENABLE_STATS` of enum bpf_cmd (include/uapi/linux/bpf.h).
const BPF_ENABLE_STATS: libc::c_long = 32;

/// Has the kernel measure run times until the result is dropped (since 5.8).
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
    /// What the last finished window saw, and how long it was.
    seen: Option<(HashMap<String, RunStats>, f64)>,
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

    /// Begins the first interval and opens its window.
    pub fn begin(&mut self, kernel: &Kernel) {
        let now = Instant::now();
        self.last_tick = Some(now);
        self.open_window(kernel, now);
    }

    /// Adds an interval, then opens the window of the next one.
    pub fn tick(&mut self, kernel: &Kernel) {
        self.end_window(kernel);
        let now = Instant::now();
        let interval = self
            .last_tick
            .replace(now)
            .map_or(0.0, |last| (now - last).as_secs_f64());
        if let Some((seen, length)) = self.seen.take() {
            let factor = (interval / length).max(1.0);
            for (name, run) in seen {
                let total = self.totals.entry(name).or_default();
                total.time_ns += (run.time_ns as f64 * factor) as u64;
                total.count += (run.count as f64 * factor) as u64;
                total.missed = run.missed;
            }
        }
        self.open_window(kernel, now);
    }

    fn open_window(&mut self, kernel: &Kernel, now: Instant) {
        if self.failed {
            return;
        }
        match enable() {
            Ok(enabled) => {
                self.window = Some(Window {
                    _enabled: enabled,
                    begin: read(kernel),
                    since: now,
                });
            }
            Err(error) => {
                self.failed = true;
                tracing::warn!("the kernel half's own cost is not known: {error:#}");
            }
        }
    }

    /// Ends the window, if one is open and long enough to tell anything.
    pub fn end_window(&mut self, kernel: &Kernel) {
        let Some(window) = self.window.take() else {
            return;
        };
        let length = window.since.elapsed();
        if length < MIN_WINDOW {
            self.window = Some(window);
            return;
        }
        let mut end = read(kernel);
        for (name, run) in &mut end {
            let begin = window.begin.get(name).copied().unwrap_or_default();
            run.time_ns = run.time_ns.saturating_sub(begin.time_ns);
            run.count = run.count.saturating_sub(begin.count);
        }
        self.seen = Some((end, length.as_secs_f64()));
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

/// The statistics of all loaded programs, by name.
pub fn read(kernel: &Kernel) -> HashMap<String, RunStats> {
    kernel
        .programs()
        .filter_map(|(name, program)| {
            let fd = program.fd().ok()?;
            let info =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))
                    .ok()?;
            let field = |name: &str| {
                info.lines()
                    .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
                    .unwrap_or(0)
            };
            Some((
                name.to_string(),
                RunStats {
                    time_ns: field("run_time_ns:"),
                    count: field("run_cnt:"),
                    missed: field("recursion_misses:"),
                },
            ))
        })
        .collect()
}
