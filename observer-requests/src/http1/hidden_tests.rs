//! What comes of connections of which not everything was seen.

use super::answers::QUIET;
use super::tests::{GET, OK, clean, talk};
use crate::call::Method;

/// Checks that an answer whose end was in uncaptured bytes ends before the next
/// request, or with the connection.
#[test]
fn framing_lost() {
    let mut talk = talk();
    for _ in 0..2 {
        talk.ask(GET);
        talk.answer_hiding(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx",
            4095,
        );
        talk.answer_hiding(b"something", 1000);
        talk.answer_hiding(b"", 1000);
    }
    assert_eq!(talk.times(), [(Some(20), 40)]);
    talk.close();
    clean(&talk);
    assert_eq!(talk.times(), [(Some(20), 40), (Some(60), 80)]);
    assert_eq!(talk.statuses()[1], (1, Some(200), None));
    assert_eq!(talk.http()[0].response_size, None);
}

/// Checks that a last chunk by itself ends an answer that was lost sight of.
#[test]
fn last_chunk_by_itself() {
    let mut talk = talk();
    talk.ask(GET);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx";
    talk.answer_hiding(head, 4095);
    talk.answer_hiding(b"something", 1000);
    talk.answer("0\r\n\r\n");
    clean(&talk);
    assert_eq!(talk.times(), [(Some(20), 40)]);
}

/// Checks heads that weren't captured whole: what is known of them is kept.
#[test]
fn cut_heads() {
    let mut talk = talk();
    let get = "GET /long HTTP/1.1\r\nHost: a\r\nCookie: xxxxx";
    talk.ask_hiding(get.as_bytes(), 5000);
    talk.answer_hiding(b"HTTP/1.1 500 Oh no\r\nSet-Cookie: xxx", 900);
    talk.ask_hiding(b"DELETE /very-lo", 9000);
    talk.answer(OK);
    talk.close();
    clean(&talk);
    assert_eq!(talk.times(), [(Some(20), 20), (Some(40), 40)]);
    assert_eq!(
        talk.statuses(),
        [(0, Some(500), None), (1, Some(200), None)]
    );
    let http = talk.http();
    assert_eq!(
        (http[0].method, http[0].target.as_str()),
        (Method::Get, "/long")
    );
    assert_eq!(http[0].host.as_deref(), Some("a"));
    assert_eq!(
        (http[1].method, http[1].target.as_str()),
        (Method::Delete, "/very-lo")
    );
    assert_eq!(http[0].request_size, None);
    assert!(http.iter().all(|http| http.partial));
}

/// Checks heads that are too long to be kept, in many chunks.
#[test]
fn giant_heads() {
    let mut talk = talk();
    talk.ask("GET /giant HTTP/1.1\r\n");
    for _ in 0..100 {
        talk.ask("Cookie: 0123456789012345678901234567890123456789012345678901234567890\r\n");
    }
    talk.ask("\r\n");
    talk.answer("HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n");
    talk.ask(GET);
    talk.answer(OK);
    clean(&talk);
    assert_eq!(
        talk.statuses(),
        [(0, Some(431), None), (1, Some(200), None)]
    );
    assert_eq!(talk.http()[0].target, "/giant");
    assert!(talk.http().iter().all(|http| !http.partial));
}

