//! The rules of RFC 9112 and RFC 9110, one by one.

use super::Http1;
use crate::call::{Failure, HttpVersion, Method};
use crate::testing::talk::Talk;

pub(super) const GET: &str =
    "GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

pub(super) fn talk() -> Talk<Http1> {
    Talk::new(Http1::new())
}

/// Nothing went wrong.
pub(super) fn clean(talk: &Talk<Http1>) {
    let counts = (talk.failed, talk.abandoned, talk.finished);
    assert_eq!(counts, (0, 0, false));
}

/// Checks a request and its answer: what is kept of both, and the times.
#[test]
fn one_exchange() {
    let mut talk = talk();
    talk.ask(GET);
    talk.answer(OK);
    clean(&talk);
    assert_eq!(talk.begun, [(0, 10)]);
    assert_eq!(talk.times(), [(Some(20), 20)]);
    let http = talk.http()[0];
    assert_eq!(http.method, Method::Get);
    assert_eq!(http.target, "/a?b=c");
    assert_eq!(http.host.as_deref(), Some("example.com"));
    assert_eq!(http.user_agent.as_deref(), Some("test/1"));
    assert_eq!(http.version, HttpVersion::Http11);
    assert_eq!(http.status, Some(200));
    assert_eq!((http.request_size, http.response_size), (Some(0), Some(5)));
    assert_eq!(http.failure, None);
}

/// Checks that requests one after the other share the strings that they repeat.
#[test]
fn keep_alive() {
    let mut talk = talk();
    for _ in 0..3 {
        talk.ask(GET);
        talk.answer(OK);
    }
    talk.ask("PUT /x HTTP/1.0\r\ncontent-length: 3\r\nHOST:other\r\n\r\nabc");
    talk.answer("HTTP/1.0 201 Created\r\nContent-Length: 0\r\n\r\n");
    talk.close();
    clean(&talk);
    let statuses: Vec<_> = (0..4)
        .map(|i| (i, Some(if i == 3 { 201 } else { 200 }), None))
        .collect();
    assert_eq!(talk.statuses(), statuses);
    let http = talk.http();
    let host = |i: usize| http[i].host.clone().unwrap_or_default();
    assert!(std::sync::Arc::ptr_eq(&host(0), &host(2)));
    assert_eq!(&*host(3), "other");
    assert_eq!(http[3].user_agent, None);
    assert_eq!(http[3].version, HttpVersion::Http10);
    assert_eq!(http[3].request_size, Some(3));
}

/// Checks that pipelined requests are paired with their answers in order
/// (RFC 9112, 9.3.2), in one chunk and in parts.
#[test]
fn pipelining() {
    let mut talk = talk();
    talk.ask("GET /0 HTTP/1.1\r\n\r\nPOST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /2 HTT");
    talk.ask("P/1.1\r\n\r\n");
    talk.answer(format!(
        "{OK}HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n"
    ));
    talk.answer("\r\n?HTTP/1.1 204 No Content\r\n\r\n");
    clean(&talk);
    assert_eq!(talk.begun, [(0, 10), (1, 10), (2, 10)]);
    let expected = [
        (0, Some(200), None),
        (1, Some(404), None),
        (2, Some(204), None),
    ];
    assert_eq!(talk.statuses(), expected);
    assert_eq!(
        talk.times(),
        [(Some(30), 30), (Some(30), 40), (Some(40), 40)]
    );
    let targets: Vec<_> = talk.http().iter().map(|h| h.target.clone()).collect();
    assert_eq!(targets, ["/0", "/1", "/2"]);
}

/// Checks heads that come byte by byte, with empty lines before them (RFC 9112, 2.2).
#[test]
fn heads_in_parts() {
    let mut talk = talk();
    talk.ask(&GET[..8]);
    for byte in &GET.as_bytes()[8..] {
        talk.ask([*byte]);
    }
    let answered = talk.now;
    for byte in OK.as_bytes() {
        talk.answer([*byte]);
    }
    talk.ask("\r\n");
    talk.ask(format!("\r\n{GET}"));
    talk.answer(OK);
    clean(&talk);
    let second = answered + 10 * OK.len() as u64 + 20;
    assert_eq!(talk.begun, [(0, 10), (1, second)]);
    assert_eq!(talk.times()[0], (Some(answered + 10), second - 20));
    assert_eq!(talk.http()[0].target, "/a?b=c");
    assert_eq!(talk.http()[1].status, Some(200));
}

/// Checks chunked bodies both ways (RFC 9112, 7.1), with bytes that weren't
/// captured.
#[test]
fn chunked() {
    let mut talk = talk();
    talk.ask("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3\r\nabc");
    talk.ask("\r\n2\r\nde\r\n0\r\n\r\n");
    talk.answer_hiding(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nx",
        4095,
    );
    talk.answer("\r\n0\r\nTrailer: x\r\n\r\n");
    talk.ask(GET);
    talk.answer(OK);
    clean(&talk);
    assert_eq!(talk.times(), [(Some(30), 40), (Some(60), 60)]);
    let http = talk.http();
    assert_eq!(
        (http[0].request_size, http[0].response_size),
        (Some(5), Some(4096))
    );
}

