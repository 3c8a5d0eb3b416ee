//! Workloads that are over: what the kernel half and the daemon hold of them is
//! given back, and no figure of theirs is lost or counted twice.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use observer_common::names::programs;
use observer_common::workload::{FOLDED, Held, OTHER, ProgramId, WorkloadId, WorkloadKey};

use super::lifecycle::Lifecycle;
use super::limiter::SpanLimiter;
use super::workloads::Workloads;
use crate::kernel::Kernel;
use crate::kernel::cells::{Cells, Tallies, Used};
use crate::kernel::grace::Grace;
use crate::kernel::iter::Iterator;
use crate::kernel::ring::record;
use crate::kernel::workload_ids::{Listed, WorkloadIds};
use crate::probes::Probe;
use observer_signals::Resource;
use observer_signals::attribute::SharedResource;
use observer_signals::metric::{MetricBatch, ResourceMetrics};
use rustc_hash::FxHashMap;

/// A table that is fuller than this is under pressure.
const PRESSED: f64 = 0.5;

/// After so many new workloads, as a part of the table, it is time for a sweep.
const NEW_PART: u64 = 16;

/// A sweep may take this part of a CPU.
const DUTY: u32 = 25;

/// The longest time without one.
const LONGEST: Duration = Duration::from_secs(10);

/// Looks who is over and sees to what they leave.
pub(super) struct Retirement {
    /// Says which workloads have threads. Without it none is ever over.
    held: Option<Iterator>,
    ids: WorkloadIds,
    lifecycle: Lifecycle,
    grace: Grace,
    /// Workloads that are over and stand for all that were of the same resource, by
    /// where that is in memory: as long as the heir is there, so is its resource.
    heirs: FxHashMap<*const Resource, Heir>,
    /// The last sweep, how long it took, and how many ids were taken until then.
    swept: Instant,
    took: Duration,
    taken: u64,
    /// When somebody found no room, as of then.
    refused: u64,
    /// Cells of histograms: all, and those in use as of the last sweep.
    cells: u32,
    cells_used: usize,
    /// Workloads whose last figures were added to `other`.
    folded: u64,
}

struct Heir {
    id: WorkloadId,
    resource: SharedResource,
    /// When it got figures for the last time.
    since: Instant,
}

/// What else is told that a workload is over.
pub(super) struct Keepers<'a> {
    pub probes: &'a mut [Box<dyn Probe>],
    pub limiter: &'a mut SpanLimiter,
}

impl Keepers<'_> {
    fn retire(&mut self, gone: WorkloadId, heir: Option<WorkloadId>) {
        self.limiter.retire(gone);
        for probe in &mut *self.probes {
            probe.retire(gone, heir);
        }
    }
}

impl Retirement {
    /// Nobody is over yet. `cells` are those of the table of histograms.
    ///
    /// # Errors
    /// The kernel half's ids can't be mapped.
    pub(super) fn start(kernel: &mut Kernel, cells: u32) -> Result<Self> {
        let held = Iterator::new(kernel, programs::IDENTITY_SWEEP, None);
        let held = held.inspect_err(|error| {
            tracing::warn!("workloads that end keep their place in the table: {error:#}");
        });
        Ok(Self {
            held: held.ok(),
            ids: WorkloadIds::map(kernel)?,
            lifecycle: Lifecycle::default(),
            grace: Grace::default(),
            heirs: FxHashMap::default(),
            swept: Instant::now(),
            took: Duration::ZERO,
            taken: 0,
            refused: 0,
            cells,
            cells_used: 0,
            folded: 0,
        })
    }

    /// Workloads in the kernel half's table.
    pub(super) fn live(&self) -> u64 {
        self.ids.live()
    }

    /// A workload as the kernel half's table has it.
    pub(super) fn listed(&self, id: WorkloadId) -> Option<&Listed> {
        self.lifecycle.listed(id)
    }

    /// Workloads that ended and whose last figures were added to `other`, as too many
    /// did between two exports.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }

