//! The tally tables, mapped into our memory and read without a system call.

use std::collections::HashMap;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use observer_common::histogram::{BUCKETS, OFFSET, SCALE, ZERO_MAX_NS};
use observer_common::names::maps;
use observer_common::plain::Plain;
use observer_common::tally::{CounterCell, HistogramCell, Key, Kind, RESERVED_CELLS};

use super::Kernel;
use super::object::array_fd;
use observer_signals::Histogram;

/// Cells are taken in order (those of the reserve by themselves); this many unused ones in a row are the end. (Two
/// contexts that race for a cell leave a hole.)
const END_AFTER: usize = 256;

/// Which series of all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// [`observer_common::tally::Kind`] as a number.
    pub kind: u8,
    /// Number of the workload.
    pub workload: u16,
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

/// Both tables.
pub struct Cells {
    histograms: Table<HistogramCell>,
    counters: Table<CounterCell>,
}

impl Cells {
    /// Maps both tables.
    ///
    /// # Errors
    /// The kernel half lacks one, or the kernel refuses to map it.
    pub fn map(kernel: &mut Kernel, histogram_cells: u32, counter_cells: u32) -> Result<Self> {
        Ok(Self {
            histograms: Table::map(kernel, maps::HISTOGRAMS, histogram_cells as usize)?,
            counters: Table::map(kernel, maps::COUNTERS, counter_cells as usize)?,
        })
    }

    /// Adds up all cells. The kernel goes on counting meanwhile; each number
    /// is right as of the moment it was read and never falls.
    pub fn read(&self) -> Tallies {
        let mut tallies = Tallies::default();
        self.histograms.for_each(|key, cell| {
            tallies.histogram_cells += 1;
            let sum = tallies
                .histograms
                .entry(key.into())
                .or_insert(HistogramTally {
                    since: u64::MAX,
                    sum: 0,
                    zero: 0,
                    buckets: [0; BUCKETS],
                });
            // SAFETY: `cell` points into the mapping, which the kernel half
            // writes at the same time: each word is read once, volatile.
            unsafe {
                sum.since = sum.since.min((&raw const (*cell).since).read_volatile());
                sum.sum += (&raw const (*cell).sum).read_volatile();
                sum.zero += (&raw const (*cell).zero).read_volatile();
                let buckets = (&raw const (*cell).buckets).cast::<u64>();
                for (i, to) in sum.buckets.iter_mut().enumerate() {
                    *to += buckets.add(i).read_volatile();
                }
            }
        });
        self.counters.for_each(|key, cell| {
            tallies.counter_cells += 1;
            let sum = tallies.counters.entry(key.into()).or_insert(CounterTally {
                since: u64::MAX,
                value: 0,
            });
            // SAFETY: as above.
            unsafe {
                sum.since = sum.since.min((&raw const (*cell).since).read_volatile());
                sum.value += (&raw const (*cell).value).read_volatile();
            }
        });
        tallies
    }
}

/// A cell of a table.
///
/// # Safety
/// It begins with its [`Key`].
unsafe trait Cell: Plain {}

// SAFETY: its first field, repr(C).
unsafe impl Cell for HistogramCell {}
// SAFETY: its first field, repr(C).
unsafe impl Cell for CounterCell {}

/// One table, mapped read-only.
struct Table<T> {
    start: NonNull<T>,
    cells: usize,
}

impl<T: Cell> Table<T> {
    fn map(kernel: &mut Kernel, name: &'static str, cells: usize) -> Result<Self> {
        let map = kernel.map_mut(name)?;
        let length = NonZero::new(cells * size_of::<T>()).context("a table of no cells")?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                array_fd(map)?.as_fd(),
                0,
            )
        }
        .with_context(|| format!("cannot map the table {name}"))?;
        Ok(Self {
            start: start.cast(),
            cells,
        })
    }

    /// Calls `each` for every cell in use.
    fn for_each(&self, mut each: impl FnMut(Key, *const T)) {
        let reserve = self.cells.saturating_sub(RESERVED_CELLS as usize);
        for part in [0..reserve, reserve..self.cells] {
            let mut unused = 0;
            for index in part {
                // SAFETY: within the mapping; a cell begins with its key, whose
                // series the kernel half writes last.
                let (cell, key) = unsafe {
                    let cell = self.start.as_ptr().add(index);
                    (cell, cell.cast::<Key>().read_volatile())
                };
                if key.series != 0 {
                    unused = 0;
                    each(key, cell);
                    continue;
                }
                unused += 1;
                if unused == END_AFTER {
                    break;
                }
            }
        }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length.
        let _ = unsafe { munmap(self.start.cast(), self.cells * size_of::<T>()) };
    }
}

// SAFETY: the mapping is only read, word by word.
unsafe impl<T> Send for Table<T> {}
