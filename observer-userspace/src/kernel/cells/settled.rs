//! What cells held that were given back: kept small, as there may be many.

use std::collections::HashMap;

use observer_common::histogram::BUCKETS;
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

#[derive(Debug, Default)]
struct Totals {
    histograms: HashMap<(u8, u64), Trimmed>,
    counters: HashMap<(u8, u64), CounterTally>,
}

/// A [`HistogramTally`] without the empty buckets around the others.
#[derive(Debug)]
struct Trimmed {
    since: u64,
    sum: u64,
    zero: u64,
    first: usize,
    buckets: Box<[u64]>,
}

impl Trimmed {
    fn of(tally: &HistogramTally) -> Self {
        let used = |bucket: &u64| *bucket != 0;
        let first = tally.buckets.iter().position(used).unwrap_or(0);
        let end = tally
            .buckets
            .iter()
            .rposition(used)
            .map_or(first, |i| i + 1);
        Self {
            since: tally.since,
            sum: tally.sum,
            zero: tally.zero,
            first,
            buckets: tally.buckets.get(first..end).unwrap_or_default().into(),
        }
    }

    fn add_to(&self, tally: &mut HistogramTally) {
        tally.since = tally.since.min(self.since);
        tally.sum += self.sum;
        tally.zero += self.zero;
        for (to, from) in tally.buckets.iter_mut().skip(self.first).zip(&self.buckets) {
            *to += from;
        }
    }
}

/// Nothing counted yet.
pub(super) fn empty() -> HistogramTally {
    HistogramTally {
        since: u64::MAX,
        sum: 0,
        zero: 0,
        buckets: [0; BUCKETS],
    }
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
        for (key, trimmed) in &self.histograms {
            let tally = tallies.histograms.entry(series(*key)).or_insert_with(empty);
            trimmed.add_to(tally);
        }
        for (key, counter) in &self.counters {
            let nothing = CounterTally {
                since: u64::MAX,
                value: 0,
            };
            let tally = tallies.counters.entry(series(*key)).or_insert(nothing);
            tally.since = tally.since.min(counter.since);
            tally.value += counter.value;
        }
    }

    fn add(&mut self, others: Self) {
        for (key, trimmed) in others.histograms {
            let mut tally = empty();
            trimmed.add_to(&mut tally);
            self.add_histogram(key, &tally);
        }
        for (key, tally) in others.counters {
            self.add_counter(key, tally);
        }
    }

    fn add_histogram(&mut self, key: (u8, u64), tally: &HistogramTally) {
        let known = self.histograms.get(&key);
        let trimmed = match known {
            None => Trimmed::of(tally),
            Some(known) => {
                let mut sum = tally.clone();
                known.add_to(&mut sum);
                Trimmed::of(&sum)
            }
        };
        self.histograms.insert(key, trimmed);
    }

    fn add_counter(&mut self, key: (u8, u64), tally: CounterTally) {
        let known = self.counters.entry(key).or_insert(CounterTally {
            since: u64::MAX,
            value: 0,
        });
        known.since = known.since.min(tally.since);
        known.value += tally.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(workload: u32, label: u64) -> Series {
        Series {
            kind: 1,
            workload: WorkloadId(workload),
            label,
        }
    }

    fn tally(since: u64, at: usize, n: u64) -> HistogramTally {
        let mut tally = empty();
        tally.since = since;
        tally.sum = n * 100;
        tally.zero = 1;
        tally.buckets[at] = n;
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
        let found = [0, 3, BUCKETS - 1].map(|at| all.buckets[at]);
        assert_eq!(found, [5, 110, 1]);
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
