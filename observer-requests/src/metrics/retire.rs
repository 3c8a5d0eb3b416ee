//! Workloads that are over: their series go, or go on as another's.

use observer_common::workload::WorkloadId;

use super::{Metrics, Series, Times};

/// An index that a series had, and what became of it.
type Moves = Vec<Option<u32>>;

impl Metrics {
    /// A workload is over. Its series go on as those of `heir`, one that is over,
    /// too, or itself; without an heir they are forgotten.
    pub fn retire(&mut self, gone: WorkloadId, heir: Option<WorkloadId>) {
        self.active.retain(|(workload, ..), _| *workload != gone);
        // Nobody looks for them any more.
        self.index.retain(|key, _| key.workload != gone);
        self.groups.retain(|(workload, _), _| *workload != gone);
        if heir == Some(gone) || !self.series.iter().any(|one| one.workload == gone) {
            return;
        }
        let times = move_all(&mut self.times, gone, heir);
        for series in &mut self.series {
            let moved = series.times.checked_sub(1).and_then(|at| moved(&times, at));
            series.times = moved.map_or(0, |at| at + 1);
        }
        let kept = move_all(&mut self.series, gone, heir);
        for at in self.index.values_mut() {
            *at = moved(&kept, *at).unwrap_or(u32::MAX);
        }
        for group in self.groups.values_mut() {
            group.overflow = group.overflow.and_then(|at| moved(&kept, at));
        }
    }
}

fn moved(moves: &Moves, at: u32) -> Option<u32> {
    moves.get(at as usize).copied().flatten()
}

/// What belongs to a workload and may be added to its equal of another.
trait Owned {
    fn owner(&mut self) -> &mut WorkloadId;
    fn is_equal(&self, other: &Self) -> bool;
    fn merge(&mut self, other: Self);
}

/// Moves what is one workload's to another, or drops it; says where each went.
fn move_all<T: Owned>(all: &mut Vec<T>, gone: WorkloadId, heir: Option<WorkloadId>) -> Moves {
    let mut moves = vec![None; all.len()];
    let (mut stay, mut go) = (Vec::with_capacity(all.len()), Vec::new());
    for (old, mut one) in all.drain(..).enumerate() {
        if *one.owner() == gone {
            go.push((old, one));
            continue;
        }
        if let Some(place) = moves.get_mut(old) {
            *place = Some(stay.len() as u32);
        }
        stay.push(one);
    }
    if let Some(heir) = heir {
        for (old, mut one) in go {
            *one.owner() = heir;
            let same = stay
                .iter_mut()
                .position(|other: &mut T| *other.owner() == heir && other.is_equal(&one));
            let at = same.unwrap_or(stay.len());
            match stay.get_mut(at) {
                Some(other) => other.merge(one),
                None => stay.push(one),
            }
            if let Some(place) = moves.get_mut(old) {
                *place = Some(at as u32);
            }
        }
    }
    *all = stay;
    moves
}

impl Owned for Series {
    fn owner(&mut self) -> &mut WorkloadId {
        &mut self.workload
    }

    fn is_equal(&self, other: &Self) -> bool {
        self.kind == other.kind && self.attributes == other.attributes
    }

    fn merge(&mut self, other: Self) {
        self.since = self.since.min(other.since);
        self.durations.merge(&other.durations);
        if self.times == 0 {
            self.times = other.times;
        }
    }
}

impl Owned for Times {
    fn owner(&mut self) -> &mut WorkloadId {
        &mut self.workload
    }

    fn is_equal(&self, other: &Self) -> bool {
        self.attributes == other.attributes
    }

    fn merge(&mut self, other: Self) {
        self.since = self.since.min(other.since);
        for (durations, others) in self.parts.iter_mut().zip(&other.parts) {
            durations.merge(others);
        }
    }
}
