//! Which spans are kept.

use observer_common::requests::context::{NONE, RECEIVED};

use super::Host;
use super::host::{GET, OK, WRONG, thread};
use crate::Finished;
use crate::tracer::{Options, Sampler};

fn host(name: &str, argument: Option<&str>) -> Host {
    let sampler = Sampler::parse(name, argument).unwrap();
    Host::with(Options {
        sampler,
        ..Options::default()
    })
}

/// A request from a client through a server to a database, answered by `answer`.
fn request(host: &mut Host, links: (super::Ends, super::Ends), answer: &[u8], pause: bool) {
    let (client, server, database) = (thread(1, 1), thread(2, 2), thread(3, 3));
    host.ask(links.0.client, client, 0, NONE, GET);
    let number = host.receive(links.0.server, server, GET);
    host.call(links.1, server, database, number, RECEIVED);
    if pause {
        // What is over is given out before the rest happens.
        host.now += 10_000_000;
        host.advance();
    }
    host.answer(links.0.server, server, number, answer);
    host.hear(links.0.client, client, answer);
    host.advance();
}

fn links(host: &mut Host) -> (super::Ends, super::Ends) {
    let (client, server, database) = (thread(1, 1), thread(2, 2), thread(3, 3));
    (
        host.connect(client, server, 80),
        host.connect(server, database, 5432),
    )
}

/// All spans that were kept, and those that weren't.
fn kept(host: &Host) -> (Vec<&Finished>, usize) {
    let sampled = host.finished.iter().filter(|it| it.sampled);
    let spans: Vec<_> = sampled.chain(&host.kept).collect();
    let rest = host.finished.len() - spans.len();
    (spans, rest)
}

/// Checks that a ratio keeps that share of traces, whole ones only, and that
/// all requests come out for metrics.
#[test]
fn a_ratio_of_whole_traces() {
    let mut host = host("parentbased_traceidratio", Some("0.2"));
    let links = links(&mut host);
    // Fewer than a hundred of each kind: none can be slow.
    let traces = 95;
    for _ in 0..traces {
        request(&mut host, links, OK, false);
    }
    host.flush();
    assert_eq!(host.finished.len(), 4 * traces);
    let (spans, _) = kept(&host);
    let roots = spans.iter().filter(|it| it.parent_span_id == [0; 8]);
    let roots: Vec<_> = roots.map(|it| it.trace_id).collect();
    assert_eq!(spans.len(), 4 * roots.len());
    assert!(spans.iter().all(|it| roots.contains(&it.trace_id)));
    assert!((2..50).contains(&roots.len()), "{}", roots.len());
    assert!(host.kept.is_empty());
}