/// Checks that 1xx don't end a request (RFC 9110, 15.2), and don't begin its
/// answer.
#[test]
fn informational() {
    let mut talk = talk();
    talk.ask("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    talk.answer("HTTP/1.1 100 Continue\r\n\r\n");
    talk.ask("data");
    talk.answer(format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{OK}"));
    clean(&talk);
    assert_eq!(talk.times(), [(Some(40), 40)]);
    assert_eq!(talk.http()[0].request_size, Some(4));
}

/// Checks upgrades and tunnels (RFC 9110, 7.8 and 9.3.6).
#[test]
fn other_protocols() {
    let mut upgrade = talk();
    upgrade.ask("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    upgrade.answer("HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02");
    assert!(upgrade.finished);
    assert_eq!(upgrade.statuses(), [(0, Some(101), None)]);
    let mut tunnel = talk();
    tunnel.ask("CONNECT a:443 HTTP/1.1\r\n\r\n");
    tunnel.answer("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
    tunnel.ask("CONNECT a:443 HTTP/1.1\r\n\r\n");
    assert!(!tunnel.finished);
    tunnel.answer("HTTP/1.1 200 Yes\r\nContent-Length: 100\r\n\r\n");
    assert!(tunnel.finished);
    assert_eq!(
        tunnel.statuses(),
        [(0, Some(407), None), (1, Some(200), None)]
    );
}

/// Checks answers without a body, whatever their heads say (RFC 9112, 6.3, 1).
#[test]
fn no_body() {
    let mut talk = talk();
    talk.ask("HEAD / HTTP/1.1\r\n\r\n");
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    talk.ask(GET);
    talk.answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n");
    talk.ask(GET);
    talk.answer("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n");
    clean(&talk);
    assert_eq!(
        talk.times(),
        [(Some(20), 20), (Some(40), 40), (Some(60), 60)]
    );
}

/// Checks answers that end with their connection (RFC 9112, 6.3, 8), and HTTP/1.0.
#[test]
fn until_close() {
    let mut talk = talk();
    talk.ask("GET / HTTP/1.0\r\n\r\n");
    talk.answer("HTTP/1.0 200 OK\r\n\r\nabc");
    talk.answer_hiding(b"", 100);
    assert!(talk.ended.is_empty());
    talk.close();
    clean(&talk);
    assert_eq!(talk.times(), [(Some(20), 30)]);
    assert_eq!(talk.http()[0].response_size, Some(103));
    assert_eq!(talk.http()[0].failure, None);
}

/// Checks requests that the connection's end leaves without an answer, or with
/// a part of it.
#[test]
fn closed_early() {
    let mut silent = talk();
    silent.ask(GET);
    silent.ask("GET /2 HTTP/1.1\r\nHos");
    silent.close();
    clean(&silent);
    let failed = |i| (i, None, Some(Failure::Closed));
    assert_eq!(silent.statuses(), [failed(0), failed(1)]);
    assert_eq!(silent.times(), [(None, 30), (None, 30)]);
    assert_eq!(silent.http()[1].target, "/2");
    let mut cut = talk();
    cut.ask(GET);
    cut.answer(&OK[..OK.len() - 1]);
    cut.close();
    assert_eq!(cut.statuses(), [(0, Some(200), Some(Failure::Closed))]);
    assert_eq!(cut.http()[0].response_size, Some(4));
}

/// Checks an answer that comes before the request's body is over (RFC 9110, 15.5.14
/// and 10.1.1): what is left of the body comes, or never does.
#[test]
fn early_answer() {
    for whole in [true, false] {
        let mut talk = talk();
        talk.ask("POST /big HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc");
        talk.answer("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(talk.times(), [(Some(20), 20)]);
        if whole {
            talk.ask_hiding(b"more", 93);
        }
        talk.ask(GET);
        talk.answer(OK);
        clean(&talk);
        assert_eq!(
            talk.statuses(),
            [(0, Some(413), None), (1, Some(200), None)]
        );
    }
}

/// Checks that malformed messages are counted, and that the next request is found.
#[test]
fn malformed() {
    let mut talk = talk();
    talk.ask("GET / HTTP/9.9\r\n\r\n");
    talk.ask(GET);
    talk.answer("HTTP/1.1 abc\r\n\r\n");
    talk.ask(GET);
    talk.answer(OK);
    talk.ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz");
    talk.answer("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((talk.failed, talk.abandoned), (3, 1));
    assert_eq!(
        talk.statuses(),
        [(1, Some(200), None), (2, Some(400), None)]
    );
}

/// Checks a caller's context, whether the head comes in one chunk or in two.
#[test]
fn context() {
    let head = "GET / HTTP/1.1\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    let mut talk = talk();
    talk.ask(head);
    talk.answer(OK);
    talk.ask(&head[..30]);
    talk.ask(&head[30..]);
    talk.answer(OK);
    clean(&talk);
    let [(0, first), (1, second)] = talk.contexts[..] else {
        panic!("{:?}", talk.contexts);
    };
    assert_eq!(first, second);
    assert_eq!(first.trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(first.span_id[7], 0x31);
    assert_eq!(first.sampled, Some(true));
}

/// Checks lengths that contradict each other, or repeat themselves (RFC 9112, 6.3).
#[test]
fn contradicting_lengths() {
    let mut talk = talk();
    talk.ask(GET);
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello");
    talk.ask("POST / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    talk.answer(OK);
    assert_eq!(talk.ended.len(), 2);
    talk.ask(GET);
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello");
    assert_eq!(talk.ended.len(), 2);
    talk.ask(GET);
    assert_eq!(talk.ended.len(), 3);
    assert_eq!(talk.ended[2].at, 60);
    clean(&talk);
}

/// Checks methods that RFC 9110 doesn't have, as the first one of a connection and
/// behind a body; and that what only looks like one isn't.
#[test]
fn other_methods() {
    let mut talk = talk();
    talk.ask("ABC");
    talk.ask("lower / HTTP/1.1\r\n\r\n");
    assert_eq!(talk.begun, []);
    for method in ["PROPFIND", "PURGE", "M-SEARCH", "BAN"] {
        talk.ask(format!(
            "{method} /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy"
        ));
        talk.answer("HTTP/1.1 207 OK\r\nContent-Length: 0\r\n\r\n");
    }
    talk.ask("GET /a HTTP/1.1\r\n\r\n");
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let http = talk.http();
    let names: Vec<_> = http.iter().map(|http| http.original.as_deref()).collect();
    let expected = [
        Some("PROPFIND"),
        Some("PURGE"),
        Some("M-SEARCH"),
        Some("BAN"),
        None,
    ];
    assert_eq!(names, expected);
    assert!(http[..4].iter().all(|http| http.method == Method::Other));
    assert_eq!(talk.failed, 0);
}

/// Checks targets of bytes that are no UTF-8, whole and in parts, and that what the
/// rest of the head says is believed.
#[test]
fn raw_targets() {
    let head = b"GET /caf\xe9?\xff=1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nUser-Agent: me\r\n\r\n";
    for split in 5..head.len() {
        let mut talk = talk();
        talk.ask(&head[..split]);
        talk.ask([&head[split..], b"abc"].concat());
        talk.answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
        talk.ask("GET /next HTTP/1.1\r\n\r\n");
        talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let http = talk.http();
        assert_eq!(http[0].target, "/caf%E9?%FF=1", "{split}");
        assert_eq!(http[0].host.as_deref(), Some("a.example"));
        assert_eq!(http[0].user_agent.as_deref(), Some("me"));
        assert_eq!((http[0].status, http[0].request_size), (Some(404), Some(3)));
        assert_eq!(http[1].target, "/next");
        assert_eq!((talk.failed, talk.abandoned), (0, 0));
    }
}

/// Checks that a target that is longer than what is kept says that it is cut.
#[test]
fn cut_targets() {
    for (length, cut) in [(2048, false), (2049, true), (4090, true)] {
        let mut talk = talk();
        let target = format!("/{}", "x".repeat(length - 1));
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        let seen = head.len().min(4096);
        talk.ask_hiding(&head.as_bytes()[..seen], (head.len() - seen) as u64);
        talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let http = talk.http();
        assert_eq!((http[0].target.len(), http[0].cut), (length.min(2048), cut));
    }
}

/// Checks an upgrade to HTTP/2 (RFC 7540, 3.2): the request is answered on stream 1,
/// with the status that stands there, and what follows is HTTP/2; wherever the server's
/// bytes are cut.
#[test]
fn upgrade_to_http2() {
    let get = "GET /first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let switching =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    // `:status: 404`, and no body; then the same with 204 on stream 3.
    let first = b"\0\0\x01\x01\x05\0\0\0\x01\x8d";
    let second = b"\0\0\x01\x01\x05\0\0\0\x03\x89";
    let asks = b"\0\0\x03\x01\x05\0\0\0\x03\x82\x86\x84";
    let all = [&switching[..], settings, first].concat();
    for cut in [switching.len(), switching.len() + 9, all.len(), 20] {
        let mut talk = talk();
        talk.ask("GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
        talk.answer(OK);
        talk.ask(get);
        let (one, two) = all.split_at(cut);
        talk.answer(one);
        talk.answer(two);
        talk.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        talk.ask(asks);
        talk.answer(second);
        clean(&talk);
        let told = talk.http().into_iter();
        let told: Vec<_> = told
            .map(|it| (it.target.as_str(), it.status, it.version))
            .collect();
        let expected = [
            ("/other", Some(200), HttpVersion::Http11),
            ("/first", Some(404), HttpVersion::Http2),
            ("/", Some(204), HttpVersion::Http2),
        ];
        assert_eq!(told, expected);
        let numbers = talk.ended.iter().map(|ended| ended.exchange);
        assert!(numbers.eq([0, 1, 2]));
        assert_eq!(talk.http()[1].host.as_deref(), Some("a"));
    }
    // Without its answer, and one to something else.
    let mut talk = talk();
    talk.ask(get);
    talk.answer(switching);
    talk.close();
    assert_eq!(talk.statuses(), [(0, None, Some(Failure::Closed))]);
    clean(&talk);
}
