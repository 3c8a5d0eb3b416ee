//! What all CPUs counted together.

use std::collections::HashMap;

use observer_common::histogram::{BUCKETS, OFFSET, SCALE, ZERO_MAX_NS};
use observer_common::tally::{Key, Kind};
use observer_common::workload::{FOLDED, WorkloadId};
use observer_signals::Histogram;

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

/// A histogram over all CPUs.
#[derive(Clone, Debug)]
pub struct HistogramTally {
    /// Kernel time of the first event.
    pub since: u64,
    /// Sum in nanoseconds.
    pub sum: u64,
    /// The zero bucket.
    pub zero: u64,
    /// Values in each bucket of the exponential histogram.
    pub buckets: [u64; BUCKETS],
}

impl HistogramTally {
    /// As a signal: seconds, trimmed of empty buckets at both ends.
    pub fn to_histogram(&self) -> Histogram {
        let mut used = self.buckets.as_slice();
        while let [rest @ .., 0] = used {
            used = rest;
        }
        let mut first = 0;
        while let [0, rest @ ..] = used {
            used = rest;
            first += 1;
        }
        Histogram {
            scale: SCALE as i32,
            zero_count: self.zero,
            // The first bucket's lower bound: everything below is "zero".
            zero_threshold: f64::from(OFFSET >> SCALE).exp2(),
            offset: OFFSET + first,
            buckets: used.to_vec(),
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

/// Everything counted so far.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Histograms by series.
    pub histograms: HashMap<Series, HistogramTally>,
    /// Counters by series.
    pub counters: HashMap<Series, CounterTally>,
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
