//! Records that come late, or don't.

use observer_common::requests::context::{CONTINUED, NONE, RECEIVED};
use observer_common::requests::{Piece, direction, role};
use observer_common::workload::WorkloadId;

use super::Host;
use super::host::{GET, OK, STEP, thread};
use crate::tracer::Options;
use crate::{Finished, Parent, Role};

/// One trace after the other through a server and its database, several
/// connections at once.
fn busy(host: &mut Host) {
    let database = thread(1000, 1000);
    let sets: Vec<_> = (1..=5)
        .map(|n| {
            let (client, server) = (thread(n, n), thread(n + 100, 100));
            let link = host.connect(client, server, 80);
            (client, server, link, host.connect(server, database, 5432))
        })
        .collect();
    for _ in 0..40 {
        for (client, server, link, behind) in &sets {
            host.ask(link.client, *client, 0, NONE, GET);
            let request = host.receive(link.server, *server, GET);
            host.call(*behind, *server, database, request, RECEIVED);
            host.call(*behind, *server, database, request, CONTINUED);
            host.answer(link.server, *server, request, OK);
            host.hear(link.client, *client, OK);
        }
    }
}

/// What tells spans apart but for their random ids.
fn shape(finished: &[Finished]) -> Vec<(u32, Role, u64, u64, Parent)> {
    let shape = |it: &Finished| (it.tid, it.role, it.begun, it.ended, it.parent);
    let mut shapes: Vec<_> = finished.iter().map(shape).collect();
    shapes.sort_by_key(|shape| (shape.2, shape.0));
    shapes
}

/// Checks that records that come out of the ring up to the hold late, each in
/// its own moment, give the same as in order.
#[test]
fn shuffled() {
    let mut straight = Host::new();
    busy(&mut straight);
    straight.flush();
    let expected = shape(&straight.finished);
    assert_eq!(expected.len(), 40 * 5 * 6);
    for seed in 0..20 {
        let mut host = Host::new();
        host.ring = Some(Vec::new());
        busy(&mut host);
        let mut random = fastrand::Rng::with_seed(seed);
        let ring = host.ring.take().unwrap();
        let begin = 1_000_000_000;
        // Records are a step apart or so: late by up to 150 of them.
        let mut late: Vec<_> = ring
            .into_iter()
            .enumerate()
            // The kernel half tells of a connection before its pieces.
            .map(|(i, record)| (if i < 20 { 0 } else { i + random.usize(..150) }, record))
            .collect();
        late.sort_by_key(|(place, _)| *place);
        for (i, (_, record)) in late.into_iter().enumerate() {
            host.tracer.record(&record);
            if random.u8(..16) == 0 {
                // The clock stands where the records do, or a bit before.
                host.now = begin + (i as u64).saturating_sub(200) * STEP;
                host.advance();
            }
        }
        host.now = u64::MAX / 2;
        host.flush();
        assert_eq!(shape(&host.finished), expected, "{seed}");
        let losses = host.tracer.losses();
        assert_eq!((losses.missed, losses.abandoned), (0, 0));
    }
}

/// Checks that records that are read in batches of any size, long after they
/// were made, give the same as at once.
#[test]
fn backlogs() {
    let mut straight = Host::new();
    busy(&mut straight);
    straight.flush();
    let expected = shape(&straight.finished);
    for size in [1, 7, 100, 4096] {
        let mut host = Host::new();
        host.ring = Some(Vec::new());
        busy(&mut host);
        let mut ring = host.ring.take().unwrap();
        // Each a few places from where it belongs.
        for chunk in ring[20..].chunks_mut(16) {
            chunk.reverse();
        }
        host.now += 1_000_000_000;
        for batch in ring.chunks(size) {
            for record in batch {
                host.tracer.record(record);
            }
            host.batch();
        }
        host.advance();
        assert_eq!(shape(&host.finished), expected, "{size}");
        assert_eq!(host.tracer.losses(), Default::default());
    }
}

