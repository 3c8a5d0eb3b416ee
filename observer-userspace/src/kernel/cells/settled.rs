//! What cells held that were given back: kept small, as there may be many.

use std::collections::HashMap;

use observer_common::workload::{FOLDED, WorkloadId};

use super::tallies::{CounterTally, HistogramTally, Series, Tallies};

/// Totals of series whose cells belong to others by now.
#[derive(Debug, Default)]
pub struct Settled {
    workloads: HashMap<WorkloadId, Totals>,
    /// Of those whose series have ended, together: nobody is told of it any more, but
    /// whoever compares sums with the kernel's has to add it.
    ended: Totals,
}

/// Of one workload, by kind and label, in order: most have a few dozens, of which a table
/// each would cost more than they do.
#[derive(Debug, Default)]
struct Totals {
    histograms: Vec<((u8, u64), HistogramTally)>,
    counters: Vec<((u8, u64), CounterTally)>,
}

/// What a key has in a list in order of keys.
fn entry<V: Default>(list: &mut Vec<((u8, u64), V)>, key: (u8, u64)) -> Option<&mut V> {
    let at = list.binary_search_by_key(&key, |(its, _)| *its);
    let at = at.unwrap_or_else(|at| {
        list.insert(at, (key, V::default()));
        at
    });
    list.get_mut(at).map(|(_, value)| value)
}

impl Settled {
    /// Adds what a cell held.
    pub(super) fn histogram(&mut self, series: Series, tally: &HistogramTally) {
        let totals = self.workloads.entry(series.workload).or_default();
        totals.add_histogram((series.kind, series.label), tally);
    }

    /// Likewise.
    pub(super) fn counter(&mut self, series: Series, tally: CounterTally) {
        let totals = self.workloads.entry(series.workload).or_default();
        totals.add_counter((series.kind, series.label), tally);
    }

    /// Adds all to `tallies`.
    pub(super) fn add_to(&self, tallies: &mut Tallies) {
        for (workload, totals) in &self.workloads {
            totals.add_to(*workload, tallies);
        }
    }

    /// Adds what the ended counted, as [`FOLDED`]'s, whose nothing else is:
    /// [`Tallies::without_ended`] takes it out again.
    pub fn add_ended_to(&self, tallies: &mut Tallies) {
        self.ended.add_to(FOLDED, tallies);
    }

    /// Charges what belongs to a workload to another from now on.
    pub fn fold(&mut self, from: WorkloadId, into: WorkloadId) {
        let Some(totals) = self.workloads.remove(&from) else {
            return;
        };
        self.workloads.entry(into).or_default().add(totals);
    }

    /// Forgets a workload: its series have ended.
    pub fn forget(&mut self, workload: WorkloadId) {
        if let Some(totals) = self.workloads.remove(&workload) {
            self.ended.add(totals);
        }
    }
}

impl Totals {
    /// Adds all to `tallies` as a workload's.
    fn add_to(&self, workload: WorkloadId, tallies: &mut Tallies) {
        let series = |(kind, label): (u8, u64)| Series {
            kind,
            workload,
            label,
        };
        for (key, tally) in &self.histograms {
            tallies
                .histograms
                .entry(series(*key))
                .or_default()
                .add(tally);
        }
        for (key, tally) in &self.counters {
            tallies
                .counters
                .entry(series(*key))
                .or_default()
                .add(*tally);
        }
    }

    fn add(&mut self, others: Self) {
        for (key, tally) in &others.histograms {
            self.add_histogram(*key, tally);
        }
        for (key, tally) in others.counters {
            self.add_counter(key, tally);
        }
    }

    fn add_histogram(&mut self, key: (u8, u64), tally: &HistogramTally) {
        if let Some(sum) = entry(&mut self.histograms, key) {
            sum.add(tally);
        }
    }

    fn add_counter(&mut self, key: (u8, u64), tally: CounterTally) {
        if let Some(sum) = entry(&mut self.counters, key) {
            sum.add(tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_common::histogram::{BUCKETS, OFFSET};

    use super::*;

    fn series(workload: u32, label: u64) -> Series {
        Series {
            kind: 1,
            workload: WorkloadId(workload),
            label,
        }
    }

    fn tally(since: u64, at: usize, n: u64) -> HistogramTally {
        let mut tally = HistogramTally::default();
        (tally.since, tally.sum, tally.zero) = (since, n * 100, 1);
        tally.add_buckets(at, &[n]);
        tally
    }

    /// Checks that what is settled comes out bucket by bucket, also after it was
    /// added to twice and charged to another workload, on top of what that has.
    #[test]
    fn nothing_is_lost() {
        let mut settled = Settled::default();
        settled.histogram(series(1, 7), &tally(50, 3, 10));
        settled.histogram(series(1, 7), &tally(40, BUCKETS - 1, 1));
        settled.counter(series(1, 8), CounterTally { since: 9, value: 2 });
        settled.histogram(series(2, 7), &tally(60, 0, 5));
        settled.fold(WorkloadId(1), WorkloadId(2));
        let mut tallies = Tallies::default();
        tallies.histograms.insert(series(2, 7), tally(70, 3, 100));
        settled.add_to(&mut tallies);
        let all = &tallies.histograms[&series(2, 7)];
        assert_eq!((all.since, all.sum, all.zero), (40, 11_600, 4));
        assert_eq!(all.count(), 116 + 4);
        let all = all.to_histogram();
        let found = [0, 3, BUCKETS - 1].map(|at| all.buckets[at]);
        assert_eq!((all.offset, found), (OFFSET, [5, 110, 1]));
        assert_eq!(tallies.counters[&series(2, 8)].value, 2);
        assert!(!tallies.histograms.contains_key(&series(1, 7)));
        settled.forget(WorkloadId(2));
        let mut none = Tallies::default();
        settled.add_to(&mut none);
        assert!(none.histograms.is_empty() && none.counters.is_empty());
        // Who compares sums still has them, and nobody else.
        settled.add_ended_to(&mut none);
        assert_eq!(none.counters.values().map(|c| c.value).sum::<u64>(), 2);
        assert_eq!(none.histograms.values().map(|h| h.count()).sum::<u64>(), 19);
        none.without_ended();
        assert!(none.histograms.is_empty() && none.counters.is_empty());
    }
}
