//! Whether processes are still under the name of what they run: a few of all are looked
//! at again after each sweep. Pure: who looks is [`super::programs`].
//!
//! What a process runs is found out once, when it is new. An announcement that was lost, a
//! look that came too early, or a name that it gave itself later would stay for as long as
//! it lives, and nobody would notice.

use observer_common::workload::WorkloadId;

/// So many are looked at after a sweep. Each takes a third of a millisecond; of a few
/// hundred processes, each is looked at every few minutes.
const AT_ONCE: usize = 8;

/// Goes through all processes.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// The last one that was looked at.
    last: u32,
    /// Those of the present sweep that are left.
    chosen: Vec<(u32, WorkloadId)>,
    corrected: u64,
}

impl Audit {
    /// Chooses the next ones of all processes, by their ids, each with the workload that
    /// it is charged to.
    pub(super) fn choose(&mut self, mut all: Vec<(u32, WorkloadId)>) {
        all.sort_unstable_by_key(|(process, _)| *process);
        let behind = all.partition_point(|(process, _)| *process <= self.last);
        all.rotate_left(behind);
        all.truncate(AT_ONCE);
        if let Some((last, _)) = all.last() {
            self.last = *last;
        }
        self.chosen = all;
    }

    /// Those that were chosen.
    pub(super) fn take(&mut self) -> Vec<(u32, WorkloadId)> {
        std::mem::take(&mut self.chosen)
    }

    /// A process was under another name.
    pub(super) fn correct(&mut self) {
        self.corrected += 1;
    }

    /// How many were under another name.
    pub(super) fn corrected(&self) -> u64 {
        self.corrected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each process has its turn, whoever comes and goes meanwhile.
    #[test]
    fn each_has_its_turn() {
        let mut audit = Audit::default();
        let all = |ids: std::ops::Range<u32>| ids.map(|id| (id, WorkloadId(1))).collect();
        let mut turn = |ids| {
            audit.choose(all(ids));
            let taken = audit.take();
            taken.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        };
        assert_eq!(turn(1..21), (1..9).collect::<Vec<_>>());
        // Some of those that follow are gone.
        assert_eq!(turn(12..21), (12..20).collect::<Vec<_>>());
        assert_eq!(turn(1..21), [20, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(turn(3..5), [3, 4]);
        assert!(turn(0..0).is_empty());
    }
}
