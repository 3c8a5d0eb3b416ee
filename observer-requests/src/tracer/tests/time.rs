//! Where the time went.

use observer_common::requests::Component;
use observer_common::requests::context::{CONTINUED, NONE, RECEIVED};

use super::Host;
use super::host::{GET, OK, STEP, thread};
use crate::Role;

/// Checks that a request's clock has what its thread did while it was open, and
/// nothing of before and after, and adds up; that waiting is split by call.
#[test]
fn clocks() {
    let mut host = Host::new();
    let (server, postgres, redis) = (thread(1, 1), thread(2, 2), thread(3, 3));
    let inbound = host.accept(server);
    let (sql, cache) = (
        host.connect(server, postgres, 5432),
        host.connect(server, redis, 6379),
    );
    for _ in 0..3 {
        host.goes_into(server, Component::Network as usize);
        host.now += 50 * STEP;
        let request = host.receive(inbound, server, GET);
        host.goes_into(server, Component::Cpu as usize);
        host.now += 20 * STEP;
        host.goes_into(server, Component::Lock as usize);
        host.now += 30 * STEP;
        host.goes_into(server, Component::Cpu as usize);
        host.ask(sql.client, server, request, RECEIVED, GET);
        host.goes_into(server, Component::Network as usize);
        host.now += 10 * STEP;
        host.hear(sql.client, server, OK);
        host.goes_into(server, Component::Cpu as usize);
        host.ask(cache.client, server, request, CONTINUED, GET);
        host.goes_into(server, Component::Network as usize);
        host.now += 4 * STEP;
        host.hear(cache.client, server, OK);
        host.goes_into(server, Component::Cpu as usize);
        host.answer(inbound, server, request, OK);
    }
    host.flush();
    let servers = host.finished.iter().filter(|it| it.role == Role::Server);
    for finished in servers {
        let clock = finished.clock.expect("one thread");
        assert_eq!(clock.total(), finished.duration());
        assert_eq!(clock.time[Component::Lock as usize], 30 * STEP);
        assert_eq!(clock.time[Component::Network as usize], 16 * STEP);
        let waited: Vec<_> = finished
            .waited_for
            .iter()
            .map(|(call, time)| (call.as_ref(), *time))
            .collect();
        let expected = [
            ("http 127.0.0.1:5432", 11 * STEP),
            ("http 127.0.0.1:6379", 5 * STEP),
        ];
        assert_eq!(waited, expected);
    }
    assert_eq!(host.tracer.losses().clocks, 0);
}

/// Checks that time is attributed to no request where two were open on a
/// thread, and to the third again that is alone.
#[test]
fn interleaved() {
    let mut host = Host::new();
    let (server, other) = (thread(1, 1), thread(2, 1));
    let (a, b, c) = (
        host.accept(server),
        host.accept(server),
        host.accept(server),
    );
    let first = host.receive(a, server, GET);
    let second = host.receive(b, server, GET);
    host.answer(b, server, second, OK);
    host.answer(a, server, first, OK);
    let third = host.receive(c, server, GET);
    host.answer(c, server, third, OK);
    // One that another thread answers, and one in which another's answer falls.
    let fourth = host.receive(a, server, GET);
    host.answer(a, other, fourth, OK);
    let fifth = host.receive(b, other, GET);
    let sixth = host.receive(c, server, GET);
    host.answer(b, server, fifth, OK);
    host.answer(c, server, sixth, OK);
    host.flush();
    let clocks: Vec<_> = host.finished.iter().map(|it| it.clock.is_some()).collect();
    assert_eq!(clocks, [false, false, true, false, false, false]);
    assert!(host.finished.iter().all(|it| it.waited_for.is_empty()));
}

/// Checks that a call's time isn't counted on a request that another thread
/// serves, and that a call for nobody counts for none.
#[test]
fn calls_of_others() {
    let mut host = Host::new();
    let (server, database) = (thread(1, 1), thread(2, 2));
    let inbound = host.accept(server);
    let link = host.connect(server, database, 5432);
    let request = host.receive(inbound, server, GET);
    host.goes_into(server, Component::Network as usize);
    host.call(link, server, database, 0, NONE);
    host.answer(inbound, server, request, OK);
    host.flush();
    let servers: Vec<_> = host.finished.iter().filter(|it| it.tgid == 1).collect();
    let finished = servers.iter().find(|it| it.role == Role::Server).unwrap();
    assert!(finished.clock.is_some());
    assert!(finished.waited_for.is_empty());
}
