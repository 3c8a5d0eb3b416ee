//! Which request is whose child.

use observer_common::requests::context::{CONNECTED, CONTINUED, HANDED_OVER, NONE, RECEIVED};
use observer_common::workload::WorkloadId;

use super::Host;
use super::host::{GET, OK, Thread, thread};
use crate::{Finished, Parent, Role};

fn is_child(child: &Finished, parent: &Finished, how: Parent) {
    assert_eq!(child.parent, how);
    assert_eq!(child.trace_id, parent.trace_id);
    assert_eq!(child.parent_span_id, parent.span_id);
    assert!(child.begun >= parent.begun);
    assert_ne!(child.span_id, parent.span_id);
}

fn is_root(finished: &Finished, how: Parent) {
    assert_eq!(finished.parent, how);
    assert_eq!(finished.parent_span_id, [0; 8]);
    assert_ne!(finished.trace_id, [0; 16]);
    assert_ne!(finished.span_id, [0; 8]);
}

/// Checks that a request through a proxy and an application to two databases is
/// one trace with each span below its cause, with no header sent.
#[test]
fn one_trace_through_all() {
    let mut host = Host::new();
    let (curl, nginx, app) = (thread(1, 1), thread(2, 2), thread(3, 3));
    let (postgres, redis) = (thread(4, 4), thread(5, 5));
    let front = host.connect(curl, nginx, 80);
    let back = host.connect(nginx, app, 8000);
    let (sql, cache) = (
        host.connect(app, postgres, 5432),
        host.connect(app, redis, 6379),
    );
    host.ask(front.client, curl, 0, NONE, GET);
    let at_nginx = host.receive(front.server, nginx, GET);
    host.ask(back.client, nginx, at_nginx, RECEIVED, GET);
    let at_app = host.receive(back.server, app, GET);
    host.call(sql, app, postgres, at_app, RECEIVED);
    host.call(cache, app, redis, at_app, CONTINUED);
    host.answer(back.server, app, at_app, OK);
    host.hear(back.client, nginx, OK);
    host.answer(front.server, nginx, at_nginx, OK);
    host.hear(front.client, curl, OK);
    host.flush();
    assert_eq!(host.finished.len(), 8);
    let root = host.only(WorkloadId(1), Role::Client);
    is_root(root, Parent::Root);
    let nginx_in = host.only(WorkloadId(2), Role::Server);
    is_child(nginx_in, root, Parent::OtherEnd);
    let nginx_out = host.only(WorkloadId(2), Role::Client);
    is_child(nginx_out, nginx_in, Parent::Thread);
    let app_in = host.only(WorkloadId(3), Role::Server);
    is_child(app_in, nginx_out, Parent::OtherEnd);
    let calls = |finished: &&Finished| finished.tgid == 3 && finished.role == Role::Client;
    let calls: Vec<_> = host.finished.iter().filter(calls).collect();
    for call in &calls {
        is_child(call, app_in, Parent::Thread);
    }
    is_child(
        host.only(WorkloadId(4), Role::Server),
        calls[0],
        Parent::OtherEnd,
    );
    is_child(
        host.only(WorkloadId(5), Role::Server),
        calls[1],
        Parent::OtherEnd,
    );
    assert_eq!(host.tracer.losses(), Default::default());
    assert!(host.finished.iter().all(|finished| finished.sampled));
    assert_eq!(host.tracer.active(), []);
}

/// Checks that on an event loop a call belongs to the only request that is open; as
/// long as there are several it has no parent and says so, whatever went before it
/// and whenever its connection was made.
#[test]
fn event_loops_link_what_is_unambiguous() {
    let mut host = Host::new();
    let (node, database) = (thread(1, 1), thread(2, 2));
    let (a, b) = (host.accept(node), host.accept(node));
    let links = [(); 4].map(|()| host.connect(node, database, 5432));
    let first = host.receive(a, node, GET);
    host.ask(links[0].client, node, first, RECEIVED, GET);
    let second = host.receive(b, node, GET);
    host.ask(links[1].client, node, second, RECEIVED, GET);
    host.hear(links[0].client, node, OK);
    host.ask(links[2].client, node, first, CONTINUED, GET);
    host.ask(links[3].client, node, second, CONNECTED, GET);
    for link in &links[1..] {
        host.hear(link.client, node, OK);
    }
    host.answer(b, node, second, OK);
    // The first is alone now.
    host.ask(links[0].client, node, first, CONTINUED, GET);
    host.hear(links[0].client, node, OK);
    host.answer(a, node, first, OK);
    host.flush();
    let servers: Vec<_> = host
        .finished
        .iter()
        .filter(|it| it.role == Role::Server)
        .collect();
    let calls: Vec<_> = host
        .finished
        .iter()
        .filter(|it| it.role == Role::Client)
        .collect();
    let a = servers[1];
    is_child(calls[0], a, Parent::Thread);
    is_root(calls[1], Parent::Ambiguous);
    is_root(calls[2], Parent::Ambiguous);
    is_root(calls[3], Parent::Ambiguous);
    is_child(calls[4], a, Parent::Thread);
    assert!(servers.iter().all(|it| it.clock.is_none()));
}

