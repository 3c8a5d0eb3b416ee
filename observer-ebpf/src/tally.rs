//! Histograms and counters: find this CPU's cell, add to it.
//!
//! The way from a key to its cell is a small per-CPU cache of cell indices,
//! checked against the key in the cell itself; only a miss asks the hash, and
//! only a series' first event on a CPU takes a cell from the free list. The daemon
//! gives back those of workloads that are gone.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, Queue, Stack};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::btf_map;
use observer_common::histogram::{BUCKETS, Bucket, bucket};
use observer_common::loss::Loss;
use observer_common::tally::{
    CACHE_SLOTS, COUNTER_CELLS, Cache, CounterCell, HISTOGRAM_CELLS, HistogramCell, Key, Kind,
    RESERVED_CELLS,
};
use observer_common::workload::{WorkloadId, ids};

use crate::atomic::add;
use crate::kernel::now;
use crate::loss::lost;
use crate::shares::charge;

/// Written here, mapped and read by the daemon. Sizes are defaults: the loader
/// sets them. Free cells are a stack, so that those in use stay close together and
/// little of the table is ever touched.
#[btf_map]
static HISTOGRAMS: Array<HistogramCell, { HISTOGRAM_CELLS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();
#[btf_map]
static HISTOGRAM_INDEX: HashMap<Key, u32, { HISTOGRAM_CELLS as usize }> = HashMap::new();
#[btf_map]
static HISTOGRAM_FREE: Stack<u32, { HISTOGRAM_CELLS as usize }> = Stack::new();
#[btf_map]
static HISTOGRAM_RESERVE: Queue<u32, { RESERVED_CELLS as usize }> = Queue::new();
#[btf_map]
static HISTOGRAM_CACHE: PerCpuArray<Cache, 1> = PerCpuArray::new();

#[btf_map]
static COUNTERS: Array<CounterCell, { COUNTER_CELLS as usize }, { BPF_F_MMAPABLE as usize }> =
    Array::new();
#[btf_map]
static COUNTER_INDEX: HashMap<Key, u32, { COUNTER_CELLS as usize }> = HashMap::new();
#[btf_map]
static COUNTER_FREE: Stack<u32, { COUNTER_CELLS as usize }> = Stack::new();
#[btf_map]
static COUNTER_RESERVE: Queue<u32, { RESERVED_CELLS as usize }> = Queue::new();
#[btf_map]
static COUNTER_CACHE: PerCpuArray<Cache, 1> = PerCpuArray::new();

/// Adds without a lock.
#[inline(always)]
fn add_local(to: *mut u64, value: u64) {
    // SAFETY: callers pass a pointer into a map value.
    unsafe { *to = (*to).wrapping_add(value) };
}

#[inline(always)]
fn slot_of(key: &Key) -> usize {
    let mixed = key.series ^ (key.series >> 16) ^ key.label ^ (key.label >> 32);
    // Odd multiplier from splitmix64: neighbours (syscall numbers) spread.
    ((mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize) & (CACHE_SLOTS - 1)
}

/// Makes the look-ups of one table; the tables differ in the cell's type only.
macro_rules! table {
    ($find:ident, $find_slow:ident, $indexed:ident, $create:ident, $cell:ty, $cells:ident, $index:ident, $free:ident, $reserve:ident, $cache:ident, $full:expr, $held:expr, $limit:expr) => {
        /// This CPU's cell of a series; null when the table is full (counted).
        #[inline(always)]
        fn $find(kind: Kind, workload: WorkloadId, label: u64, inner: u64) -> *mut $cell {
            // SAFETY: has no preconditions.
            let cpu = unsafe { bpf_get_smp_processor_id() };
            let mut key = Key::new(kind, workload, cpu, label);
            key.series |= inner;
            let Some(cache) = $cache.get_ptr_mut(0) else {
                return core::ptr::null_mut();
            };
            let slot = slot_of(&key);
            // SAFETY: `slot` is below CACHE_SLOTS, the pointer a map value's.
            let hint = unsafe { &raw mut (*cache).cells[slot] };
            // SAFETY: as above.
            if let Some(cell) = $cells.get_ptr_mut(unsafe { *hint }) {
                // SAFETY: a map value.
                if unsafe { (*cell).key.series == key.series && (*cell).key.label == key.label } {
                    return cell;
                }
            }
            let index = $find_slow(key.series, key.label);
            if index == u32::MAX {
                return core::ptr::null_mut();
            }
            // SAFETY: as above.
            unsafe { *hint = index };
            $cells.get_ptr_mut(index).unwrap_or(core::ptr::null_mut())
        }

        /// The index of a series' cell by hash, taking one if it has none;
        /// `u32::MAX` when the table is full (counted).
        ///
        /// Global to the verifier, which therefore checks it once.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $find_slow(series: u64, label: u64) -> u32 {
            let key = &Key { series, label };
            if let Some(index) = $indexed(key) {
                return index;
            }
            if let Ok(Some(index)) = $free.pop() {
                if charge($held, $limit, key.workload(), index) {
                    return $create(key, index);
                }
                let _ = $free.push(&index, 0);
            }
            // No cell left, or none for this tenant: the series folds into that of
            // `other`.
            lost(Loss::SeriesFolded);
            let folded = key.folded();
            if let Some(index) = $indexed(&folded) {
                return index;
            }
            if let Ok(Some(index)) = $reserve.pop() {
                return $create(&folded, index);
            }
            lost($full);
            u32::MAX
        }

        /// The index that the table has for a key. The daemon removes what belongs
        /// to workloads that are gone, and the kernel may give an element's memory
        /// to another key while it is read: the cell's own key decides.
        #[inline(always)]
        fn $indexed(key: &Key) -> Option<u32> {
            // SAFETY: copied at once.
            let index = unsafe { $index.get(key).copied() }?;
            let cell = $cells.get_ptr(index)?;
            // SAFETY: a map value.
            let is = unsafe { (*cell).key.series == key.series && (*cell).key.label == key.label };
            is.then_some(index)
        }

        #[inline(always)]
        fn $create(key: &Key, index: u32) -> u32 {
            let Some(cell) = $cells.get_ptr_mut(index) else {
                return u32::MAX;
            };
            // SAFETY: a map value, nobody else's yet. The series (never 0) goes
            // last: it tells the daemon that the rest is there.
            unsafe {
                (*cell).since = now();
                (*cell).key.label = key.label;
                core::ptr::write_volatile(&raw mut (*cell).key.series, key.series);
            }
            if $index.insert(key, &index, BPF_NOEXIST as u64).is_err() {
                // An interrupt on this CPU was faster: use its cell.
                // SAFETY: as above.
                unsafe { core::ptr::write_volatile(&raw mut (*cell).key.series, 0) };
                let _ = $free.push(&index, 0);
                if let Some(index) = $indexed(key) {
                    return index;
                }
                lost($full);
                return u32::MAX;
            }
            index
        }
    };
}

table!(
    histogram,
    tally_histogram,
    indexed_histogram,
    create_histogram,
    HistogramCell,
    HISTOGRAMS,
    HISTOGRAM_INDEX,
    HISTOGRAM_FREE,
    HISTOGRAM_RESERVE,
    HISTOGRAM_CACHE,
    Loss::HistogramTableFull,
    ids::HISTOGRAMS,
    ids::HISTOGRAM_LIMIT
);
table!(
    counter,
    tally_counter,
    indexed_counter,
    create_counter,
    CounterCell,
    COUNTERS,
    COUNTER_INDEX,
    COUNTER_FREE,
    COUNTER_RESERVE,
    COUNTER_CACHE,
    Loss::CounterTableFull,
    ids::COUNTERS,
    ids::COUNTER_LIMIT
);

/// Adds a duration to a histogram.
#[inline(always)]
pub fn record(kind: Kind, workload: WorkloadId, label: u64, ns: u64) {
    record_with(kind, workload, label, ns, 0, add);
}

/// The same for histograms that one kind of program alone writes: tracepoints
/// run with preemption off, so such programs don't interrupt each other.
#[inline(always)]
pub fn record_local(kind: Kind, workload: WorkloadId, label: u64, ns: u64) {
    record_with(kind, workload, label, ns, 0, add_local);
}

/// The same for a second kind of program that may interrupt the first.
#[inline(always)]
pub fn record_inner(kind: Kind, workload: WorkloadId, label: u64, ns: u64) {
    record_with(kind, workload, label, ns, Key::INNER, add_local);
}

#[inline(always)]
fn record_with(
    kind: Kind,
    workload: WorkloadId,
    label: u64,
    ns: u64,
    inner: u64,
    add: impl Fn(*mut u64, u64),
) {
    let cell = histogram(kind, workload, label, inner);
    if cell.is_null() {
        return;
    }
    // SAFETY: a map value; the index is checked against the array's length.
    unsafe {
        add(&raw mut (*cell).sum, ns);
        match bucket(ns) {
            Bucket::Zero => add(&raw mut (*cell).zero, 1),
            Bucket::At(index) if (index as usize) < BUCKETS => {
                add(
                    (&raw mut (*cell).buckets).cast::<u64>().add(index as usize),
                    1,
                );
            }
            Bucket::At(_) => {}
        }
    }
}

/// Adds to a counter.
#[inline(always)]
pub fn count(kind: Kind, workload: WorkloadId, label: u64, value: u64) {
    count_with(kind, workload, label, value, add);
}

/// The same for counters that one kind of program alone writes.
#[inline(always)]
pub fn count_local(kind: Kind, workload: WorkloadId, label: u64, value: u64) {
    count_with(kind, workload, label, value, add_local);
}

#[inline(always)]
fn count_with(
    kind: Kind,
    workload: WorkloadId,
    label: u64,
    value: u64,
    add: impl Fn(*mut u64, u64),
) {
    let cell = counter(kind, workload, label, 0);
    if !cell.is_null() {
        // SAFETY: a map value.
        unsafe { add(&raw mut (*cell).value, value) };
    }
}
