//! What profiles say beside what the kernel counts: kept when a profile ends, as
//! both must be about the same time.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::kernel::counters::Host;

/// Since profiles began. All in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profiled {
    /// CPU time that samples stand for; `None` if none are taken.
    pub sampled: Option<u64>,
    /// CPU time of all threads, as the kernel counts it.
    pub busy: u64,
    /// CPU time for which the last sample stands.
    pub period: u64,
    /// Time off CPU that was counted, and at least that of this daemon's own
    /// threads in the same time; `None` if none is counted.
    pub waited: Option<(u64, u64)>,
}

/// How the kernel's counts stood when a profile ended.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    busy: u64,
    own_threads: u64,
    own_cpu: u64,
}

/// Adds up profile by profile.
#[derive(Debug, Default)]
pub struct Ledger {
    sums: Profiled,
    last: Option<Moment>,
    /// Time off CPU was counted when the last one ended, and since.
    counting: bool,
}

/// What a profile says.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Samples on CPU, and how many nanoseconds each stands for; `None` if none
    /// are taken.
    pub samples: Option<(u64, u64)>,
    /// Nanoseconds off CPU.
    pub waited: u64,
    /// Whether they are still counted.
    pub counting: bool,
}

impl Moment {
    fn now() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let threads = status.lines().find_map(|l| l.strip_prefix("Threads:"))?;
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let own_cpu = (usage.user_time() + usage.system_time()).num_nanoseconds();
        Some(Self {
            at: Instant::now(),
            busy: Host::read().ok()?.busy,
            own_threads: threads.trim().parse().ok()?,
            own_cpu: own_cpu.unsigned_abs(),
        })
    }
}

impl Ledger {
    /// The first profile begins.
    pub fn begin(&mut self, counting: bool) {
        self.last = Moment::now();
        self.counting = counting;
    }

    /// Time off CPU is counted no more, or again, so not in the whole profile.
    pub fn interrupt(&mut self) {
        self.counting = false;
    }

    /// A profile ended, and the next begins.
    pub fn add(&mut self, profile: &Profile) {
        self.add_at(profile, Moment::now());
    }

    fn add_at(&mut self, profile: &Profile, now: Option<Moment>) {
        let last = std::mem::replace(&mut self.last, now);
        let whole = std::mem::replace(&mut self.counting, profile.counting);
        let Some((last, now)) = last.zip(now) else {
            return;
        };
        match profile.samples {
            Some((samples, period)) => {
                *self.sums.sampled.get_or_insert(0) += samples.saturating_mul(period);
                self.sums.busy += now.busy.saturating_sub(last.busy);
                self.sums.period = period;
            }
            None => self.sums.sampled = None,
        }
        if !profile.counting {
            self.sums.waited = None;
        } else if whole {
            let passed = u64::try_from((now.at - last.at).as_nanos()).unwrap_or(u64::MAX);
            let threads = now.own_threads.min(last.own_threads);
            let ran = now.own_cpu.saturating_sub(last.own_cpu);
            let own = passed.saturating_mul(threads).saturating_sub(ran);
            let (seen, at_least) = self.sums.waited.get_or_insert((0, 0));
            *seen = seen.saturating_add(profile.waited);
            *at_least = at_least.saturating_add(own);
        }
    }

    /// The sums.
    pub fn sums(&self) -> Profiled {
        self.sums
    }
}

/// As many nanoseconds.
pub(super) const fn nanoseconds(time: Duration) -> u64 {
    time.as_secs() * 1_000_000_000 + time.subsec_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Checks the sums over profiles of different rates, and that a profile in
    /// which time off CPU wasn't counted all the time isn't compared.
    #[test]
    fn sums() {
        let begin = Instant::now();
        let moment = |seconds: u64| {
            Some(Moment {
                at: begin + Duration::from_secs(seconds),
                busy: seconds * 2 * SECOND,
                own_threads: 5 + seconds / 10,
                own_cpu: seconds * SECOND / 10,
            })
        };
        let profile = |samples, waited, counting| Profile {
            samples: Some(samples),
            waited,
            counting,
        };
        let mut ledger = Ledger {
            last: moment(0),
            counting: true,
            ..Ledger::default()
        };
        ledger.add_at(&profile((40, SECOND / 20), 70, true), moment(10));
        ledger.add_at(&profile((10, SECOND), 80, true), moment(20));
        let expected = Profiled {
            sampled: Some(12 * SECOND),
            busy: 40 * SECOND,
            period: SECOND,
            waited: Some((150, (5 * 10 - 1 + 6 * 10 - 1) * SECOND)),
        };
        assert_eq!(ledger.sums(), expected);
        ledger.interrupt();
        ledger.add_at(&profile((0, SECOND), 1, true), moment(30));
        assert_eq!(ledger.sums().waited, expected.waited);
        ledger.add_at(&profile((0, SECOND), 1, false), moment(40));
        assert_eq!(ledger.sums().waited, None);
    }

    /// Checks that this process's own figures can be read.
    #[test]
    fn moments() {
        let moment = Moment::now().expect("/proc");
        assert!(moment.own_threads >= 1 && moment.busy > 0, "{moment:?}");
    }
}