/// Checks that a server that received before the client's call came back is
/// still its child: the client's record is made after the server's.
#[test]
fn slow_sends() {
    let mut host = Host::new();
    let (client, server) = (thread(1, 1), thread(2, 2));
    let link = host.connect(client, server, 80);
    let began = host.step();
    let request = host.receive(link.server, server, GET);
    host.answer(link.server, server, request, OK);
    // Only now the client's call comes back, and hears at once.
    let ended = host.step();
    let asked = Piece {
        connection: link.client,
        began,
        ended,
        direction: direction::SENT,
        role: role::CLIENT,
        ..Piece::default()
    };
    host.piece(asked, client, GET);
    host.hear(link.client, client, OK);
    host.flush();
    let (outer, inner) = (
        host.only(WorkloadId(1), Role::Client),
        host.only(WorkloadId(2), Role::Server),
    );
    assert_eq!(inner.parent_span_id, outer.span_id);
    assert_eq!(inner.parent, Parent::OtherEnd);
    assert!(outer.begun < inner.begun && outer.ended > inner.ended);
}

/// Checks that pieces of one direction are read in the order of their numbers,
/// whatever their times say, and that none counts as lost then.
#[test]
fn numbers_are_the_truth() {
    let mut host = Host::new();
    let (client, server) = (thread(1, 1), thread(2, 2));
    let link = host.connect(client, server, 80);
    let (head, rest) = GET.split_at(10);
    let at = host.step();
    let sent = |began| Piece {
        connection: link.client,
        began,
        ended: began + 5 * STEP,
        direction: direction::SENT,
        role: role::CLIENT,
        ..Piece::default()
    };
    host.piece(sent(at + STEP), client, head);
    host.piece(sent(at), client, rest);
    host.now = at + 10 * STEP;
    host.hear(link.client, client, OK);
    host.flush();
    let finished = host.only(WorkloadId(1), Role::Client);
    let crate::Call::Http(http) = &finished.call else {
        panic!("{finished:?}");
    };
    assert_eq!((http.target.as_str(), http.status), ("/a", Some(200)));
    let losses = host.tracer.losses();
    assert_eq!((losses.missed, losses.failed), (0, 0));
}

/// Checks that what is lost is counted to the piece, costs the requests that
/// were open, and that those after it are right.
#[test]
fn gaps() {
    let mut host = Host::new();
    let (client, server) = (thread(1, 1), thread(2, 2));
    let link = host.connect(client, server, 80);
    let whole = |host: &mut Host| {
        host.ask(link.client, client, 0, NONE, GET);
        let request = host.receive(link.server, server, GET);
        host.answer(link.server, server, request, OK);
        host.hear(link.client, client, OK);
    };
    whole(&mut host);
    // The server's part of one request.
    host.ask(link.client, client, 0, NONE, GET);
    host.lose(link.server, 2);
    host.hear(link.client, client, OK);
    whole(&mut host);
    // An answer at both ends.
    host.ask(link.client, client, 0, NONE, GET);
    host.receive(link.server, server, GET);
    host.lose(link.server, 1);
    host.lose(link.client, 1);
    whole(&mut host);
    whole(&mut host);
    host.flush();
    let losses = host.tracer.losses();
    assert_eq!(losses.missed, 4);
    let ended = |role| host.finished.iter().filter(move |it| it.role == role);
    let complete =
        |it: &&Finished| matches!(&it.call, crate::Call::Http(http) if http.status == Some(200));
    assert!(ended(Role::Client).filter(complete).count() >= 5);
    assert!(ended(Role::Server).filter(complete).count() >= 4);
    for inner in ended(Role::Server) {
        let parent = ended(Role::Client).find(|outer| outer.span_id == inner.parent_span_id);
        if let Some(outer) = parent {
            assert!(outer.begun < inner.begun && inner.begun < outer.ended);
        } else {
            assert_eq!(inner.parent, Parent::Root);
        }
    }
    let last = host.finished.last().unwrap();
    assert_eq!(last.role, Role::Client);
    let inner = &host.finished[host.finished.len() - 2];
    assert_eq!(inner.parent_span_id, last.span_id);
}

/// Checks that a connection whose beginning was lost is traced all the same,
/// without addresses.
#[test]
fn unknown_connections() {
    let mut host = Host::with(Options::default());
    let server = thread(1, 1);
    let request = host.receive(77, server, GET);
    host.answer(77, server, request, OK);
    host.flush();
    let finished = host.only(WorkloadId(1), Role::Server);
    assert_eq!(
        (finished.endpoints.local, finished.endpoints.peer),
        (None, None)
    );
    assert_eq!(host.tracer.losses(), Default::default());
}
