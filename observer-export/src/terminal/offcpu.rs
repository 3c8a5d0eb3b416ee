//! Time off CPU by workload: what holds work up, and what is waited for.

use std::collections::BTreeMap;

use super::format::percent;
use super::table::table;
use super::view::label;
use super::{Interval, ROWS, Shown};
use observer_signals::Profile;
use observer_signals::wait::Reason;

/// Reasons shown of each workload.
const REASONS: usize = 5;

/// What the threads of a workload waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Waits {
    /// Name of the workload.
    pub workload: String,
    /// By reason: how many threads, on average.
    pub threads: Vec<(Reason, f64)>,
}

impl Waits {
    /// Threads that were held up.
    fn held_up(&self) -> f64 {
        let held_up = self.threads.iter().filter(|(reason, _)| reason.holds_up());
        // Not `sum`: that of nothing is -0.
        held_up.fold(0.0, |sum, (_, threads)| sum + threads)
    }
}

/// What the workloads of off-CPU profiles waited for.
#[derive(Clone, Debug, Default)]
pub struct WaitTimes {
    /// Nanoseconds by workload and reason.
    by_workload: BTreeMap<String, BTreeMap<Reason, u64>>,
    /// Nanoseconds that the profiles cover.
    covered: u64,
}

impl WaitTimes {
    /// Adds a profile to those before it.
    pub fn add(&mut self, profile: &Profile) {
        for sample in &profile.samples {
            let resource = profile.resources.get(sample.resource as usize);
            if let (Some(resource), Some(wait)) = (resource, sample.wait) {
                let reasons = self.by_workload.entry(label(resource)).or_default();
                *reasons.entry(wait.reason).or_default() += sample.value;
            }
        }
        self.covered += profile.duration;
    }

    /// What each workload waited for: first what was held up most.
    pub fn by_workload(&self) -> Vec<Waits> {
        let covered = self.covered.max(1) as f64;
        let workloads = self.by_workload.iter();
        let mut waits: Vec<Waits> = workloads
            .map(|(workload, reasons)| {
                let threads = |(reason, ns): (&Reason, &u64)| (*reason, *ns as f64 / covered);
                let mut threads: Vec<(Reason, f64)> = reasons.iter().map(threads).collect();
                threads.sort_by(|a, b| b.1.total_cmp(&a.1));
                // What holds up goes first.
                threads.sort_by_key(|(reason, _)| !reason.holds_up());
                Waits {
                    workload: workload.clone(),
                    threads,
                }
            })
            .collect();
        waits.sort_by(|a, b| b.held_up().total_cmp(&a.held_up()));
        waits
    }
}

/// The section; `None` when nothing waited.
pub fn section(interval: &Interval<'_>) -> Option<Shown> {
    if interval.waits.is_empty() {
        return None;
    }
    let rows: Vec<Vec<String>> = interval
        .waits
        .iter()
        .take(ROWS)
        .map(|waits| {
            let reasons: Vec<String> = waits
                .threads
                .iter()
                .filter(|(_, threads)| *threads >= 0.0005)
                .take(REASONS)
                .map(|(reason, threads)| format!("{} {}", reason.as_str(), percent(*threads)))
                .collect();
            let held_up = percent(waits.held_up());
            vec![waits.workload.clone(), held_up, reasons.join(", ")]
        })
        .collect();
    let headings = ["OFF CPU", "held up", "waits, of one thread's time"];
    Some(table(&headings, rows, true, interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_signals::attribute::SharedResource;
    use observer_signals::interner::Interner;
    use observer_signals::profile::Sample;
    use observer_signals::wait::{ThreadState, Waited};
    use observer_signals::{Attribute, Resource};

    /// Checks that shares are of the interval, that what holds work up goes
    /// first, and that samples without a reason are left out.
    #[test]
    fn by_workload_and_reason() {
        let mut i = Interner::new(Profile {
            duration: 1000,
            ..Profile::default()
        });
        let mut add = |name: &'static str, reason: Option<Reason>, value| {
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
                wait: reason.map(|reason| Waited { reason, state }),
                value,
                link: None,
                route: 0,
            });
        };
        add("idle", Some(Reason::Poll), 2000);
        add("busy", Some(Reason::Sleep), 300);
        add("busy", Some(Reason::Disk), 100);
        add("busy", Some(Reason::Lock), 200);
        add("busy", None, 5000);
        let profile = i.finish();
        let mut times = WaitTimes::default();
        times.add(&profile);
        let waits = times.by_workload();
        assert_eq!(waits[0].workload, "busy");
        let expected = [
            (Reason::Lock, 0.2),
            (Reason::Disk, 0.1),
            (Reason::Sleep, 0.3),
        ];
        assert_eq!(waits[0].threads, expected);
        assert_eq!(waits[1].threads, [(Reason::Poll, 2.0)]);
        assert_eq!(waits.len(), 2);
        times.add(&profile);
        assert_eq!(
            times.by_workload(),
            waits,
            "twice as much of twice the time"
        );
    }
}
