//! Time off CPU by workload: what threads were delayed by, and, if it is asked for, what idle
//! ones waited for.

use std::collections::BTreeMap;

use super::format::{percent, wrapped};
use super::table::table;
use super::view::label;
use super::{Interval, ROWS, Shown};
use observer_signals::Profile;
use observer_signals::wait::Reason;

/// Reasons shown of each workload.
const REASONS: usize = 5;

/// Less than this of a thread's time isn't shown: it would be 0.0 %.
const SHOWN: f64 = 0.0005;

/// A reason, and whether it delayed anything (see [`observer_signals::wait::Waited`]).
type Part = (Reason, bool);

/// What the threads of a workload waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Waits {
    /// Name of the workload.
    pub workload: String,
    /// By reason, and whether something was delayed: how many threads, on average. What
    /// delays goes first.
    pub threads: Vec<(Part, f64)>,
}

impl Waits {
    /// Threads that were delayed, or those that were idle.
    fn sum(&self, delayed: bool) -> f64 {
        let parts = self.threads.iter().filter(|((_, is), _)| *is == delayed);
        // Not `sum`: that of nothing is -0.
        parts.fold(0.0, |sum, (_, threads)| sum + threads)
    }

    /// The reasons as they are shown, delays or idle waits.
    fn reasons(&self, delayed: bool) -> String {
        let parts = self.threads.iter();
        let parts = parts.filter(|((_, is), threads)| *is == delayed && *threads >= SHOWN);
        let parts: Vec<String> = parts
            .take(REASONS)
            .map(|((reason, _), threads)| format!("{} {}", reason.as_str(), percent(*threads)))
            .collect();
        parts.join(", ")
    }
}

/// What the workloads of off-CPU profiles waited for.
#[derive(Clone, Debug, Default)]
pub struct WaitTimes {
    /// Nanoseconds by workload, reason and whether something was delayed.
    by_workload: BTreeMap<String, BTreeMap<Part, u64>>,
    /// Nanoseconds that the profiles cover.
    covered: u64,
}

impl WaitTimes {
    /// Adds a profile to those before it.
    pub fn add(&mut self, profile: &Profile) {
        for sample in &profile.samples {
            let resource = profile.resources.get(sample.resource as usize);
            if let (Some(resource), Some(wait)) = (resource, sample.wait) {
                let parts = self.by_workload.entry(label(resource)).or_default();
                *parts.entry((wait.reason, wait.holds_up())).or_default() += sample.value;
            }
        }
        self.covered += profile.duration;
    }

    /// What each workload waited for: first what was delayed most.
    pub fn by_workload(&self) -> Vec<Waits> {
        let covered = self.covered.max(1) as f64;
        let workloads = self.by_workload.iter();
        let mut waits: Vec<Waits> = workloads
            .map(|(workload, parts)| {
                let threads = |(part, ns): (&Part, &u64)| (*part, *ns as f64 / covered);
                let mut threads: Vec<(Part, f64)> = parts.iter().map(threads).collect();
                threads.sort_by(|a, b| b.1.total_cmp(&a.1));
                threads.sort_by_key(|((_, delayed), _)| !delayed);
                Waits {
                    workload: workload.clone(),
                    threads,
                }
            })
            .collect();
        waits.sort_by(|a, b| b.sum(false).total_cmp(&a.sum(false)));
        waits.sort_by(|a, b| b.sum(true).total_cmp(&a.sum(true)));
        waits
    }
}

