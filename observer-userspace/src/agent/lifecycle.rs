//! Which workloads are over: the stages through which each goes. Pure: who asks the
//! kernel is [`super::retire`].
//!
//! ```text
//! listed ──► unlisted ──► taken away ──► settled ──► gone
//!      (no thread) (still none) (grace period) (exported to all)
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use observer_common::workload::{OTHER, WorkloadId};

use crate::kernel::workload_ids::Listed;

/// So long a workload without threads may count nothing before it is over, where the
/// tables have room: a job that comes again each minute stays one.
const IDLE: Duration = Duration::from_secs(90);

/// What becomes of workloads.
#[derive(Debug, Default)]
pub struct Lifecycle {
    listed: HashMap<WorkloadId, Known>,
    leaving: BTreeMap<WorkloadId, Leaving>,
    /// Of which figures were exported at the last tick, before they were learnt of.
    unlearned: HashSet<WorkloadId>,
    /// Sweeps so far.
    sweeps: u64,
}

/// A workload in the kernel half's table.
#[derive(Debug)]
struct Known {
    listed: Listed,
    /// What it counted, as one number, and since when that is so.
    counted: u64,
    idle_since: Instant,
    /// Figures of it may have been exported.
    exported: bool,
}

/// A workload that isn't there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaving {
    stage: Stage,
    /// Whose share it takes; of one that is late nobody knows.
    tenant: Option<u32>,
    /// It was nobody's when its figures came.
    late: bool,
    /// See [`Known::exported`].
    exported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The kernel half gives its id to nobody any more, as of this sweep.
    Unlisted(u64),
    /// Its cells are being taken away.
    TakenAway,
    /// It has no cell any more, since then.
    Settled(Instant),
}

impl Lifecycle {
    /// Learns of a workload that is in the kernel half's table.
    pub fn learn(&mut self, listed: Listed, now: Instant) {
        if listed.id == OTHER || self.leaving.contains_key(&listed.id) {
            return;
        }
        let unlearned = &mut self.unlearned;
        let known = self.listed.entry(listed.id).or_insert_with(|| Known {
            listed,
            counted: 0,
            idle_since: now,
            exported: unlearned.remove(&listed.id),
        });
        // It may have become a program's.
        known.listed = listed;
    }

    /// A workload was taken out of the table, though it has threads.
    pub fn unlisted(&mut self, listed: Listed) {
        let known = self.listed.remove(&listed.id);
        let unlearned = self.unlearned.remove(&listed.id);
        let leaving = Leaving {
            stage: Stage::Unlisted(self.sweeps),
            tenant: Some(listed.tenant),
            late: false,
            exported: known.map_or(unlearned, |known| known.exported),
        };
        self.leaving.entry(listed.id).or_insert(leaving);
    }

    /// Whether it is known, in whatever stage.
    pub fn knows(&self, id: WorkloadId) -> bool {
        id == OTHER || self.listed.contains_key(&id) || self.leaving.contains_key(&id)
    }

    /// A workload as the kernel half's table has it.
    pub fn listed(&self, id: WorkloadId) -> Option<&Listed> {
        Some(&self.listed.get(&id)?.listed)
    }

    /// Whose share of the tables it takes.
    pub fn tenant(&self, id: WorkloadId) -> Option<u32> {
        let listed = self.listed.get(&id).map(|known| known.listed.tenant);
        listed.or_else(|| self.leaving.get(&id)?.tenant)
    }

    /// Something was counted for a workload that isn't known any more, or never
    /// was: those cells are given back, too.
    pub fn late(&mut self, id: WorkloadId) {
        if !self.knows(id) {
            let stage = Stage::Unlisted(self.sweeps);
            let leaving = Leaving {
                stage,
                tenant: None,
                late: true,
                exported: true,
            };
            self.leaving.insert(id, leaving);
        }
    }

    /// At a tick: what each workload counted so far, as one number; all of it is
    /// exported.
    pub fn counted<S: BuildHasher>(&mut self, counted: &HashMap<WorkloadId, u64, S>, now: Instant) {
        for leaving in self.leaving.values_mut() {
            leaving.exported = true;
        }
        for (id, known) in &mut self.listed {
            known.exported = true;
            let count = counted.get(id).copied().unwrap_or(0);
            if count != known.counted {
                known.counted = count;
                known.idle_since = now;
            }
        }
        // New since the last sweep, and in the batch all the same.
        let ids = counted.keys().copied();
        self.unlearned = ids.filter(|id| !self.knows(*id)).collect();
    }

