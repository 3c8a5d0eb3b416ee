//! What it costs.

use std::time::{Duration, Instant};

use observer_common::requests::context::NONE;

use super::Host;
use super::host::thread;

const ASKED: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\n\
    User-Agent: wrk/4.1\r\nAccept: */*\r\n\r\n";
const ANSWERED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\n\
    Date: Sat, 21 Nov 2026 05:31:44 GMT\r\nContent-Type: text/html\r\nContent-Length: 615\r\n\
    Last-Modified: Sat, 21 Nov 2026 05:31:44 GMT\r\nConnection: keep-alive\r\n\
    ETag: \"671a-267\"\r\nAccept-Ranges: bytes\r\n\r\n";

/// Requests between two times that what is due is handled.
const BATCH: usize = 500;

/// Checks that 64 connections that are kept alive and seen at both ends give
/// each request; prints what one costs at best, for who wants to know (`--release`,
/// `--nocapture`).
#[test]
fn keep_alive() {
    let mut host = Host::new();
    let links: Vec<_> = (0..64)
        .map(|n| {
            let (client, server) = (thread(1 + n % 2, 1), thread(3 + n % 2, 3 + n % 2));
            (client, server, host.connect(client, server, 80))
        })
        .collect();
    let requests = if cfg!(debug_assertions) {
        10_000
    } else {
        500_000
    };
    let mut answer = ANSWERED.to_vec();
    answer.resize(answer.len() + 615, b'x');
    let answer = &answer[..512.min(answer.len())];
    let rest = ANSWERED.len() + 615 - answer.len();
    let mut best = Duration::MAX;
    let mut finished = 0;
    let mut output = crate::tracer::Output::default();
    for batch in 0..requests / BATCH {
        host.ring.get_or_insert_default().clear();
        for n in 0..BATCH {
            let (client, server, link) = links[(batch * BATCH + n) % links.len()];
            host.ask(link.client, client, 0, NONE, ASKED);
            let request = host.receive(link.server, server, ASKED);
            host.answer(link.server, server, request, answer);
            host.lengthen(rest as u32);
            host.hear(link.client, client, answer);
            host.lengthen(rest as u32);
        }
        let ring = host.ring.take().unwrap_or_default();
        let begin = Instant::now();
        for record in &ring {
            host.tracer.record(record);
        }
        host.tracer.advance(host.now, &mut output);
        best = best.min(begin.elapsed());
        finished += output.finished().len();
        host.ring = Some(ring);
    }
    host.tracer.flush(host.now, &mut output);
    finished += output.finished().len();
    let each = best.as_nanos() / BATCH as u128;
    println!("{each} ns for a request's four pieces");
    assert_eq!(finished, 2 * requests);
    assert_eq!(host.tracer.losses(), Default::default());
}