/// Checks that calls of a thread that took over belong to the request that was
/// handed over, and that those after its answer belong to none.
#[test]
fn hand_overs() {
    let mut host = Host::new();
    let (receiver, worker, database) = (thread(1, 1), thread(2, 1), thread(3, 3));
    let inbound = host.accept(receiver);
    let link = host.connect(worker, database, 5432);
    let request = host.receive(inbound, receiver, GET);
    host.call(link, worker, database, request, HANDED_OVER);
    host.call(link, worker, database, request, CONTINUED);
    host.answer(inbound, receiver, request, OK);
    host.call(link, worker, database, request, HANDED_OVER);
    host.flush();
    let calls: Vec<_> = host
        .finished
        .iter()
        .filter(|it| it.role == Role::Client)
        .collect();
    let server = host.only(WorkloadId(1), Role::Server);
    is_child(calls[0], server, Parent::HandedOver);
    is_child(calls[1], server, Parent::HandedOver);
    is_root(calls[2], Parent::Root);
    assert_eq!(server.clock, None);
}

/// Checks that calls of a worker for nobody that is known become those of the
/// request that it then answers, with what hangs under them; and that a thread
/// that answers nothing has its calls given out after a second.
#[test]
fn workers_that_answer() {
    workers(false);
    // The same if what they seem to work for is over.
    workers(true);
}

fn workers(stale: bool) {
    let mut host = Host::new();
    let (receiver, worker, other) = (thread(1, 1), thread(2, 1), thread(3, 1));
    let database = thread(4, 4);
    let inbound = host.accept(receiver);
    let (link, idle) = (
        host.connect(worker, database, 5432),
        host.connect(other, database, 5432),
    );
    let over = host.receive(inbound, receiver, GET);
    host.answer(inbound, receiver, over, OK);
    // No request is open: nothing waits.
    host.call(link, worker, database, 0, NONE);
    host.flush();
    assert_eq!(host.finished.len(), 3);
    host.finished.clear();
    let (nobody, why) = if stale { (over, CONTINUED) } else { (0, NONE) };

    let request = host.receive(inbound, receiver, GET);
    host.call(link, worker, database, nobody, why);
    host.ask(link.client, worker, nobody, why, GET);
    host.call(idle, other, database, nobody, why);
    host.now += 2_000_000;
    host.advance();
    assert_eq!(host.finished, []);
    host.answer(inbound, worker, request, OK);
    host.hear(link.client, worker, OK);
    host.now += 2_000_000;
    host.advance();
    let server = host.only(WorkloadId(1), Role::Server).clone();
    let calls: Vec<_> = host.finished.iter().filter(|it| it.tid == 2).collect();
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(call.parent, Parent::HandedOver);
        assert_eq!(call.parent_span_id, server.span_id);
        assert_eq!(call.trace_id, server.trace_id);
        assert!(call.sampled);
    }
    let below: Vec<_> = host.finished.iter().filter(|it| it.tid == 4).collect();
    is_child(below[0], calls[0], Parent::OtherEnd);
    assert_eq!(host.finished.len(), 4);
    host.now += 1_000_000_000;
    host.advance();
    let lonely: Vec<_> = host.finished.iter().filter(|it| it.tid == 3).collect();
    is_root(lonely[0], Parent::Unknown);
    assert_eq!((lonely.len(), host.finished.len()), (1, 6));
}

