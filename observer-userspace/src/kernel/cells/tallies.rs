//! What all CPUs counted together.

use observer_common::histogram::{OFFSET, SCALE, ZERO_MAX_NS};
use observer_common::tally::{Key, Kind};
use observer_common::workload::{FOLDED, WorkloadId};
use observer_signals::Histogram;
use rustc_hash::FxHashMap;

/// Which series of all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// [`observer_common::tally::Kind`] as a number.
    pub kind: u8,
    /// Number of the workload.
    pub workload: WorkloadId,
    /// What tells series of a kind apart.
    pub label: u64,
}

impl From<Key> for Series {
    fn from(key: Key) -> Self {
        Self {
            kind: key.kind(),
            workload: key.workload(),
            label: key.label,
        }
    }
}

/// A histogram over all CPUs. Of its buckets only those from the first to the last that
/// is in use are kept: there may be a hundred thousand series, and most are of a few.
#[derive(Clone, Debug)]
pub struct HistogramTally {
    /// Kernel time of the first event.
    pub since: u64,
    /// Sum in nanoseconds.
    pub sum: u64,
    /// The zero bucket.
    pub zero: u64,
    /// Which bucket of the exponential histogram `buckets` begins with.
    first: usize,
    buckets: Box<[u64]>,
}

impl Default for HistogramTally {
    /// Nothing counted yet.
    fn default() -> Self {
        Self {
            since: u64::MAX,
            sum: 0,
            zero: 0,
            first: 0,
            buckets: Box::default(),
        }
    }
}

impl HistogramTally {
    /// Adds what others counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        self.sum += other.sum;
        self.zero += other.zero;
        self.add_buckets(other.first, &other.buckets);
    }

    /// Adds to the buckets from `first` on.
    pub(super) fn add_buckets(&mut self, first: usize, counts: &[u64]) {
        let Some(leading) = counts.iter().position(|count| *count != 0) else {
            return;
        };
        let end = counts.iter().rposition(|count| *count != 0).unwrap_or(0) + 1;
        let counts = counts.get(leading..end).unwrap_or_default();
        let first = first + leading;
        self.widen(first, first + counts.len());
        let to = self.buckets.iter_mut().skip(first - self.first);
        to.zip(counts).for_each(|(to, from)| *to += from);
    }

    /// Has it keep at least these buckets.
    fn widen(&mut self, first: usize, end: usize) {
        let its_end = self.first + self.buckets.len();
        let (first, end) = match self.buckets.is_empty() {
            true => (first, end),
            false => (first.min(self.first), end.max(its_end)),
        };
        if end - first == self.buckets.len() {
            return;
        }
        let mut wider = vec![0; end - first];
        let to = wider.iter_mut().skip(self.first.saturating_sub(first));
        to.zip(&self.buckets).for_each(|(to, from)| *to = *from);
        (self.first, self.buckets) = (first, wider.into());
    }

    /// As a signal, in seconds.
    pub fn to_histogram(&self) -> Histogram {
        Histogram {
            scale: SCALE as i32,
            zero_count: self.zero,
            // The first bucket's lower bound: everything below is "zero".
            zero_threshold: f64::from(OFFSET >> SCALE).exp2(),
            offset: OFFSET.saturating_add(i32::try_from(self.first).unwrap_or(i32::MAX)),
            buckets: self.buckets.to_vec(),
            sum: self.sum as f64 / 1e9,
        }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.zero + self.buckets.iter().sum::<u64>()
    }
}

const _: () = assert!(ZERO_MAX_NS == 7, "2^-27 s is 7.45 ns");

/// A counter over all CPUs.
#[derive(Clone, Copy, Debug)]
pub struct CounterTally {
    /// Kernel time of the first event.
    pub since: u64,
    /// The count.
    pub value: u64,
}

impl Default for CounterTally {
    /// Nothing counted yet.
    fn default() -> Self {
        Self {
            since: u64::MAX,
            value: 0,
        }
    }
}

impl CounterTally {
    /// Adds what others counted.
    pub(super) fn add(&mut self, other: Self) {
        self.since = self.since.min(other.since);
        self.value += other.value;
    }
}

/// Everything counted so far.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Histograms by series.
    pub histograms: FxHashMap<Series, HistogramTally>,
    /// Counters by series.
    pub counters: FxHashMap<Series, CounterTally>,
    /// Cells in use, for the fill gauges.
    pub histogram_cells: usize,
    /// See `histogram_cells`.
    pub counter_cells: usize,
}

impl Tallies {
    /// Takes out again what [`Settled::add_ended_to`](super::settled::Settled::add_ended_to)
    /// added.
    pub fn without_ended(&mut self) {
        self.histograms
            .retain(|series, _| series.workload != FOLDED);
        self.counters.retain(|series, _| series.workload != FOLDED);
    }

    /// Sum of a kind's counters.
    pub fn sum(&self, kind: Kind) -> u64 {
        self.sum_where(kind, |_| true)
    }

    /// Sum of a kind's counters whose label is one of these.
    pub fn sum_where(&self, kind: Kind, is_one: impl Fn(u64) -> bool) -> u64 {
        let counters = self.counters.iter();
        let chosen = counters.filter(|(series, _)| series.kind == kind as u8);
        let chosen = chosen.filter(|(series, _)| is_one(series.label));
        chosen.map(|(_, tally)| tally.value).sum()
    }
}

#[cfg(test)]
mod tests {
    use observer_common::histogram::BUCKETS;

    use super::*;

    /// Checks sums against all buckets kept whole, in whatever order and place they come,
    /// and that no more of them are kept than are in use.
    #[test]
    fn buckets_add_up_wherever_they_lie() {
        let (mut tally, mut whole) = (HistogramTally::default(), [0; BUCKETS]);
        for (first, counts) in [
            (7, vec![0, 0]),
            (90, vec![0, 3, 0, 5, 0]),
            (92, vec![1]),
            (60, vec![2]),
            (100, vec![4, 4, 0]),
            (0, vec![9]),
            (BUCKETS - 1, vec![1]),
        ] {
            let mut other = HistogramTally::default();
            other.add_buckets(first, &counts);
            tally.add(&other);
            for (to, from) in whole.iter_mut().skip(first).zip(&counts) {
                *to += from;
            }
            let histogram = tally.to_histogram();
            let first = usize::try_from(histogram.offset - OFFSET).expect("a bucket");
            let used = |count: &u64| *count != 0;
            let mut kept = [0; BUCKETS];
            kept[first..first + histogram.buckets.len()].copy_from_slice(&histogram.buckets);
            assert_eq!(kept, whole);
            assert_eq!(tally.count(), whole.iter().sum::<u64>());
            assert!(histogram.buckets.first().is_none_or(used));
            assert!(histogram.buckets.last().is_none_or(used));
        }
    }
}
