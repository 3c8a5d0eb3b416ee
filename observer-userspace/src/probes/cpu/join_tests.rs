//! Checks that each count gets the stack that was told for it and no other, and
//! that none is dropped.

use super::*;
use observer_common::workload::WorkloadId;
use observer_signals::attribute::{Attribute, Resource};

const THREAD: u32 = 7;

/// A key of a thread's stack.
fn key(kind: u8, stack: u64, tid: u32) -> SampleKey {
    SampleKey {
        hash: stack,
        check: !stack,
        tgid: 1,
        tid,
        kind,
        ..SampleKey::default()
    }
}

fn on_cpu(stack: u64) -> SampleKey {
    key(kind::ON_CPU, stack, THREAD)
}

fn off_cpu(stack: u64) -> SampleKey {
    key(kind::OFF_CPU, stack, THREAD)
}

fn run_queue(stack: u64) -> SampleKey {
    key(kind::RUN_QUEUE, stack, THREAD)
}

/// What is told of a stack: one address that says which it is.
fn sampled(stack: u64) -> SampledStack {
    SampledStack {
        stack: Arc::new(RawStack {
            kernel: Box::default(),
            user: Box::new([stack]),
            python: Box::default(),
        }),
        thread: format!("thread {stack}"),
        process: format!("process {stack}"),
    }
}

/// What a sample has: the address of its stack, if any, and its value.
type Seen = (Option<u64>, u64);

fn seen(samples: &[RawSample]) -> Vec<Seen> {
    samples
        .iter()
        .map(|sample| (sample.stack.user.first().copied(), sample.value))
        .collect()
}

/// Joins the counts of a table: what is on CPU, what is off CPU.
fn join(join: &mut Join, table: u32, counts: &[(SampleKey, u64)]) -> (Vec<Seen>, Vec<Seen>) {
    let mut interval = join.interval(table);
    for (key, value) in counts {
        interval.count(key, *value, |_| SharedResource::default(), |_| None);
    }
    let (on_cpu, off_cpu) = interval.end();
    (seen(&on_cpu), seen(&off_cpu))
}

/// Checks that all that the key and the record say is in the sample.
#[test]
fn a_sample_is_whole() {
    let mut all = Join::default();
    let request = RequestLink {
        trace_id: [1; 16],
        span_id: [2; 8],
        route: None,
        duration: None,
        sampled: true,
    };
    let key = SampleKey {
        tgid: 3,
        workload: WorkloadId(5),
        outcome: Outcome::Truncated as u8,
        state: 2,
        syscall: 9,
        in_request: 1,
        request: 11,
        ..off_cpu(1)
    };
    all.learn(0, key, sampled(1));
    let mut interval = all.interval(0);
    let served = |number| (number == 11).then(|| Arc::new(request.clone()));
    interval.count(&key, 100, |_| SharedResource::default(), served);
    let (on_cpu, off_cpu) = interval.end();
    assert!(on_cpu.is_empty());
    let [sample] = off_cpu.as_slice() else {
        panic!("{} samples", off_cpu.len());
    };
    assert_eq!((sample.pid, sample.tid, sample.value), (3, THREAD, 100));
    assert_eq!(sample.thread, "thread 1");
    assert_eq!(sample.process, "process 1");
    assert_eq!(sample.outcome, Outcome::Truncated);
    let blocked = Wait::Blocked {
        state: 2,
        syscall: 9,
        in_request: true,
    };
    assert_eq!(sample.wait, Some(blocked));
    assert_eq!(sample.request, 11);
    assert_eq!(sample.request_link.as_deref(), Some(&request));
}