/// Checks that what a worker did before a request came isn't taken for a part
/// of it, and that threads which receive requests themselves aren't workers.
#[test]
fn workers_with_work_of_their_own() {
    let mut host = Host::new();
    let (receiver, worker, database) = (thread(1, 1), thread(2, 1), thread(4, 4));
    let (inbound, other) = (host.accept(receiver), host.accept(receiver));
    let link = host.connect(worker, database, 5432);
    let long = host.receive(other, receiver, GET);
    host.call(link, worker, database, 0, NONE);
    let request = host.receive(inbound, receiver, GET);
    host.call(link, worker, database, 0, NONE);
    host.answer(inbound, worker, request, OK);
    // Now it receives itself.
    let own = host.receive(inbound, worker, GET);
    host.answer(inbound, worker, own, OK);
    host.call(link, worker, database, 0, NONE);
    host.answer(other, worker, long, OK);
    host.flush();
    let calls: Vec<_> = host
        .finished
        .iter()
        .filter(|it| it.role == Role::Client)
        .collect();
    let below: Vec<_> = host.finished.iter().filter(|it| it.tgid == 4).collect();
    let ways: Vec<_> = calls.iter().map(|it| it.parent).collect();
    assert_eq!(ways, [Parent::Unknown, Parent::HandedOver, Parent::Unknown]);
    for (call, below) in calls.iter().zip(&below) {
        is_child(below, call, Parent::OtherEnd);
    }
}

/// Checks that of requests pipelined on a connection each is joined with its
/// own other end, and that a number stands for the first that is open.
#[test]
fn pipelines() {
    let mut host = Host::new();
    let (client, server) = (thread(1, 1), thread(2, 2));
    let link = host.connect(client, server, 80);
    let three = GET.repeat(3);
    host.ask(link.client, client, 0, NONE, &three);
    let request = host.receive(link.server, server, &three);
    for _ in 0..3 {
        host.answer(link.server, server, request, OK);
        host.now += 2_000_000;
        host.advance();
        let over = host.finished.last().unwrap();
        let next = host.tracer.link(request).unwrap();
        if host.finished.len() < 3 {
            assert_ne!(next.span_id, over.span_id);
            assert_eq!(next.duration, None);
        } else {
            assert_eq!(next.span_id, over.span_id);
            assert_eq!(next.duration, Some(over.duration()));
            assert_eq!(next.route.as_deref(), Some("/a"));
        }
    }
    host.hear(link.client, client, &OK.repeat(3));
    host.flush();
    assert_eq!(host.finished.len(), 6);
    for i in 0..3 {
        is_child(&host.finished[i], &host.finished[i + 3], Parent::OtherEnd);
    }
}

/// Checks that a server whose client's call comes back late, after its record
/// was waited for, still becomes its child.
#[test]
fn late_clients() {
    let mut host = Host::new();
    let (client, server, database) = (thread(1, 1), thread(2, 2), thread(3, 3));
    let link = host.connect(client, server, 80);
    let behind = host.connect(server, database, 5432);
    let began = host.step();
    let request = host.receive(link.server, server, GET);
    host.call(behind, server, database, request, RECEIVED);
    host.now += 10_000_000;
    host.advance();
    let now = std::mem::replace(&mut host.now, began - super::host::STEP);
    host.ask(link.client, client, 0, NONE, GET);
    host.now = now;
    host.answer(link.server, server, request, OK);
    host.hear(link.client, client, OK);
    host.flush();
    let (outer, inner) = (
        host.only(WorkloadId(1), Role::Client),
        host.only(WorkloadId(2), Role::Server),
    );
    is_root(outer, Parent::Root);
    is_child(inner, outer, Parent::OtherEnd);
    is_child(
        host.only(WorkloadId(2), Role::Client),
        inner,
        Parent::Thread,
    );
}