/// Checks that what decides is found in long heads wherever it is, in chunks of any
/// length, behind a long cookie or a long target, and that longer ones are said to be
/// known in part.
#[test]
fn long_heads() {
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let cookie = |length| format!("Cookie: {}\r\n", "c".repeat(length));
    let behind = format!("{trace}Host: a\r\nContent-Length: 3\r\n\r\nabc");
    let target = format!("/{}", "t".repeat(9000));
    let heads = [
        format!("POST /a HTTP/1.1\r\n{}{behind}", cookie(6000)),
        format!("POST /a HTTP/1.1\r\n{}{behind}", cookie(100).repeat(200)),
        format!("POST {target} HTTP/1.1\r\nX: y\r\n{behind}"),
    ];
    for (head, piece) in heads
        .iter()
        .flat_map(|head| [4096, 1000, 61].map(|n| (head, n)))
    {
        let mut talk = talk();
        for piece in head.as_bytes().chunks(piece) {
            talk.ask(piece);
        }
        talk.answer(OK);
        talk.ask(GET);
        talk.answer(OK);
        clean(&talk);
        assert_eq!(talk.contexts.len(), 1);
        let http = talk.http();
        assert_eq!(http[0].host.as_deref(), Some("a"));
        assert_eq!((http[0].request_size, http[0].partial), (Some(3), false));
        assert_eq!(http[0].cut, http[0].target.len() == 2048);
        assert_eq!(http[1].status, Some(200));
    }
    let mut talk = talk();
    let giant = format!("POST /a HTTP/1.1\r\n{}{behind}", cookie(40_000));
    for piece in giant.as_bytes().chunks(4096) {
        talk.ask(piece);
    }
    talk.answer(OK);
    clean(&talk);
    assert!(talk.contexts.is_empty() && talk.http()[0].partial);
    assert_eq!(talk.http()[0].target, "/a");
}

/// Checks connections that are picked up in mid-stream: in a body, or in an answer.
#[test]
fn midstream() {
    let mut talk = talk();
    talk.ask("rest of a body");
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    talk.answer_hiding(b"", 95);
    talk.ask(GET);
    talk.answer(OK);
    clean(&talk);
    assert_eq!(talk.begun, [(0, 40)]);
    assert_eq!(talk.statuses(), [(0, Some(200), None)]);
}

/// Checks that what was open is left behind when chunks were lost, and that the
/// next request is found.
#[test]
fn lost_chunks() {
    let mut talk = talk();
    talk.ask(GET);
    talk.missed();
    talk.answer(OK);
    talk.ask("some of a body");
    talk.ask("POST / HTTP/1.1\r\nContent-");
    talk.missed();
    talk.ask("Length: 0\r\n\r\n");
    talk.ask(GET);
    talk.answer(OK);
    assert_eq!((talk.failed, talk.abandoned), (0, 2));
    assert_eq!(talk.statuses(), [(2, Some(200), None)]);
}

/// Checks that answers to pipelined requests that weren't captured aren't given to
/// others.
#[test]
fn unseen_requests() {
    let mut talk = talk();
    talk.ask_hiding(GET.as_bytes(), 2 * GET.len() as u64);
    talk.answer(OK);
    // Two answers are still to come.
    talk.ask(GET);
    talk.answer(OK);
    talk.answer(OK);
    talk.ask("GET /seen HTTP/1.1\r\n\r\n");
    talk.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(talk.abandoned, 2);
    assert_eq!(
        talk.statuses(),
        [(0, Some(200), None), (1, Some(404), None)]
    );
    assert_eq!(talk.http()[1].target, "/seen");
}

/// Checks that an answer whose end was in uncaptured bytes ends when nothing came for a
/// while, with its last bytes, and what comes after that is no answer to anything.
#[test]
fn ends_when_quiet() {
    let mut talk = talk();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nx";
    talk.ask(GET);
    talk.answer_hiding(head, 4095);
    talk.answer_hiding(b"something", 1000);
    talk.wait(QUIET - 1);
    assert_eq!(talk.times(), []);
    talk.answer_hiding(b"more", 1000);
    let last = talk.now;
    talk.wait(QUIET - 1);
    talk.wait(1);
    assert_eq!(talk.times(), [(Some(20), last)]);
    assert_eq!(talk.statuses(), [(0, Some(200), None)]);
    talk.answer_hiding(b"and the rest", 10);
    // One whose bytes are counted may pause.
    talk.ask(GET);
    talk.answer_hiding(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nx", 99);
    talk.wait(10 * QUIET);
    assert_eq!(talk.times().len(), 1);
    talk.answer_hiding(b"xx", 4898);
    clean(&talk);
    assert_eq!(talk.http()[1].response_size, Some(5000));
}
