//! What stays bounded, whatever comes.

use observer_common::requests::context::NONE;
use observer_common::requests::{Piece, direction, role};

use super::Host;
use super::host::{GET, OK, thread};
use crate::tracer::{Options, Sampler};
use crate::{Call, Parent, Role};

/// Checks that on 10,000 connections at once each request is its own: its
/// target, its port, its parent.
#[test]
fn nothing_crosses_connections() {
    let mut host = Host::new();
    let server = thread(1, 1);
    let mut random = fastrand::Rng::with_seed(1);
    let mut open = Vec::new();
    for n in 0..10_000u32 {
        let client = thread(10 + n % 500, 10 + n % 500);
        open.push((client, host.connect(client, server, 1000), 0));
    }
    random.shuffle(&mut open);
    for (client, link, _) in &open {
        let head = format!("GET /{} HTTP/1.1\r\n\r\n", link.client);
        host.ask(link.client, *client, 0, NONE, head.as_bytes());
    }
    random.shuffle(&mut open);
    for (_, link, request) in &mut open {
        let head = format!("GET /{} HTTP/1.1\r\n\r\n", link.client);
        *request = host.receive(link.server, server, head.as_bytes());
        host.advance();
    }
    random.shuffle(&mut open);
    for (client, link, request) in &open {
        host.answer(link.server, server, *request, OK);
        host.hear(link.client, *client, OK);
        host.close(link.client);
        host.close(link.server);
    }
    host.flush();
    assert_eq!(host.finished.len(), 20_000);
    assert_eq!(host.tracer.losses(), Default::default());
    assert_eq!(host.tracer.connections.len(), 0);
    assert_eq!(host.tracer.exchanges.len(), 0);
    let mut outer = std::collections::HashMap::new();
    let target = |call: &Call| match call {
        Call::Http(http) => http.target.clone(),
        other => panic!("{other:?}"),
    };
    for finished in host.finished.iter().filter(|it| it.role == Role::Client) {
        let number: u16 = target(&finished.call)[1..].parse().unwrap();
        let port = finished.endpoints.local.unwrap().1;
        assert_eq!(port, 10_000 + number - 1);
        outer.insert(finished.span_id, finished);
    }
    for inner in host.finished.iter().filter(|it| it.role == Role::Server) {
        let outer = outer[&inner.parent_span_id];
        assert_eq!(inner.parent, Parent::OtherEnd);
        assert_eq!(target(&inner.call), target(&outer.call));
        assert_eq!(inner.trace_id, outer.trace_id);
        assert_eq!(inner.endpoints.local, outer.endpoints.peer);
        assert_eq!(inner.endpoints.peer, outer.endpoints.local);
    }
}

/// Checks that the connections that weren't used for longest go when there are
/// too many, that this is counted, and that idle ones go without being counted.
#[test]
fn connections_are_bounded() {
    let mut host = Host::with(Options {
        max_connections: 100,
        ..Options::default()
    });
    let server = thread(1, 1);
    let first = host.accept(server);
    for _ in 0..150 {
        // The first one is used all the time.
        let request = host.receive(first, server, GET);
        host.answer(first, server, request, OK);
        let other = host.accept(server);
        host.receive(other, server, GET);
        host.now += 1_100_000_000;
        host.advance();
    }
    assert_eq!(host.tracer.connections.len(), 100);
    let losses = host.tracer.losses();
    assert_eq!((losses.evicted, losses.abandoned), (51, 51));
    host.flush();
    assert_eq!(host.finished.len(), 150);
    host.now += 601_000_000_000;
    host.advance();
    assert_eq!(host.tracer.connections.len(), 0);
    assert_eq!(host.tracer.exchanges.len(), 0);
    let losses = host.tracer.losses();
    assert_eq!((losses.evicted, losses.abandoned), (51, 150));
    assert_eq!(host.tracer.active(), []);
}