/// Checks that stacks which are told while the other table is being emptied,
/// be it under the same key, stay with their own table.
#[test]
fn epochs_stay_apart() {
    let mut all = Join::default();
    all.learn(0, on_cpu(1), sampled(1));
    // Counted in the next table already, and drained with the rest.
    all.learn(1, on_cpu(1), sampled(1));
    all.learn(3, on_cpu(2), sampled(2));
    let (counted, _) = join(&mut all, 0, &[(on_cpu(1), 5)]);
    assert_eq!(counted, [(Some(1), 5)]);
    let (counted, _) = join(&mut all, 1, &[(on_cpu(1), 6), (on_cpu(2), 7)]);
    assert_eq!(counted, [(Some(1), 6), (Some(2), 7)]);
    assert_eq!(all.unknown(), 0);
}

/// Checks that a stack on CPU must be told again for each interval: what was
/// told for a table is gone with its counts, and doesn't come back with the
/// next use of the same table.
#[test]
fn on_cpu_is_told_each_time() {
    let mut all = Join::default();
    all.learn(0, on_cpu(1), sampled(1));
    assert_eq!(join(&mut all, 0, &[(on_cpu(1), 1)]).0, [(Some(1), 1)]);
    all.learn(1, on_cpu(1), sampled(1));
    assert_eq!(join(&mut all, 1, &[(on_cpu(1), 2)]).0, [(Some(1), 2)]);
    assert_eq!(join(&mut all, 0, &[(on_cpu(1), 3)]).0, [(None, 3)]);
    assert_eq!(all.unknown(), 1);
}

/// Checks that a wait's stack, told once, serves all intervals in which it is
/// counted, and that it is let go of after two in which it isn't.
#[test]
fn a_wait_lasts() {
    let mut all = Join::default();
    all.learn(0, off_cpu(1), sampled(1));
    let counts = [(off_cpu(1), 10)];
    for interval in 0..5 {
        assert_eq!(join(&mut all, interval & 1, &counts).1, [(Some(1), 10)]);
    }
    // One interval without it, and it is still known.
    join(&mut all, 1, &[]);
    assert_eq!(join(&mut all, 0, &counts).1, [(Some(1), 10)]);
    join(&mut all, 1, &[]);
    join(&mut all, 0, &[]);
    assert_eq!(join(&mut all, 1, &counts).1, [(None, 10)]);
    assert_eq!(all.unknown(), 1);
}

/// Checks that a stack may be told before its first nanosecond is counted: in
/// the same interval with a count of 0, which makes no sample, or in the last.
#[test]
fn a_wait_may_be_told_before_it_counts() {
    let mut all = Join::default();
    all.learn(0, off_cpu(1), sampled(1));
    assert_eq!(join(&mut all, 0, &[(off_cpu(1), 0)]).1, []);
    assert_eq!(join(&mut all, 1, &[(off_cpu(1), 4)]).1, [(Some(1), 4)]);
    // Told for a table in which it was not counted at all.
    all.learn(0, off_cpu(2), sampled(2));
    assert_eq!(join(&mut all, 0, &[]).1, []);
    assert_eq!(join(&mut all, 1, &[(off_cpu(2), 6)]).1, [(Some(2), 6)]);
    assert_eq!(all.unknown(), 0);
}

/// Checks that the time for which a thread waits for a CPU after a wait has the
/// wait's stack, in the same interval and in the next; but neither another
/// thread's nor that of its time on CPU.
#[test]
fn what_a_thread_does_with_one_stack() {
    let mut all = Join::default();
    all.learn(0, off_cpu(1), sampled(1));
    let counts = [(run_queue(1), 3), (off_cpu(1), 2)];
    assert_eq!(join(&mut all, 0, &counts).1, [(Some(1), 3), (Some(1), 2)]);
    let other = key(kind::RUN_QUEUE, 1, THREAD + 1);
    let counts = [(run_queue(1), 4), (other, 5), (on_cpu(1), 6)];
    let (on_cpu_seen, off_cpu_seen) = join(&mut all, 1, &counts);
    assert_eq!(off_cpu_seen, [(Some(1), 4), (None, 5)]);
    assert_eq!(on_cpu_seen, [(None, 6)]);
    assert_eq!(all.unknown(), 2);

    let mut all = Join::default();
    all.learn(0, on_cpu(1), sampled(1));
    assert_eq!(join(&mut all, 0, &[(off_cpu(1), 1)]).1, [(None, 1)]);
}