    /// Makes a workload that of a program.
    ///
    /// # Errors
    /// The kernel refuses to change its table.
    pub(super) fn bind(
        &mut self,
        kernel: &mut Kernel,
        (key, id): (WorkloadKey, WorkloadId),
        program: ProgramId,
    ) -> Result<()> {
        if key.program() != program
            && let Some(unlisted) = kernel.rebind_workload(&key, id, program, &self.ids)?
        {
            self.lifecycle.unlisted(unlisted);
        }
        Ok(())
    }

    /// Whether it is time for a sweep: for one after many new workloads, if there was
    /// none for some time, never so often that it costs much.
    pub(super) fn is_due(&self) -> bool {
        let since = self.swept.elapsed();
        if since < self.took * DUTY || self.held.is_none() {
            return false;
        }
        let new = self.ids.taken().saturating_sub(self.taken);
        self.ids.refused() != self.refused
            || new >= (self.ids.limit() / NEW_PART).max(4)
            || since >= LONGEST
            || self.cells_wait() && since >= LONGEST / 10
    }

    fn cells_wait(&self) -> bool {
        !self.grace.is_over()
    }

    /// Looks who has threads, and gives back what those held who are over.
    ///
    /// # Errors
    /// The kernel refuses to tell who is there, or to take something back; what was
    /// begun goes on at the next sweep.
    pub(super) fn sweep(
        &mut self,
        kernel: &mut Kernel,
        cells: &mut Cells,
        workloads: &mut Workloads,
        keepers: &mut Keepers<'_>,
    ) -> Result<()> {
        let Some(iterator) = &self.held else {
            return Ok(());
        };
        let now = Instant::now();
        self.taken = self.ids.taken();
        let refused = self.ids.refused();
        let refuses = std::mem::replace(&mut self.refused, refused) != refused;
        self.swept = now;
        // Who is in the table was announced, or the announcement was lost.
        for listed in kernel.workloads()? {
            workloads.learn_listed(&listed);
            self.lifecycle.learn(listed, now);
        }
        let live = live(iterator)?;
        workloads.audit(live.processes);
        let held = live.workloads;
        if self.grace.is_over() {
            // What was taken away at an earlier sweep, be it that it had no cells.
            cells.give_back(kernel)?;
            for late in self.lifecycle.settle(now) {
                cells.settled().fold(late, OTHER);
            }
            self.fold_surplus(cells, workloads, keepers);
        }
        let pressed = refuses || self.is_pressed();
        let over = self.lifecycle.unlist(&held, pressed, now);
        kernel.retire_workloads(&over, &self.ids)?;
        // One batch at a time: each has a grace period of its own.
        if self.grace.is_over() {
            let gone = self.lifecycle.take_away(&held);
            let used = cells.take_away(kernel, |id| gone.contains(&id))?;
            self.charge(&used);
            if !gone.is_empty() {
                self.grace.begin();
            }
        }
        self.took = now.elapsed();
        tracing::debug!(
            held = held.len(),
            listed = self.ids.live(),
            unlisted = over.len(),
            cells = self.cells_used,
            took = ?self.took,
            "sweep of workloads"
        );
        Ok(())
    }

    /// Says whose the cells are that are in use.
    fn charge(&mut self, used: &Used) {
        let mut cells: HashMap<u32, (u64, u64)> = HashMap::new();
        self.cells_used = 0;
        for (id, (histograms, counters)) in used {
            self.cells_used += usize::try_from(*histograms).unwrap_or(usize::MAX);
            // Of one that is late nobody knows it, and it goes soon.
            if let Some(tenant) = self.lifecycle.tenant(*id) {
                let sum = cells.entry(tenant).or_default();
                *sum = (sum.0 + histograms, sum.1 + counters);
            }
        }
        self.ids.charge(&cells);
    }

    fn is_pressed(&self) -> bool {
        let part = |used: f64, all: f64| used / all.max(1.0);
        part(self.ids.live() as f64, self.ids.limit() as f64) > PRESSED
            || part(self.cells_used as f64, self.cells.into()) > PRESSED
    }

    /// At a tick, with what was read then.
    pub(super) fn counted(&mut self, tallies: &Tallies, workloads: &Workloads) {
        let mut counted: FxHashMap<WorkloadId, u64> = FxHashMap::default();
        for (series, tally) in &tallies.histograms {
            *counted.entry(series.workload).or_default() += tally.count();
        }
        for (series, tally) in &tallies.counters {
            let sum = counted.entry(series.workload).or_default();
            *sum = sum.wrapping_add(tally.value);
        }
        for id in counted.keys().filter(|id| !workloads.knows(**id)) {
            self.lifecycle.late(*id);
        }
        self.lifecycle.counted(&counted, Instant::now());
    }