/// Checks that a failed request's whole trace is kept though no trace is by
/// ratio, those before the error too; and that with always_off none is.
#[test]
fn errors_are_kept() {
    for pause in [false, true] {
        let mut host = host("traceidratio", Some("0"));
        let ends = links(&mut host);
        request(&mut host, ends, WRONG, pause);
        host.flush();
        assert!(kept(&host).0.is_empty());

        let mut host = self::host("traceidratio", Some("0.000000001"));
        let ends = links(&mut host);
        request(&mut host, ends, OK, pause);
        request(&mut host, ends, WRONG, pause);
        request(&mut host, ends, OK, pause);
        host.flush();
        assert_eq!(host.finished.len(), 12);
        let (spans, rest) = kept(&host);
        assert_eq!((spans.len(), rest), (4, 8));
        let trace = spans[0].trace_id;
        assert!(spans.iter().all(|it| it.trace_id == trace && it.sampled));
        assert_eq!(host.kept.len(), if pause { 2 } else { 0 });
        let mut ids: Vec<_> = spans.iter().map(|it| it.span_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }
}

/// Checks that the slow ones among many are kept, with their traces, and few
/// others.
#[test]
fn slow_ones_are_kept() {
    let mut host = host("traceidratio", Some("0.000000001"));
    let ends = links(&mut host);
    let (client, server, database) = (thread(1, 1), thread(2, 2), thread(3, 3));
    let mut slow = 0;
    for n in 0..1000 {
        host.ask(ends.0.client, client, 0, NONE, GET);
        let number = host.receive(ends.0.server, server, GET);
        host.call(ends.1, server, database, number, RECEIVED);
        if n >= 200 && n % 200 == 0 {
            host.now += 50_000_000;
            slow += 1;
        }
        host.answer(ends.0.server, server, number, OK);
        host.hear(ends.0.client, client, OK);
        host.advance();
    }
    host.flush();
    let (spans, _) = kept(&host);
    let long = spans.iter().filter(|it| it.duration() > 50_000_000);
    assert_eq!(long.count(), 2 * slow);
    assert!(spans.len() < 4 * 40, "{}", spans.len());
    for span in &spans {
        let same = spans.iter().filter(|it| it.trace_id == span.trace_id);
        assert_eq!(same.count(), 4);
    }
}

/// Checks that a caller's flag is obeyed, errors included, and that requests
/// are told all the same.
#[test]
fn callers_flags() {
    for (flag, expected) in [("00", 0), ("01", 2)] {
        let mut host = host("parentbased_traceidratio", Some("0.000000001"));
        let (client, server) = (thread(1, 1), thread(2, 2));
        let link = host.connect(client, server, 80);
        let head = format!(
            "GET /a HTTP/1.1\r\ntraceparent: 00-0102030405060708090a0b0c0d0e0f10-\
             1112131415161718-{flag}\r\n\r\n"
        );
        host.ask(link.client, client, 0, NONE, head.as_bytes());
        let request = host.receive(link.server, server, head.as_bytes());
        host.answer(link.server, server, request, WRONG);
        host.hear(link.client, client, WRONG);
        host.flush();
        assert_eq!(host.finished.len(), 2);
        assert_eq!(kept(&host).0.len(), expected);
    }
}

/// Checks that traces are limited, whole, and counted by span; and that errors
/// have a limit of their own.
#[test]
fn limits() {
    let mut host = Host::with(Options {
        span_limit: Some((0.0, 5.0)),
        ..Options::default()
    });
    let ends = links(&mut host);
    for _ in 0..20 {
        request(&mut host, ends, OK, false);
    }
    for _ in 0..20 {
        request(&mut host, ends, WRONG, false);
    }
    host.flush();
    let (spans, rest) = kept(&host);
    // Five by each of the two workloads that see the error.
    assert_eq!(spans.len(), 4 * (5 + 5 + 5));
    assert_eq!(host.tracer.losses().limited as usize, rest);
    assert_eq!(rest, 4 * 25);
}

/// Checks that nothing waits of traces of this host whose requests are all over,
/// and what waits of one that a caller began, which may send more of it.
#[test]
fn what_is_over_is_forgotten() {
    let mut host = host("traceidratio", Some("0.000000001"));
    let ends = links(&mut host);
    for _ in 0..50 {
        request(&mut host, ends, OK, true);
        assert!(host.tracer.undecided.sizes().1 <= 1);
    }
    host.flush();
    assert_eq!(host.tracer.undecided.sizes(), (0, 0));
    assert_eq!(host.finished.len(), 200);
    assert!(kept(&host).0.is_empty());

    let server = thread(9, 9);
    let inbound = host.accept(server);
    let head = "GET /b HTTP/1.1\r\nb3: 0102030405060708090a0b0c0d0e0f10-1112131415161718\r\n\r\n";
    for answer in [OK, WRONG] {
        let number = host.receive(inbound, server, head.as_bytes());
        host.answer(inbound, server, number, answer);
        host.now += 10_000_000;
        host.advance();
    }
    assert_eq!(kept(&host).0.len(), 2, "the first one with the second");
    host.now += 200_000_000;
    host.advance();
    host.advance();
    assert_eq!(host.tracer.undecided.sizes(), (0, 0));
}