/// Checks that a count whose record was lost, or came after its table was
/// emptied, is kept without a stack, is counted as such, and takes no other's
/// stack; and that the late stack does no harm to the next user of the table.
#[test]
fn lost_and_late_records() {
    let mut all = Join::default();
    all.learn(0, on_cpu(1), sampled(1));
    let counts = [(on_cpu(1), 1), (on_cpu(2), 2), (off_cpu(3), 4)];
    let (on_cpu_seen, off_cpu_seen) = join(&mut all, 0, &counts);
    assert_eq!(on_cpu_seen, [(Some(1), 1), (None, 2)]);
    assert_eq!(off_cpu_seen, [(None, 4)]);
    assert_eq!(all.unknown(), 2);
    all.learn(0, on_cpu(2), sampled(2));
    assert_eq!(join(&mut all, 1, &[(on_cpu(2), 8)]).0, [(None, 8)]);
    let counts = [(on_cpu(2), 16), (on_cpu(1), 32)];
    assert_eq!(join(&mut all, 0, &counts).0, [(Some(2), 16), (None, 32)]);
    assert_eq!(all.unknown(), 4);
}

/// Checks that hashes which agree in one half only are different stacks.
#[test]
fn both_hashes_count() {
    let mut all = Join::default();
    let similar = SampleKey {
        check: 0,
        ..off_cpu(1)
    };
    all.learn(0, off_cpu(1), sampled(1));
    assert_eq!(join(&mut all, 0, &[(similar, 1)]).1, [(None, 1)]);
}

/// Checks that a sample of a workload that nobody knows is kept, with whatever
/// resource stands for it, and that requests and workloads are only asked for
/// where there is a sample.
#[test]
fn unknown_workloads() {
    let mut all = Join::default();
    let known = SampleKey {
        workload: WorkloadId(1),
        ..on_cpu(1)
    };
    let unknown = SampleKey {
        workload: WorkloadId(2),
        ..on_cpu(1)
    };
    let nothing = SampleKey {
        workload: WorkloadId(3),
        ..off_cpu(1)
    };
    let keys = [(known, 10), (unknown, 20), (nothing, 0)];
    for (key, _) in &keys {
        all.learn(1, *key, sampled(1));
    }
    let resource = |name: &'static str| {
        let attributes = vec![Attribute::new("service.name", name)];
        SharedResource::new(Resource { attributes })
    };
    let mut asked = Vec::new();
    let mut interval = all.interval(1);
    for (key, value) in &keys {
        let named = |id| {
            asked.push(id);
            resource(if id == WorkloadId(1) { "shop" } else { "other" })
        };
        interval.count(key, *value, named, |_| None);
    }
    let (samples, off_cpu) = interval.end();
    assert_eq!(asked, [1, 2].map(WorkloadId));
    assert!(off_cpu.is_empty());
    let named: Vec<_> = samples
        .iter()
        .map(|sample| (sample.resource.get_str("service.name"), sample.value))
        .collect();
    assert_eq!(named, [(Some("shop"), 10), (Some("other"), 20)]);
}

/// Checks that an interval that isn't ended, because its table couldn't be read
/// to the end, takes nothing from the waits of earlier intervals.
#[test]
fn an_interval_that_fails() {
    let mut all = Join::default();
    all.learn(0, off_cpu(1), sampled(1));
    join(&mut all, 0, &[(off_cpu(1), 1)]);
    let interval = all.interval(1);
    drop(interval);
    assert_eq!(join(&mut all, 0, &[(off_cpu(1), 2)]).1, [(Some(1), 2)]);
}
