//! The summary that `observer run` prints each interval: what a person at a
//! terminal wants to know first.
//!
//! Works on the same metrics that OTLP gets, turned into what happened in the
//! interval. Each section is a table of the busiest rows; a section without
//! events isn't shown.

mod cpu;
mod disk;
pub(super) mod format;
mod network;
mod offcpu;
mod own;
mod pressure;
mod ranking;
mod services;
pub(super) mod shown;
mod syscalls;
mod table;
mod tcp;
#[cfg(test)]
mod testing;
mod unfollowed;
mod view;

use observer_signals::hottest::SelfTimes;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{Profile, UnixNanos};

pub use offcpu::{WaitTimes, Waits};
pub use own::{Lost, OwnCost};
pub use services::colour;
pub use shown::Shown;
use unfollowed::Unfollowed;
use view::View;
pub use view::label;

/// What one summary is made of.
#[derive(Default)]
pub struct Interval<'a> {
    /// Local time of its end, as it is to be printed.
    pub clock: &'a str,
    /// The host's name.
    pub host: &'a str,
    /// Its length in seconds.
    pub seconds: f64,
    /// What was added in the interval (deltas; gauges as they are).
    pub metrics: &'a [ResourceMetrics],
    /// Hottest functions by workload label.
    pub hottest: &'a [(String, Vec<(String, f64)>)],
    /// What threads waited for.
    pub waits: &'a [Waits],
    /// No profile of the interval came: hottest functions and waits aren't known.
    pub profiles_late: bool,
    /// Are workloads shown that only waited for work?
    pub idle: bool,
    /// What Observer itself cost.
    pub own: OwnCost,
    /// Columns of the terminal.
    pub width: usize,
    /// May colours be used?
    pub colours: bool,
}

/// Functions shown of each workload.
const HOTTEST: usize = 3;

/// Rows per section.
const ROWS: usize = 8;

/// The summary as text, ending in a newline.
pub fn render(interval: &Interval<'_>) -> Shown {
    let view = View::new(interval.metrics);
    let unfollowed = Unfollowed::of(&view);
    let title = format!(
        "observer · {} · {} · last {} · {} workloads",
        interval.host,
        interval.clock,
        format::seconds(interval.seconds),
        view.workloads()
    );
    let title = Shown::from(title).cut(interval.width);
    let mut out = format::heading(title, interval);
    out.end_line();
    for section in [
        pressure::section(&view, interval),
        services::section(&view, &unfollowed, interval),
        cpu::section(&view, interval),
        offcpu::section(interval),
        syscalls::section(&view, interval),
        tcp::section(&view, interval),
        disk::section(&view, interval),
    ]
    .into_iter()
    .flatten()
    {
        out.end_line();
        out.push(section);
    }
    out.end_line();
    if interval.profiles_late {
        out.push(
            "no stacks came in time: hottest functions and times off CPU are in the next summary",
        );
        out.end_line();
    }
    out.push(own::line(interval, &unfollowed));
    out
}

/// Workloads and their hottest functions, best first: name and share of the
/// workload's samples (0..=1).
pub type Hottest = Vec<(String, Vec<(String, f64)>)>;

/// On which functions the workloads of profiles were, for [`Interval::hottest`].
#[derive(Clone, Debug, Default)]
pub struct HottestFunctions(SelfTimes<String>);

impl HottestFunctions {
    /// Adds a profile to those before it.
    pub fn add(&mut self, profile: &Profile) {
        let label = |resource| profile.resources.get(resource as usize).map(|r| label(r));
        self.0.add(profile, label);
    }

    /// The hottest functions of each workload.
    pub fn best(&self) -> Hottest {
        let hottest = self.0.hottest(HOTTEST).into_iter();
        hottest
            .map(|hot| {
                let share = |samples| samples as f64 / hot.total.max(1) as f64;
                let functions = hot.functions.into_iter();
                let functions = functions.map(|(name, n)| (name, share(n))).collect();
                (hot.workload, functions)
            })
            .collect()
    }
}

/// Columns of the terminal on standard output, if it is one.
pub fn width() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ fills a winsize.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col >= 40).then_some(size.ws_col.into())
}

/// Local wall-clock time as `HH:MM:SS`.
pub fn local_time(time: UnixNanos) -> String {
    let tm = local(time);
    tm.map_or_else(String::new, |tm| clock(&tm))
}

/// The same with its date: `2026-11-30 17:50:01`.
pub fn local_date_time(time: UnixNanos) -> String {
    local(time).map_or_else(String::new, |tm| {
        let (year, month) = (tm.tm_year + 1900, tm.tm_mon + 1);
        format!("{year}-{month:02}-{:02} {}", tm.tm_mday, clock(&tm))
    })
}

fn clock(tm: &libc::tm) -> String {
    format!("{:02}:{:02}:{:02}", tm.tm_hour, tm.tm_min, tm.tm_sec)
}

fn local(time: UnixNanos) -> Option<libc::tm> {
    let seconds = (time / 1_000_000_000).cast_signed();
    // SAFETY: a zeroed `tm` is valid, localtime_r fills it or returns null.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        let filled = !libc::localtime_r(&raw const seconds, &raw mut tm).is_null();
        filled.then_some(tm)
    }
}