/// The section; `None` when nothing is known of waits.
pub fn section(interval: &Interval<'_>) -> Option<Shown> {
    if interval.waits.is_empty() {
        return None;
    }
    let is_shown = |waits: &&Waits| interval.idle || waits.sum(true) >= SHOWN;
    let shown = interval.waits.iter().filter(is_shown).take(ROWS);
    let rows: Vec<Vec<String>> = shown
        .map(|waits| {
            let mut by = waits.reasons(true);
            let idle = waits.reasons(false);
            if interval.idle && !idle.is_empty() {
                let between = if by.is_empty() { "" } else { "; " };
                by = format!("{by}{between}idle: {idle}");
            }
            vec![waits.workload.clone(), percent(waits.sum(true)), by]
        })
        .collect();
    let headings = ["OFF CPU", "delayed", "by what, in % of one thread's time"];
    let nobody = rows.is_empty();
    let mut out = table(&headings, rows, true, interval);
    let parts = interval.waits.iter().flat_map(|waits| &waits.threads);
    let idle = parts.filter(|((_, delayed), _)| !delayed);
    let (idle, unclear) = idle.fold((0.0, 0.0), |(idle, unclear), ((reason, _), threads)| {
        let is_unclear = *reason == Reason::Futex;
        (
            idle + threads,
            unclear + if is_unclear { *threads } else { 0.0 },
        )
    });
    if !interval.idle && idle >= SHOWN {
        let nobody = if nobody {
            "no thread was delayed; "
        } else {
            ""
        };
        // Who takes these for idle may be wrong.
        let unclear = match unclear >= SHOWN {
            true => format!(", of it {} in futexes that may be locks", percent(unclear)),
            false => String::new(),
        };
        let idle = percent(idle);
        let line =
            format!("{nobody}idle threads are left out: {idle}{unclear} (--idle shows them)");
        out.push(wrapped(line, interval.width));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_signals::attribute::SharedResource;
    use observer_signals::interner::Interner;
    use observer_signals::profile::Sample;
    use observer_signals::wait::{ThreadState, Waited};
    use observer_signals::{Attribute, Resource};

    /// Checks that shares are of the interval, that what delays goes first, whatever a
    /// request waits for with it, and that samples without a reason are left out.
    #[test]
    fn by_workload_and_reason() {
        let mut i = Interner::new(Profile {
            duration: 1000,
            ..Profile::default()
        });
        let mut add = |name: &'static str, reason: Option<(Reason, bool)>, value| {
            let attributes = vec![Attribute::new("service.name", name)];
            let resource = i.resource(&SharedResource::new(Resource { attributes }));
            let state = ThreadState::Interruptible;
            i.sample(Sample {
                stack: 0,
                pid: 1,
                tid: 1,
                thread: 0,
                process: 0,
                resource,
                wait: reason.map(|(reason, in_request)| Waited {
                    reason,
                    state,
                    in_request,
                }),
                value,
                link: None,
                route: 0,
            });
        };
        add("idle", Some((Reason::Poll, false)), 1900);
        add("idle", Some((Reason::Parked, false)), 100);
        add("busy", Some((Reason::Sleep, false)), 300);
        add("busy", Some((Reason::Disk, false)), 100);
        add("busy", Some((Reason::Lock, false)), 200);
        add("busy", Some((Reason::Socket, true)), 150);
        add("busy", Some((Reason::Socket, false)), 700);
        add("busy", None, 5000);
        let profile = i.finish();
        let mut times = WaitTimes::default();
        times.add(&profile);
        let waits = times.by_workload();
        assert_eq!(waits[0].workload, "busy");
        let expected = [
            ((Reason::Lock, true), 0.2),
            ((Reason::Socket, true), 0.15),
            ((Reason::Disk, true), 0.1),
            ((Reason::Socket, false), 0.7),
            ((Reason::Sleep, false), 0.3),
        ];
        assert_eq!(waits[0].threads, expected);
        let expected = [((Reason::Poll, false), 1.9), ((Reason::Parked, false), 0.1)];
        assert_eq!(waits[1].threads, expected);
        assert_eq!(waits.len(), 2);
        times.add(&profile);
        assert_eq!(
            times.by_workload(),
            waits,
            "twice as much of twice the time"
        );
    }

    /// Checks that idle workloads are left out, and how much they are is said; that they
    /// are there if they are wanted; and the words where nobody is delayed.
    #[test]
    fn idle_workloads_are_left_out() {
        let pool = Waits {
            workload: "pool".into(),
            threads: vec![((Reason::Parked, false), 8.0), ((Reason::Poll, false), 1.0)],
        };
        let convoy = Waits {
            workload: "convoy".into(),
            threads: vec![((Reason::Lock, true), 2.5), ((Reason::Sleep, false), 1.0)],
        };
        let text = |waits: &[Waits], idle| {
            let interval = Interval {
                waits,
                idle,
                width: 100,
                ..Interval::default()
            };
            section(&interval).expect("a section").as_str().to_owned()
        };
        let both = [convoy, pool.clone()];
        let shown = text(&both, false);
        assert!(
            shown.contains("convoy        250 %  lock 250 %\n"),
            "{shown}"
        );
        assert!(!shown.contains("pool"), "{shown}");
        assert!(shown.contains("left out: 1000 % (--idle"), "{shown}");
        let shown = text(&both, true);
        assert!(shown.contains("lock 250 %; idle: sleep 100 %"), "{shown}");
        assert!(shown.contains("idle: parked 800 %, poll 100 %"), "{shown}");
        assert!(!shown.contains("left out"), "{shown}");
        assert!(!shown.contains("may be locks"), "{shown}");
        let unclear = Waits {
            threads: vec![((Reason::Futex, false), 2.0)],
            ..pool.clone()
        };
        let shown = text(&[pool.clone(), unclear], false);
        assert!(
            shown.contains("left out: 1100 %, of it 200 % in futexes"),
            "{shown}"
        );
        let shown = text(std::slice::from_ref(&pool), false);
        assert!(
            shown.contains("no thread was delayed; idle threads are"),
            "{shown}"
        );
    }
}