    /// Where more are over than the table holds, and wait for being exported: the
    /// first of who has most are `other`, unless something was exported under their
    /// name.
    fn fold_surplus(&mut self, cells: &mut Cells, to: &mut Workloads, keepers: &mut Keepers<'_>) {
        let room = usize::try_from(self.ids.limit()).unwrap_or(usize::MAX);
        for id in self.lifecycle.surplus(room) {
            if to.is_shared(id, &to.resource(id)) {
                continue;
            }
            cells.settled().fold(id, OTHER);
            keepers.retire(id, Some(FOLDED));
            self.forget(id, to);
            self.folded += 1;
        }
    }

    /// Before a batch is made: charges what is over to its heir, the first that was
    /// over of the same resource. `before` is when all else (profiles) was told that
    /// needs the names of who is over.
    pub(super) fn inherit(
        &mut self,
        cells: &mut Cells,
        workloads: &mut Workloads,
        keepers: &mut Keepers<'_>,
        before: Instant,
    ) {
        for (id, at) in self.lifecycle.settled() {
            if at >= before {
                continue;
            }
            let resource = workloads.resource(id);
            match self.heirs.entry(Arc::as_ptr(&resource)) {
                Entry::Occupied(heir) if heir.get().id == id => {}
                Entry::Occupied(mut heir) => {
                    let heir = heir.get_mut();
                    workloads.names().told(id);
                    cells.settled().fold(id, heir.id);
                    keepers.retire(id, Some(heir.id));
                    heir.since = at;
                    self.forget(id, workloads);
                }
                Entry::Vacant(none) => {
                    workloads.names().told(id);
                    keepers.retire(id, Some(id));
                    none.insert(Heir {
                        id,
                        resource,
                        since: at,
                    });
                }
            }
        }
    }

    /// Takes the series out of a batch that have ended: nobody is of their resource
    /// any more, and everybody had their last values.
    pub(super) fn end(
        &mut self,
        batch: &mut MetricBatch,
        cells: &mut Cells,
        workloads: &mut Workloads,
        keepers: &mut Keepers<'_>,
        had_all: impl Fn(Instant) -> bool,
    ) -> Vec<ResourceMetrics> {
        let is_over = |_: &*const Resource, heir: &mut Heir| {
            had_all(heir.since) && !workloads.is_shared(heir.id, &heir.resource)
        };
        let over: FxHashMap<_, Heir> = self.heirs.extract_if(is_over).collect();
        let is_over =
            |group: &mut ResourceMetrics| over.contains_key(&Arc::as_ptr(&group.resource));
        let ended: Vec<_> = batch.resources.extract_if(.., is_over).collect();
        for heir in over.into_values() {
            cells.settled().forget(heir.id);
            keepers.retire(heir.id, None);
            self.forget(heir.id, workloads);
        }
        tracing::debug!(
            settled = self.lifecycle.settled().len(),
            heirs = self.heirs.len(),
            ended = ended.len(),
            "workloads that are over"
        );
        ended
    }

    fn forget(&mut self, id: WorkloadId, workloads: &mut Workloads) {
        self.lifecycle.forget(id);
        workloads.forget(id);
    }
}

/// What has threads.
#[derive(Default)]
struct Live {
    workloads: HashSet<WorkloadId>,
    /// Programs' processes, and what they are charged to.
    processes: Vec<(u32, WorkloadId)>,
}

/// Workloads and processes that have threads.
fn live(iterator: &Iterator) -> Result<Live> {
    let mut live = Live::default();
    iterator.run(|bytes| {
        for one in bytes.chunks_exact(size_of::<Held>()) {
            if let Some(one) = record::<Held>(one) {
                live.workloads.extend([one.workload, one.syscall_workload]);
                if one.process != 0 {
                    live.processes.push((one.process, one.workload));
                }
            }
        }
    })?;
    Ok(live)
}
