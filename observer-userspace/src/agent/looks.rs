//! Which processes are to be looked at, and when: pure. Who looks is
//! [`super::programs`].
//!
//! A process is left alone for a moment: most that are new end before that, and one in
//! the middle of exec doesn't know yet who it is. Later it is looked at once more: it may
//! have said who it is only when it had begun (a title, a published context).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use observer_common::workload::{ProgramId, WorkloadId, WorkloadKey};

/// After so long a new process is looked at.
const FIRST: Duration = Duration::from_millis(20);

/// After so long it is looked at again.
const AGAIN: Duration = Duration::from_secs(2);

/// So many may wait for either; others are what their names say, and counted.
const MOST: usize = 8192;

/// So many are looked at in one go.
const AT_ONCE: usize = 64;

/// The pause after it, where more wait.
const PAUSE: Duration = Duration::from_millis(5);

/// A process to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Its id.
    pub process: u32,
    /// The workload that it was of when it was new; not known of one that is older than
    /// the daemon.
    pub of: Option<(WorkloadKey, WorkloadId)>,
    /// What it is known to run.
    pub given: Option<ProgramId>,
    /// For the second time.
    pub is_again: bool,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Looks {
    first: VecDeque<(Instant, Look)>,
    again: VecDeque<(Instant, Look)>,
    /// Not before then, since many were looked at just now.
    pause: Option<Instant>,
    overlooked: u64,
}

impl Looks {
    /// One that is new, to be looked at soon.
    pub(super) fn first(&mut self, look: Look, now: Instant) {
        // One that forks and then runs another program is told of twice.
        let is_last = |(_, last): &(Instant, Look)| last.process == look.process;
        if self.first.back().is_some_and(is_last) {
            self.first.pop_back();
        }
        if self.first.len() < MOST {
            self.first.push_back((now + FIRST, look));
        } else {
            self.overlooked += 1;
        }
    }

    /// One that was looked at, to be looked at once more.
    pub(super) fn again(&mut self, look: Look, now: Instant) {
        if look.is_again {
            return;
        }
        if self.again.len() >= MOST {
            self.overlooked += 1;
            return;
        }
        let again = Look {
            is_again: true,
            ..look
        };
        self.again.push_back((now + AGAIN, again));
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let fronts = [self.first.front(), self.again.front()];
        let next = fronts.into_iter().flatten().map(|(due, _)| *due).min();
        next.map(|next| self.pause.map_or(next, |pause| next.max(pause)))
    }

    /// Those that are due.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Look> {
        let mut taken = Vec::new();
        for queue in [&mut self.first, &mut self.again] {
            while taken.len() < AT_ONCE
                && let Some((_, look)) = queue.pop_front_if(|(due, _)| *due <= now)
            {
                taken.push(look);
            }
        }
        self.pause = (taken.len() >= AT_ONCE).then(|| now + PAUSE);
        taken
    }

    /// Whether a process waits for either.
    pub(super) fn has(&self, process: u32) -> bool {
        let mut all = self.first.iter().chain(&self.again);
        all.any(|(_, look)| look.process == process)
    }

    /// Whether all that were noted until then were looked at.
    pub(super) fn is_done_until(&self, time: Instant) -> bool {
        let next = self.first.front();
        next.is_none_or(|(due, _)| *due > time + FIRST)
    }

    /// Processes that were not looked at, since too many were new.
    pub(super) fn overlooked(&self) -> u64 {
        self.overlooked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(process: u32) -> Look {
        Look {
            process,
            of: None,
            given: None,
            is_again: false,
        }
    }

    /// Checks that a process is looked at twice, not before its time, and that too many
    /// are counted instead of kept.
    #[test]
    fn each_has_its_time() {
        let now = Instant::now();
        let mut looks = Looks::default();
        assert_eq!(looks.due(), None);
        looks.first(look(1), now);
        looks.first(look(1), now);
        assert_eq!(looks.due(), Some(now + FIRST));
        assert!(looks.has(1) && !looks.has(2));
        assert_eq!(looks.take(now), []);
        let first = looks.take(now + FIRST);
        assert_eq!(first, [look(1)]);
        looks.again(look(1), now + FIRST);
        let again = looks.take(now + FIRST + AGAIN);
        assert!(again.iter().all(|look| look.is_again) && again.len() == 1);
        again.iter().for_each(|look| looks.again(*look, now));
        assert_eq!(looks.due(), None, "no third time");
        for process in 0..u32::try_from(MOST).expect("small") + 3 {
            looks.first(look(process), now);
        }
        assert_eq!(looks.overlooked(), 3);
        assert_eq!(looks.take(now + FIRST).len(), AT_ONCE);
        assert_eq!(looks.due(), Some(now + FIRST + PAUSE));
    }
}
