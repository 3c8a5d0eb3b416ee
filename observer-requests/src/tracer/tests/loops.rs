//! Whose child a call is that a loop makes with several requests open.

use observer_common::requests::context::{ALONE, AMONG, NONE, RECEIVED};

use super::Host;
use super::host::{GET, OK, Thread, thread};
use crate::{Finished, Parent, Role};

/// Requests after which a process is known to be a loop.
const SURE: usize = 4;

/// A loop that has served as many, with four connections and three for its calls.
struct Loop {
    host: Host,
    by: Thread,
    inbound: [u64; 4],
    calls: [u64; 3],
}

impl Loop {
    fn new(served: usize) -> Self {
        let mut host = Host::new();
        let (by, database) = (thread(1, 1), thread(2, 2));
        let inbound = [(); 4].map(|()| host.accept(by));
        let calls = [(); 3].map(|()| host.connect(by, database, 5432).client);
        for _ in 0..served {
            let request = host.receive(inbound[0], by, GET);
            host.answer(inbound[0], by, request, OK);
        }
        host.flush();
        host.finished.clear();
        Self {
            host,
            by,
            inbound,
            calls,
        }
    }

    /// A request comes, by this wait.
    fn comes(&mut self, to: usize, how: u8, wait: u8) -> u64 {
        self.host.comes = (how, wait);
        self.host.receive(self.inbound[to], self.by, GET)
    }

    fn asks(&mut self, on: usize, request: u64, how: u8) {
        self.host.ask(self.calls[on], self.by, request, how, GET);
    }

    /// How the calls' parents are known, and which requests these are: by the order of
    /// their beginnings.
    fn joined(mut self) -> Vec<(Parent, Option<usize>)> {
        self.host.comes = (RECEIVED, 0);
        for call in self.calls {
            self.host.hear(call, self.by, OK);
        }
        self.host.flush();
        self.host.now += 2_000_000_000;
        self.host.advance();
        for connection in self.inbound {
            self.host.close(connection);
        }
        self.host.flush();
        let of = |role: Role| {
            let all = self.host.finished.iter();
            let mut found: Vec<&Finished> =
                all.filter(|it| it.role == role && it.tgid == 1).collect();
            found.sort_by_key(|it| it.begun);
            found
        };
        let served = of(Role::Server);
        let of_parent = |call: &&Finished| {
            let parent = served
                .iter()
                .position(|it| it.span_id == call.parent_span_id);
            if let Some(parent) = parent {
                assert_eq!(call.trace_id, served[parent].trace_id);
            }
            (call.parent, parent)
        };
        of(Role::Client).iter().map(of_parent).collect()
    }
}

/// Checks that a call belongs to the one thing that came, of a process that is known
/// to be a loop, and of no other.
#[test]
fn one_event() {
    for (served, expected) in [
        (SURE, (Parent::Thread, Some(1))),
        (SURE - 3, (Parent::Ambiguous, None)),
    ] {
        let mut it = Loop::new(served);
        it.comes(0, RECEIVED, 0);
        let second = it.comes(1, ALONE, 7);
        it.asks(0, second, ALONE);
        it.asks(1, second, RECEIVED);
        assert_eq!(it.joined(), [expected, (Parent::Ambiguous, None)]);
    }
    // Others take part.
    let mut it = Loop::new(SURE);
    let other = it.host.accept(thread(3, 1));
    it.host.receive(other, thread(3, 1), GET);
    it.comes(0, RECEIVED, 0);
    let second = it.comes(1, ALONE, 7);
    it.asks(0, second, ALONE);
    assert_eq!(it.joined(), [(Parent::Ambiguous, None)]);
}

/// Checks that of several events a call belongs to the one before it if the next one
/// follows: of the same wait, and no answer to the call itself; and that a connection
/// made in between belongs to it, too.
#[test]
fn several_events() {
    let thread = (Parent::Thread, Some(1));
    let unknown = (Parent::Ambiguous, None);
    // The last one's isn't known.
    let mut it = Loop::new(SURE);
    it.comes(3, RECEIVED, 0);
    let first = it.comes(0, AMONG, 7);
    it.asks(0, first, AMONG);
    let second = it.comes(1, AMONG, 7);
    it.asks(1, second, AMONG);
    it.comes(2, AMONG, 8);
    // Connected before.
    it.asks(2, first, AMONG);
    assert_eq!(it.joined(), [thread, unknown, thread]);

    // By another wait, or by none.
    for wait in [8, 0] {
        let mut it = Loop::new(SURE);
        it.comes(2, RECEIVED, 0);
        let first = it.comes(0, AMONG, 7);
        it.asks(0, first, AMONG);
        it.comes(1, AMONG, wait);
        assert_eq!(it.joined(), [unknown], "{wait}");
    }

    // The answer to the call itself; that to another one.
    for (answered, expected) in [(0, unknown), (1, (Parent::Thread, Some(1)))] {
        let mut it = Loop::new(SURE);
        it.comes(2, RECEIVED, 0);
        it.asks(1, 0, NONE);
        let first = it.comes(0, AMONG, 7);
        it.asks(0, first, AMONG);
        it.host.hear(it.calls[answered], it.by, OK);
        let joined = it.joined();
        assert_eq!(joined[1], expected, "{joined:?}");
    }
}

/// Checks that behind the last of several events a call belongs to the one before it
/// if each request before made one call at once, and this one, too; and not otherwise.
#[test]
fn behind_the_last_event() {
    const REGULAR: usize = 8;
    for (regular, calls, expected) in [
        (REGULAR, 1, (Parent::Thread, Some(1))),
        (REGULAR - 1, 1, (Parent::Ambiguous, None)),
        (REGULAR, 2, (Parent::Ambiguous, None)),
    ] {
        let mut it = Loop::new(SURE);
        for wait in 0..regular {
            let request = it.comes(1, AMONG, 10 + wait as u8);
            it.asks(1, request, AMONG);
            it.host.hear(it.calls[1], it.by, OK);
            it.host.answer(it.inbound[1], it.by, request, OK);
        }
        it.host.flush();
        it.host.finished.clear();
        it.comes(0, RECEIVED, 0);
        let last = it.comes(1, AMONG, 7);
        for call in [0, 2].into_iter().take(calls) {
            it.asks(call, last, AMONG);
        }
        it.comes(2, AMONG, 8);
        assert_eq!(it.joined(), vec![expected; calls], "{regular} {calls}");
    }
}