    /// A sweep: `held` have threads. Returns those that are to be taken out of the
    /// table; with `pressed`, all without threads, else those that were idle for long.
    /// One that just got its first thread, unseen, keeps its id: it is only given to
    /// no other.
    pub fn unlist(
        &mut self,
        held: &HashSet<WorkloadId>,
        pressed: bool,
        now: Instant,
    ) -> Vec<Listed> {
        self.sweeps += 1;
        let is_over = |id: &WorkloadId, known: &mut Known| {
            let idle = now.saturating_duration_since(known.idle_since);
            !held.contains(id) && (pressed || idle >= IDLE)
        };
        let over = self.listed.extract_if(is_over).map(|(id, known)| {
            let leaving = Leaving {
                stage: Stage::Unlisted(self.sweeps),
                tenant: Some(known.listed.tenant),
                late: false,
                exported: known.exported,
            };
            self.leaving.insert(id, leaving);
            known.listed
        });
        over.collect()
    }

    /// After [`Self::unlist`]: those that were out of the table at the sweep before
    /// and still have no thread. A program that found one in the table just before
    /// has given it to a thread by now.
    pub fn take_away(&mut self, held: &HashSet<WorkloadId>) -> HashSet<WorkloadId> {
        let sweeps = self.sweeps;
        let mut taken = HashSet::new();
        for (id, leaving) in &mut self.leaving {
            if matches!(leaving.stage, Stage::Unlisted(at) if at < sweeps) && !held.contains(id) {
                leaving.stage = Stage::TakenAway;
                taken.insert(*id);
            }
        }
        taken
    }

    /// The cells that were taken away are others' now; returns whose late ones were
    /// among them. Those are forgotten: what they counted is `other`'s.
    pub fn settle(&mut self, now: Instant) -> Vec<WorkloadId> {
        for leaving in self.leaving.values_mut() {
            if leaving.stage == Stage::TakenAway {
                leaving.stage = Stage::Settled(now);
            }
        }
        let is_late = |_: &WorkloadId, leaving: &mut Leaving| {
            leaving.late && matches!(leaving.stage, Stage::Settled(_))
        };
        let late = self.leaving.extract_if(.., is_late);
        late.map(|(id, _)| id).collect()
    }

    /// Those without cells, oldest first, with since when that is so.
    pub fn settled(&self) -> Vec<(WorkloadId, Instant)> {
        let settled = self.leaving.iter().filter_map(|(id, leaving)| {
            let Stage::Settled(at) = leaving.stage else {
                return None;
            };
            Some((*id, at))
        });
        settled.collect()
    }

    /// Those of them, oldest first, of which nothing was exported yet and that are more
    /// than there is `room` for: of tenants that have more than an equal part of it.
    pub fn surplus(&self, room: usize) -> Vec<WorkloadId> {
        let is_waiting =
            |leaving: &Leaving| matches!(leaving.stage, Stage::Settled(_)) && !leaving.exported;
        let waiting = || self.leaving.iter().filter(|(_, it)| is_waiting(it));
        let mut tenants: HashMap<Option<u32>, usize> = HashMap::new();
        waiting().for_each(|(_, it)| *tenants.entry(it.tenant).or_default() += 1);
        let too_many = tenants.values().sum::<usize>().saturating_sub(room);
        let part = room / tenants.len().max(1);
        let has_more = |(_, it): &(&WorkloadId, &Leaving)| {
            let its = tenants.entry(it.tenant).or_default();
            let has_more = *its > part;
            *its -= usize::from(has_more);
            has_more
        };
        let surplus = waiting().filter(has_more).take(too_many);
        surplus.map(|(id, _)| *id).collect()
    }