/// Checks that a caller's header is honoured, also where it comes in the second
/// piece of a head, where the caller is on the same host, and on a client's
/// call of a program that makes spans of its own.
#[test]
fn remote_callers() {
    const TOLD: &[u8] = b"GET /a HTTP/1.1\r\ntraceparent: \
        00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01\r\n\r\n";
    let trace: [u8; 16] = std::array::from_fn(|i| i as u8 + 1);
    let span: [u8; 8] = std::array::from_fn(|i| i as u8 + 0x11);
    let mut host = Host::new();
    let (client, server) = (thread(1, 1), thread(2, 2));
    let inbound = host.accept(server);
    for split in [0, 20, 70] {
        let request = host.receive(inbound, server, &TOLD[..split]);
        if split > 0 {
            host.now += 5_000_000;
            host.advance();
        }
        host.receive(inbound, server, &TOLD[split..]);
        host.answer(inbound, server, request, OK);
        host.flush();
        let finished = host.finished.pop().unwrap();
        assert_eq!(finished.parent, Parent::Remote, "{split}");
        assert_eq!((finished.trace_id, finished.parent_span_id), (trace, span));
    }
    let link = host.connect(client, server, 80);
    host.ask(link.client, client, 0, NONE, TOLD);
    let request = host.receive(link.server, server, TOLD);
    host.answer(link.server, server, request, OK);
    host.hear(link.client, client, OK);
    host.flush();
    let outer = host.only(WorkloadId(1), Role::Client);
    assert_eq!((outer.trace_id, outer.parent_span_id), (trace, span));
    assert_eq!(outer.parent, Parent::Remote);
    is_child(
        host.only(WorkloadId(2), Role::Server),
        outer,
        Parent::OtherEnd,
    );
}

/// Checks that the kernel half's numbers of requests lead to their spans.
#[test]
fn links() {
    let mut host = Host::new();
    let server = thread(1, 1);
    let inbound = host.accept(server);
    let request = host.receive(inbound, server, GET);
    host.now += 5_000_000;
    host.advance();
    let open = host.tracer.link(request).unwrap();
    assert_eq!((open.duration, open.sampled), (None, true));
    assert_eq!(host.tracer.active().len(), 1);
    host.answer(inbound, server, request, OK);
    host.flush();
    let over = host.tracer.link(request).unwrap();
    let finished = host.only(WorkloadId(1), Role::Server);
    assert_eq!(over.trace_id, finished.trace_id);
    assert_eq!(over.trace_id, open.trace_id);
    assert_eq!(
        (over.span_id, open.span_id),
        (finished.span_id, finished.span_id)
    );
    assert_eq!(over.duration, Some(finished.duration()));
    assert_eq!(over.route, finished.route);
    assert!(over.sampled);
    assert_eq!(host.tracer.link(request + 1), None);
    assert_eq!(host.tracer.link(0), None);
}

/// Checks that a thread's call belongs to the request that it received only if the thread
/// answers that itself and none was seen to take turns, until that is known; and that
/// afterwards it belongs to it at once.
#[test]
fn who_serves_answers() {
    let mut host = Host::new();
    let (one, other, database) = (thread(1, 1), thread(3, 1), thread(2, 2));
    let links = [one, other].map(|by| (host.accept(by), host.connect(by, database, 5432)));
    let round = |host: &mut Host, answers: [Thread; 2]| {
        host.finished.clear();
        let by = [one, other];
        let requests = [0, 1].map(|n| host.receive(links[n].0, by[n], GET));
        for n in [0, 1] {
            host.call(links[n].1, by[n], database, requests[n], RECEIVED);
        }
        host.now += 10_000_000;
        host.advance();
        let before = host.finished.iter().filter(|it| it.tgid == 1).count();
        for n in [0, 1] {
            host.answer(links[n].0, answers[n], requests[n], OK);
        }
        host.now += 10_000_000;
        host.advance();
        let calls = host.finished.iter();
        let calls = calls.filter(|it| it.tgid == 1 && it.role == Role::Client);
        (before, calls.map(|it| it.parent).collect::<Vec<_>>())
    };
    let thread = vec![Parent::Thread; 2];
    // They wait for the answers, of which the latest in each round is alone.
    for _ in 0..4 {
        assert_eq!(round(&mut host, [one, other]), (0, thread.clone()));
    }
    assert_eq!(round(&mut host, [one, other]), (2, thread));

    let mut host = Host::new();
    let links = [one, other].map(|by| (host.accept(by), host.connect(by, database, 5432)));
    let requests = [0, 1].map(|n| host.receive(links[n].0, [one, other][n], GET));
    host.call(links[0].1, one, database, requests[0], RECEIVED);
    host.answer(links[0].0, other, requests[0], OK);
    host.answer(links[1].0, one, requests[1], OK);
    host.flush();
    is_root(host.only(WorkloadId(1), Role::Client), Parent::Ambiguous);
}
