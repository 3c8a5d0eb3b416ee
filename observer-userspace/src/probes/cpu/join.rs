//! Joins what was counted with the stacks that were told.
//!
//! The kernel half counts by key in one of two tables and tells the stack of a
//! key through a ring: on CPU when the key is new in the table, off CPU once for
//! each wait, however many intervals it lasts. So
//!
//! - a key on CPU finds its stack among those told for the same table since it
//!   was emptied last;
//! - a key off CPU finds that of any wait of the same thread with the same
//!   stack, told for the same table or in one of the last two intervals; being
//!   counted keeps it alive.
//!
//! A key whose stack can't be sent isn't counted, so every one that is has been
//! told of. If one hasn't, it is counted all the same, without a stack, and
//! [`Join::unknown`] says so.

use observer_common::workload::WorkloadId;
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use observer_common::cpu::{SampleKey, kind};
use observer_common::unwind::Outcome;

use crate::stacks::{RawSample, RawStack, Wait};
use observer_signals::RequestLink;
use observer_signals::attribute::SharedResource;

/// The stack of a key, and whose it is.
#[derive(Clone, Debug, Default)]
pub(super) struct SampledStack {
    pub(super) stack: Arc<RawStack>,
    /// The thread's name.
    pub(super) thread: String,
    /// The process's name.
    pub(super) process: String,
}

/// Both hashes of a stack, and the thread: what a wait has in common with the
/// time for which the thread then waits for a CPU.
type ThreadStack = (u64, u64, u32);

fn thread_stack(key: &SampleKey) -> ThreadStack {
    (key.hash, key.check, key.tid)
}

/// Stacks that were told, and are still to be joined.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// By table, since it was emptied last.
    stacks: [HashMap<SampleKey, SampledStack>; 2],
    /// Those of threads off CPU in the last interval, and in the one before.
    lasting: [HashMap<ThreadStack, SampledStack>; 2],
    unknown: u64,
}

impl Join {
    /// Notes the stack of a key that is counted in the table of `epoch`.
    pub(super) fn learn(&mut self, epoch: u32, key: SampleKey, stack: SampledStack) {
        self.told(epoch).insert(key, stack);
    }

    /// Stacks that were told for the table of `epoch`.
    fn told(&mut self, epoch: u32) -> &mut HashMap<SampleKey, SampledStack> {
        let [even, odd] = &mut self.stacks;
        if epoch & 1 == 0 { even } else { odd }
    }

    /// Begins to join the counts of a table that is being emptied. All of its
    /// stacks must have been told. What isn't ended leaves the stacks of earlier
    /// intervals as they were.
    pub(super) fn interval(&mut self, table: u32) -> Interval<'_> {
        let stacks = mem::take(self.told(table));
        // The same thread may do several things with one stack: wait for
        // something, and then for a CPU.
        let waits = stacks
            .iter()
            .filter(|(key, _)| key.kind != kind::ON_CPU)
            .map(|(key, stack)| (thread_stack(key), stack.clone()))
            .collect();
        Interval {
            join: self,
            stacks,
            waits,
            on_cpu: Vec::new(),
            off_cpu: Vec::new(),
        }
    }

    /// Keys counted so far whose stack nobody told.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }
}

/// An interval whose counts are being joined.
#[derive(Debug)]
pub(super) struct Interval<'a> {
    join: &'a mut Join,
    stacks: HashMap<SampleKey, SampledStack>,
    waits: HashMap<ThreadStack, SampledStack>,
    on_cpu: Vec<RawSample>,
    off_cpu: Vec<RawSample>,
}

impl Interval<'_> {
    /// Joins one count: samples, or nanoseconds off CPU. `resource` says what a
    /// workload's number stands for, `request_link` a request's.
    pub(super) fn count(
        &mut self,
        key: &SampleKey,
        value: u64,
        resource: impl FnOnce(WorkloadId) -> SharedResource,
        request_link: impl FnOnce(u64) -> Option<Arc<RequestLink>>,
    ) {
        let wait = wait(key);
        let sampled = match wait {
            None => self.stacks.remove(key),
            Some(_) => self.wait(thread_stack(key)),
        };
        // It only told its stack.
        if value == 0 {
            return;
        }
        let sampled = sampled.unwrap_or_else(|| {
            self.join.unknown += 1;
            SampledStack::default()
        });
        let samples = match wait {
            None => &mut self.on_cpu,
            Some(_) => &mut self.off_cpu,
        };
        samples.push(RawSample {
            stack: sampled.stack,
            pid: key.tgid,
            tid: key.tid,
            thread: sampled.thread,
            process: sampled.process,
            resource: resource(key.workload),
            outcome: Outcome::from_number(key.outcome).unwrap_or_default(),
            wait,
            value,
            request: key.request,
            request_link: request_link(key.request),
        });
    }

    /// What was told of a wait, by now or earlier.
    fn wait(&mut self, stack: ThreadStack) -> Option<SampledStack> {
        if let Some(known) = self.waits.get(&stack) {
            return Some(known.clone());
        }
        let mut earlier = self.join.lasting.iter();
        let known = earlier.find_map(|interval| interval.get(&stack))?.clone();
        self.waits.insert(stack, known.clone());
        Some(known)
    }

    /// Samples on CPU and off CPU. What was told of waits stays for the next two
    /// intervals.
    pub(super) fn end(self) -> (Vec<RawSample>, Vec<RawSample>) {
        let lasting = &mut self.join.lasting;
        lasting.swap(0, 1);
        lasting[0] = self.waits;
        (self.on_cpu, self.off_cpu)
    }
}

/// How the thread was off CPU, if it was.
fn wait(key: &SampleKey) -> Option<Wait> {
    match key.kind {
        kind::OFF_CPU => Some(Wait::Blocked {
            state: key.state,
            syscall: key.syscall,
            in_request: key.in_request != 0,
        }),
        kind::RUN_QUEUE => Some(Wait::RunQueue),
        _ => None,
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