    /// Forgets one that is settled.
    pub fn forget(&mut self, id: WorkloadId) {
        self.leaving.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use observer_common::workload::WorkloadKey;

    use super::*;

    fn listed(id: u32) -> Listed {
        Listed {
            key: WorkloadKey {
                cgroup_v2: id.into(),
                ..WorkloadKey::default()
            },
            id: WorkloadId(id),
            tenant: id,
        }
    }

    fn held(ids: &[u32]) -> HashSet<WorkloadId> {
        ids.iter().copied().map(WorkloadId).collect()
    }

    /// Checks each stage of one that ends under pressure, and that one that is seen
    /// again with a thread stays until it has none.
    #[test]
    fn stages() {
        let now = Instant::now();
        let mut life = Lifecycle::default();
        for id in 1..=3 {
            life.learn(listed(id), now);
        }
        life.learn(listed(0), now);
        life.learn(listed(4), now);
        let mut over = life.unlist(&held(&[1, 4]), true, now);
        over.sort_by_key(|one| one.id);
        assert_eq!(over, [listed(2), listed(3)]);
        let is_listed = |id| life.listed.contains_key(&WorkloadId(id));
        assert!(is_listed(1) && is_listed(4) && !is_listed(2));
        assert!(life.knows(WorkloadId(2)));
        assert!(life.take_away(&held(&[1, 4])).is_empty(), "just unlisted");
        // A thread got 3 in the last moment.
        life.unlist(&held(&[1, 3, 4]), true, now);
        assert_eq!(life.take_away(&held(&[1, 3, 4])), held(&[2]));
        assert_eq!(life.settled(), []);
        assert_eq!(life.settle(now), []);
        assert_eq!(life.settled(), [(WorkloadId(2), now)]);
        life.forget(WorkloadId(2));
        assert!(!life.knows(WorkloadId(2)));
        // It ends.
        life.unlist(&held(&[1, 4]), true, now);
        assert_eq!(life.take_away(&held(&[1, 4])), held(&[3]));
    }

    /// Checks that without pressure a workload stays as long as it counts something,
    /// and a while longer.
    #[test]
    fn idle_ones_stay_a_while() {
        let now = Instant::now();
        let mut life = Lifecycle::default();
        life.learn(listed(1), now);
        life.unlist(&held(&[]), false, now);
        let later = now + IDLE - Duration::from_secs(1);
        assert_eq!(life.unlist(&held(&[]), false, later), []);
        life.counted(&HashMap::from([(WorkloadId(1), 7)]), later);
        life.counted(&HashMap::from([(WorkloadId(1), 7)]), later + IDLE / 2);
        assert_eq!(life.unlist(&held(&[]), false, now + IDLE), []);
        let idle = life.unlist(&held(&[]), false, later + IDLE);
        assert_eq!(idle, [listed(1)]);
    }

    /// Checks that one whose figures were exported before a sweep saw it isn't taken for
    /// one that nobody was told of.
    #[test]
    fn exported_before_it_was_learnt_of() {
        let now = Instant::now();
        let mut life = Lifecycle::default();
        life.learn(listed(1), now);
        life.counted(&HashMap::from([(WorkloadId(2), 7)]), now);
        for id in 2..=3 {
            life.learn(listed(id), now);
        }
        life.counted(&HashMap::from([(WorkloadId(4), 7)]), now);
        life.unlisted(listed(4));
        life.learn(listed(5), now);
        life.unlist(&held(&[]), true, now);
        life.unlist(&held(&[]), true, now);
        life.take_away(&held(&[]));
        life.settle(now);
        assert_eq!(life.settled().len(), 5);
        assert_eq!(life.surplus(0), [WorkloadId(5)]);
    }

    /// Checks that where more wait for being exported than there is room for, it is the
    /// oldest of those who have most, and just as many as are too many.
    #[test]
    fn who_has_most_makes_room() {
        let now = Instant::now();
        let mut life = Lifecycle::default();
        for id in 1..=20 {
            let tenant = if id == 3 || id == 4 { 1 } else { 0 };
            life.learn(
                Listed {
                    tenant,
                    ..listed(id)
                },
                now,
            );
        }
        life.unlist(&held(&[]), true, now);
        life.unlist(&held(&[]), true, now);
        life.take_away(&held(&[]));
        life.settle(now);
        assert_eq!(life.surplus(20), []);
        assert_eq!(life.surplus(16), [1, 2, 5, 6].map(WorkloadId));
        // Each has a half.
        let few = life.surplus(2);
        assert_eq!(few.len(), 18);
        assert!(few.contains(&WorkloadId(3)) && !few.contains(&WorkloadId(4)));
    }

    /// Checks that cells of one that nobody knows are given back and are `other`'s.
    #[test]
    fn late_figures_are_others() {
        let now = Instant::now();
        let mut life = Lifecycle::default();
        life.late(OTHER);
        life.late(WorkloadId(9));
        life.unlist(&held(&[]), false, now);
        assert_eq!(life.take_away(&held(&[])), held(&[9]));
        assert_eq!(life.settle(now), [WorkloadId(9)]);
        assert!(life.settled().is_empty() && !life.knows(WorkloadId(9)));
    }
}
