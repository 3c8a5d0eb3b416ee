//! Connections that don't speak HTTP/1, with their own parsers.

use observer_common::requests::context::{CONTINUED, NONE, RECEIVED};
use observer_common::requests::{Component, Protocol, transport};
use observer_common::workload::WorkloadId;

use super::Host;
use super::host::{GET, OK, STEP, thread};
use crate::{Call, Failure, Parent, Role};

/// `Q`, a simple query.
const QUERY: &[u8] = b"Q\0\0\0\x19select * from users;\0";
/// No column, one command, ready.
const QUERIED: &[u8] = b"T\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

/// Checks that an application's calls to PostgreSQL and Redis are its request's
/// children, seen from both ends, and share the time that it waited.
#[test]
fn databases() {
    let mut host = Host::new();
    let (app, postgres, redis) = (thread(1, 1), thread(2, 2), thread(3, 3));
    let inbound = host.accept(app);
    host.protocol = Protocol::Postgres;
    let sql = host.connect(app, postgres, 5432);
    host.protocol = Protocol::Redis;
    let cache = host.connect(app, redis, 6379);
    let request = host.receive(inbound, app, GET);
    host.ask(sql.client, app, request, RECEIVED, QUERY);
    let inner = host.receive(sql.server, postgres, QUERY);
    host.goes_into(app, Component::Network as usize);
    host.now += 10 * STEP;
    host.answer(sql.server, postgres, inner, QUERIED);
    host.hear(sql.client, app, QUERIED);
    host.goes_into(app, Component::Cpu as usize);
    host.ask(
        cache.client,
        app,
        request,
        CONTINUED,
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    );
    let inner = host.receive(cache.server, redis, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    host.answer(cache.server, redis, inner, b"$1\r\nb\r\n");
    host.hear(cache.client, app, b"$1\r\nb\r\n");
    host.answer(inbound, app, request, OK);
    host.flush();
    assert_eq!(host.finished.len(), 5);
    let outer = host.only(WorkloadId(1), Role::Server);
    for finished in &host.finished {
        assert_eq!(finished.trace_id, outer.trace_id);
        let summary = match &finished.call {
            Call::Db(db) => db.summary.as_ref(),
            _ => "",
        };
        match (finished.tgid, finished.role) {
            (1, Role::Server) => assert_eq!(finished.parent, Parent::Root),
            (1, Role::Client) => {
                assert_eq!(finished.parent_span_id, outer.span_id);
                assert!(!summary.is_empty());
            }
            (tgid, _) => {
                assert_eq!(finished.parent, Parent::OtherEnd);
                let port = if tgid == 2 { 5432 } else { 6379 };
                assert_eq!(finished.endpoints.local.unwrap().1, port);
            }
        }
    }
    let waited: Vec<_> = outer
        .waited_for
        .iter()
        .map(|(call, _)| call.as_ref())
        .collect();
    assert_eq!(waited, ["postgresql 127.0.0.1:5432"]);
    assert!(outer.waited_for[0].1 > 10 * STEP);
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// Checks that streams of one HTTP/2 connection, answered out of order, are
/// each joined with their own other end, and that a call can't be told to be
/// made for one of them.
#[test]
fn streams() {
    let mut host = Host::new();
    let (client, server, database) = (thread(1, 1), thread(2, 2), thread(3, 3));
    let behind = host.connect(server, database, 5432);
    host.protocol = Protocol::Http2;
    let link = host.connect(client, server, 80);
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asked.extend(frame(4, 0, 0, &[]));
    // GET http / on streams 1, 3 and 5: headers of the static table.
    for stream in [1, 3, 5] {
        asked.extend(frame(1, 5, stream, &[0x82, 0x86, 0x84]));
    }
    host.ask(link.client, client, 0, NONE, &asked);
    let request = host.receive(link.server, server, &asked);
    host.call(behind, server, database, request, RECEIVED);
    for stream in [5, 1, 3] {
        // 200.
        let answer = frame(1, 5, stream, &[0x88]);
        host.answer(link.server, server, request, &answer);
        host.hear(link.client, client, &answer);
    }
    host.flush();
    let of = |tgid: u32, role| {
        let of = move |it: &&crate::Finished| it.tgid == tgid && it.role == role;
        host.finished.iter().filter(of).collect::<Vec<_>>()
    };
    let (outer, inner) = (of(1, Role::Client), of(2, Role::Server));
    assert_eq!((outer.len(), inner.len()), (3, 3));
    for (outer, inner) in outer.iter().zip(&inner) {
        assert_eq!(inner.parent_span_id, outer.span_id);
        assert!(inner.ended < outer.ended);
        assert_eq!(inner.clock, None);
    }
    assert_eq!(of(2, Role::Client)[0].parent, Parent::Ambiguous);
}

/// Checks that a look-up without an answer fails after its time, though its
/// socket's end is never told, and that the socket is forgotten.
#[test]
fn lookups_without_answers() {
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
    let mut host = Host::new();
    let (client, server) = (thread(1, 1), thread(2, 2));
    host.protocol = Protocol::Dns;
    host.transport = transport::UDP;
    let link = host.connect(client, server, 53);
    host.ask(link.client, client, 0, NONE, QUESTION);
    let begun = host.now;
    for _ in 0..60 {
        host.now += 1_000_000_000;
        host.advance();
    }
    let finished = host.only(WorkloadId(1), Role::Client);
    let Call::Dns(lookup) = &finished.call else {
        panic!("{finished:?}");
    };
    assert_eq!(
        (lookup.name.as_str(), lookup.failure),
        ("a", Some(Failure::Timeout))
    );
    assert!(finished.ended - begun >= 4_000_000_000 && finished.ended < host.now);
    assert_eq!(host.tracer.connections.len(), 0);
    assert_eq!(host.tracer.losses(), Default::default());
}

/// Checks that a server's request whose client closed first was given up, by what the
/// socket says and by which end on this host closed first; and that one whose server
/// closed first failed, at both ends.
#[test]
fn given_up() {
    let failure = |finished: &crate::Finished| match &finished.call {
        Call::Http(http) => (finished.role, http.failure),
        _ => panic!("HTTP"),
    };
    let (client, server) = (thread(1, 1), thread(2, 2));
    let closed = Some(Failure::Closed);
    for (client_first, expected) in [(true, Some(Failure::Cancelled)), (false, closed)] {
        let mut host = Host::new();
        let link = host.connect(client, server, 80);
        host.ask(link.client, client, 0, NONE, GET);
        host.receive(link.server, server, GET);
        let ends = if client_first {
            [link.client, link.server]
        } else {
            [link.server, link.client]
        };
        for end in ends {
            host.close(end);
        }
        host.flush();
        let mut failures: Vec<_> = host.finished.iter().map(failure).collect();
        failures.sort_by_key(|(role, _)| *role);
        assert_eq!(failures, [(Role::Server, expected), (Role::Client, closed)]);
    }
    for (by_peer, expected) in [(true, Some(Failure::Cancelled)), (false, closed)] {
        let mut host = Host::new();
        let inbound = host.accept(server);
        host.receive(inbound, server, GET);
        host.close_after(inbound, by_peer);
        host.flush();
        assert_eq!(failure(&host.finished[0]), (Role::Server, expected));
    }
}
