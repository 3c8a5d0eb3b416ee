//! The tally tables, mapped into our memory and read without a system call.
//!
//! A cell is given back when its workload is gone, in three steps: the kernel half
//! finds it no more ([`Cells::take_away`]); a grace period later nobody can be adding
//! to it ([`Grace`](super::grace::Grace)); then what it held is [`Settled`] and it is
//! free ([`Cells::give_back`]). [`Cells::read`] counts it all the time.

mod settled;
mod table;
mod tallies;

use std::collections::HashMap;

use anyhow::Result;
use observer_common::histogram::BUCKETS;
use observer_common::names::maps;
use observer_common::tally::{CounterCell, HistogramCell, Key};
use observer_common::workload::WorkloadId;

use super::Kernel;
pub use settled::Settled;
use table::{Names, Table};
pub use tallies::{CounterTally, HistogramTally, Series, Tallies};

const HISTOGRAMS: Names = Names {
    cells: maps::HISTOGRAMS,
    index: maps::HISTOGRAM_INDEX,
    free: maps::HISTOGRAM_FREE,
};

const COUNTERS: Names = Names {
    cells: maps::COUNTERS,
    index: maps::COUNTER_INDEX,
    free: maps::COUNTER_FREE,
};

/// Both tables.
pub struct Cells {
    histograms: Table<HistogramCell>,
    counters: Table<CounterCell>,
    settled: Settled,
}

/// Cells in use by workload: of histograms, and of counters.
pub type Used = HashMap<WorkloadId, (u64, u64)>;

impl Cells {
    /// Maps both tables.
    ///
    /// # Errors
    /// The kernel half lacks one, or the kernel refuses to map it.
    pub fn map(kernel: &mut Kernel, histogram_cells: u32, counter_cells: u32) -> Result<Self> {
        Ok(Self {
            histograms: Table::map(kernel, HISTOGRAMS, histogram_cells as usize)?,
            counters: Table::map(kernel, COUNTERS, counter_cells as usize)?,
            settled: Settled::default(),
        })
    }

    /// Adds up all cells, also those that were given back. The kernel goes on
    /// counting meanwhile; each number is right as of the moment it was read and
    /// never falls.
    pub fn read(&mut self) -> Tallies {
        let mut tallies = Tallies::default();
        self.histograms.for_each(|key, cell| {
            tallies.histogram_cells += 1;
            let sum = tallies.histograms.entry(key.into()).or_default();
            // SAFETY: `cell` points into the mapping.
            unsafe { add_histogram(sum, cell) };
        });
        self.counters.for_each(|key, cell| {
            tallies.counter_cells += 1;
            // SAFETY: as above.
            let counter = unsafe { counter(cell) };
            tallies.counters.entry(key.into()).or_default().add(counter);
        });
        self.settled.add_to(&mut tallies);
        tallies
    }

    /// Takes the cells of workloads that are gone away from the kernel half, and
    /// says how many each of the others uses.
    ///
    /// # Errors
    /// The kernel refuses to change the index; what was taken away until then is.
    pub fn take_away(
        &mut self,
        kernel: &mut Kernel,
        is_gone: impl Fn(WorkloadId) -> bool,
    ) -> Result<Used> {
        let whose = |key: Key| is_gone(key.workload());
        let mut used = Used::new();
        self.histograms.take_away(kernel, whose, |key| {
            used.entry(key.workload()).or_default().0 += 1;
        })?;
        self.counters.take_away(kernel, whose, |key| {
            used.entry(key.workload()).or_default().1 += 1;
        })?;
        Ok(used)
    }

    /// Makes the cells free that were taken away; a grace period must be over
    /// since.
    ///
    /// # Errors
    /// The kernel refuses; those that weren't reached stay where they are.
    pub fn give_back(&mut self, kernel: &mut Kernel) -> Result<()> {
        let settled = &mut self.settled;
        self.histograms.give_back(kernel, |key, cell| {
            let mut tally = HistogramTally::default();
            // SAFETY: `cell` points into the mapping.
            unsafe { add_histogram(&mut tally, cell) };
            settled.histogram(key.into(), &tally);
        })?;
        self.counters.give_back(kernel, |key, cell| {
            // SAFETY: as above.
            settled.counter(key.into(), unsafe { counter(cell) });
        })
    }

    /// What cells held that were given back.
    pub fn settled(&mut self) -> &mut Settled {
        &mut self.settled
    }
}

/// Adds what a cell holds.
///
/// # Safety
/// It must point into the mapping, which the kernel half may be writing: each word
/// is read once, volatile.
unsafe fn add_histogram(sum: &mut HistogramTally, cell: *const HistogramCell) {
    // SAFETY: the caller's promise.
    unsafe {
        sum.since = sum.since.min((&raw const (*cell).since).read_volatile());
        sum.sum += (&raw const (*cell).sum).read_volatile();
        sum.zero += (&raw const (*cell).zero).read_volatile();
        let buckets = (&raw const (*cell).buckets).cast::<u64>();
        let mut counts = [0; BUCKETS];
        for (i, to) in counts.iter_mut().enumerate() {
            *to = buckets.add(i).read_volatile();
        }
        sum.add_buckets(0, &counts);
    }
}

/// What a cell holds.
///
/// # Safety
/// See [`add_histogram`].
unsafe fn counter(cell: *const CounterCell) -> CounterTally {
    // SAFETY: the caller's promise.
    unsafe {
        CounterTally {
            since: (&raw const (*cell).since).read_volatile(),
            value: (&raw const (*cell).value).read_volatile(),
        }
    }
}