/// Checks that spans that wait for their trace's end are bounded, and counted
/// when they can't wait longer.
#[test]
fn buffers_are_bounded() {
    let mut host = Host::with(Options {
        sampler: Sampler::parse("traceidratio", Some("0.000000001")).unwrap(),
        ..Options::default()
    });
    let (server, database) = (thread(1, 1), thread(2, 2));
    let inbound = host.accept(server);
    let link = host.connect(server, database, 5432);
    let request = host.receive(inbound, server, GET);
    let n = 12_000;
    for _ in 0..n {
        host.call(link, server, database, request, NONE);
        host.advance();
    }
    host.answer(inbound, server, request, super::host::WRONG);
    host.flush();
    assert_eq!(host.finished.len(), 2 * n + 1);
    let dropped = host.tracer.losses().unbuffered as usize;
    let kept = host.kept.len() + host.finished.iter().filter(|it| it.sampled).count();
    assert_eq!(kept + dropped, 2 * n + 1);
    assert!((16_000..=16_384 + 100).contains(&kept), "{kept}");
    // After the root's end all is forgotten.
    host.now += 200_000_000;
    host.advance();
    assert_eq!(host.tracer.undecided.sizes(), (0, 0));
}

/// Checks that calls that wait for whom their thread works are bounded.
#[test]
fn held_calls_are_bounded() {
    let mut host = Host::new();
    let (receiver, database) = (thread(1, 1), thread(2, 2));
    let inbound = host.accept(receiver);
    host.receive(inbound, receiver, GET);
    let links: Vec<_> = (0..100)
        .map(|n| {
            let worker = thread(100 + n, 1);
            (worker, host.connect(worker, database, 5432))
        })
        .collect();
    for _ in 0..50 {
        for (worker, link) in &links {
            host.call(*link, *worker, database, 0, NONE);
        }
        host.advance();
    }
    host.flush();
    assert_eq!(host.finished.len(), 2 * 50 * 100);
}

/// Checks that a flood of records without an advance is bounded and counted,
/// and that times in the far future don't stop what comes after.
#[test]
fn floods() {
    let mut host = Host::new();
    let server = thread(1, 1);
    let inbound = host.accept(server);
    let big = [b'x'; 4096];
    for _ in 0..20_000 {
        host.receive(inbound, server, &big);
    }
    let losses = host.tracer.losses();
    assert!(losses.overrun > 10_000, "{losses:?}");
    host.advance();
    for _ in 0..20_000 {
        let piece = Piece {
            connection: inbound,
            began: u64::MAX,
            ended: u64::MAX,
            direction: direction::RECEIVED,
            role: role::SERVER,
            ..Piece::default()
        };
        host.piece(piece, server, &big);
        host.advance();
    }
    assert_eq!(host.tracer.losses().overrun, losses.overrun);
    let other = host.accept(server);
    let request = host.receive(other, server, GET);
    host.answer(other, server, request, OK);
    host.now += 5_000_000;
    host.advance();
    assert_eq!(
        host.finished
            .iter()
            .filter(|it| it.ended < u64::MAX)
            .count(),
        1
    );
}

/// Checks that records of any bytes are taken, and that what isn't a record is
/// counted.
#[test]
fn any_bytes() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut host = Host::new();
    let server = thread(1, 1);
    host.ring = Some(Vec::new());
    for _ in 0..20 {
        let inbound = host.accept(server);
        let request = host.receive(inbound, server, GET);
        host.answer(inbound, server, request, OK);
        host.close(inbound);
    }
    let records = host.ring.take().unwrap();
    for round in 0..20_000u64 {
        let mut record = random.choice(&records).unwrap().clone();
        for _ in 0..random.usize(..8) {
            let at = random.usize(..record.len());
            record[at] = random.u8(..);
        }
        if random.u8(..8) == 0 {
            record.truncate(random.usize(..=record.len()));
        }
        host.tracer.record(&record);
        if random.u8(..32) == 0 {
            host.now += random.u64(..20_000_000);
            host.advance();
            let _ = host.tracer.link(round % 100);
        }
    }
    host.flush();
    for finished in &host.finished {
        assert!(finished.ended >= finished.begun);
        assert_ne!((finished.trace_id, finished.span_id), ([0; 16], [0; 8]));
    }
    assert!(host.tracer.losses().malformed > 0);
}
