//! Whose child a call is that a task makes with several requests open.

use observer_common::requests::context::{CONTINUED, NONE};

use super::Host;
use super::host::{GET, OK, Thread, thread};
use crate::{Finished, Parent, Role};

/// A loop with three requests open, and connections for its calls.
struct Loop {
    host: Host,
    by: Thread,
    inbound: [u64; 3],
    requests: [u64; 3],
    calls: Vec<u64>,
}

impl Loop {
    fn new() -> Self {
        let mut host = Host::new();
        let (by, database) = (thread(1, 1), thread(2, 2));
        let inbound = [(); 3].map(|()| host.accept(by));
        let calls = (0..6)
            .map(|_| host.connect(by, database, 5432).client)
            .collect();
        let requests = inbound.map(|connection| host.receive(connection, by, GET));
        Self {
            host,
            by,
            inbound,
            requests,
            calls,
        }
    }

    /// A call in this task, over the connection with this number; its answer comes.
    fn asks(&mut self, on: usize, task: u64) {
        self.host.task = task;
        self.host.ask(self.calls[on], self.by, 0, NONE, GET);
        self.host.hear(self.calls[on], self.by, OK);
    }

    /// The answer to one of the requests is sent in this task.
    fn answers(&mut self, which: usize, task: u64) {
        self.host.task = task;
        self.host
            .answer(self.inbound[which], self.by, self.requests[which], OK);
    }

    /// How the calls' parents are known, and to which connection these came: by the order
    /// of the calls.
    fn joined(&mut self) -> Vec<(Parent, Option<u16>)> {
        self.host.flush();
        let all = &self.host.finished;
        let of = |role: Role| all.iter().filter(move |it| it.role == role && it.tgid == 1);
        let mut calls: Vec<&Finished> = of(Role::Client).collect();
        calls.sort_by_key(|it| it.begun);
        let of_parent = |call: &&Finished| {
            let parent = of(Role::Server).find(|it| it.span_id == call.parent_span_id);
            if let Some(parent) = parent {
                assert_eq!(call.trace_id, parent.trace_id);
            }
            let port = parent.and_then(|it| Some(it.endpoints.peer?.1 - 10_000));
            (call.parent, port)
        };
        calls.iter().map(of_parent).collect()
    }
}

/// Checks that each call belongs to the request that its task answers, in whatever order,
/// also of a task that serves one request after the other.
#[test]
fn who_answers_has_called() {
    let mut it = Loop::new();
    it.asks(0, 0xa0);
    it.asks(1, 0xb0);
    it.asks(2, 0xa0);
    it.answers(1, 0xb0);
    it.answers(0, 0xa0);
    // The next one on its connection.
    it.requests[1] = it.host.receive(it.inbound[1], it.by, GET);
    it.asks(3, 0xb0);
    it.answers(2, 0xc0);
    it.requests[0] = it.host.receive(it.inbound[0], it.by, GET);
    it.answers(1, 0xb0);
    let thread = |port| (Parent::Thread, Some(port));
    assert_eq!(it.joined(), [thread(0), thread(1), thread(0), thread(1)]);
}

/// Checks that nothing is said of a task that answers nothing, of one of another process,
/// of a call from before the request came, and of one in no task.
#[test]
fn who_does_not_answer_is_unknown() {
    let mut it = Loop::new();
    it.asks(0, 0xa0);
    it.asks(1, 0);
    it.answers(0, 0xb0);
    assert_eq!(it.joined(), [(Parent::Unknown, None); 2]);

    let mut it = Loop::new();
    it.asks(0, 0xa0);
    it.answers(0, 0xb0);
    it.requests[0] = it.host.receive(it.inbound[0], it.by, GET);
    it.answers(0, 0xa0);
    assert_eq!(it.joined(), [(Parent::Unknown, None)], "from before");

    let mut it = Loop::new();
    let other = thread(7, 7);
    let inbound = it.host.accept(other);
    let request = it.host.receive(inbound, other, GET);
    it.asks(0, 0xa0);
    it.host.answer(inbound, other, request, OK);
    assert_eq!(it.joined(), [(Parent::Unknown, None)], "another process");
}

/// Checks that a task which answers requests that are open at the same time tells nothing,
/// from when that is seen.
#[test]
fn one_task_for_all() {
    let mut it = Loop::new();
    it.host.task = 0xa0;
    let part = &OK[..10];
    it.host.answer(it.inbound[0], it.by, it.requests[0], part);
    it.host.answer(it.inbound[1], it.by, it.requests[1], part);
    it.asks(0, 0xa0);
    it.answers(2, 0xa0);
    assert_eq!(it.joined(), [(Parent::Unknown, None)]);
}

/// Checks that a process is asked for when it begins to serve, and again, once for all, when
/// it makes calls that might be told apart by their tasks; not for others.
#[test]
fn processes_are_asked_for() {
    let mut it = Loop::new();
    let alone = thread(9, 9);
    let inbound = it.host.accept(alone);
    let request = it.host.receive(inbound, alone, GET);
    let call = it.host.connect(alone, thread(2, 2), 5432).client;
    let mut serving: Vec<u32> = it.host.tracer.take_unsure().collect();
    serving.sort_unstable();
    assert_eq!(serving, [1, 2, 9]);
    it.host.ask(call, alone, request, CONTINUED, GET);
    it.asks(0, 0);
    it.asks(1, 0);
    it.asks(2, 0xa0);
    it.joined();
    assert_eq!(it.host.tracer.take_unsure().collect::<Vec<_>>(), [1]);
    assert_eq!(it.host.tracer.take_unsure().count(), 0);
}
