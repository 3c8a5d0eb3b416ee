//! Random conversations, cut anywhere, and bytes that are none.

use std::fmt::Write as _;

use fastrand::Rng;

use super::Http1;
use crate::testing::hostile;
use crate::testing::talk::Talk;

/// A request with its answer, as bytes, and what should be found.
struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
    /// Where bodies begin.
    request_head: usize,
    answer_head: usize,
    target: String,
    status: u16,
    sizes: (u64, u64),
}

/// The end of a head and the body behind it, in one of the ways, and its size.
fn body(random: &mut Rng, head: &mut String) -> (Vec<u8>, u64) {
    let size = random.usize(..300);
    let bytes = vec![b'G'; size];
    if random.bool() {
        _ = write!(head, "Content-Length: {size}\r\n\r\n");
        return (bytes, size as u64);
    }
    _ = write!(head, "Transfer-Encoding: chunked\r\n\r\n");
    let mut body = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(random.usize(1..=rest.len()));
        body.extend(format!("{:x}\r\n", chunk.len()).bytes());
        body.extend(chunk);
        body.extend(b"\r\n");
        rest = more;
    }
    body.extend(b"0\r\n\r\n");
    (body, size as u64)
}

fn exchange(random: &mut Rng, number: usize) -> Exchange {
    let method = *random
        .choice(&["GET", "HEAD", "POST", "PUT"])
        .unwrap_or(&"GET");
    let target = format!("/{number}");
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: example.com\r\n");
    let mut sizes = (0, 0);
    let mut request_body = Vec::new();
    if method.starts_with('P') {
        (request_body, sizes.0) = body(random, &mut request);
    } else {
        request += "\r\n";
    }
    let status = *random.choice(&[200, 204, 304, 404, 500]).unwrap_or(&200);
    let mut answer = String::new();
    if random.u8(..4) == 0 {
        answer += "HTTP/1.1 100 Continue\r\n\r\n";
    }
    _ = write!(answer, "HTTP/1.1 {status} Reason\r\nServer: test\r\n");
    let (mut answer_body, size) = body(random, &mut answer);
    if method == "HEAD" || status == 204 || status == 304 {
        answer_body.clear();
    } else {
        sizes.1 = size;
    }
    let (request_head, answer_head) = (request.len(), answer.len());
    Exchange {
        request: [request.into_bytes(), request_body].concat(),
        answer: [answer.into_bytes(), answer_body].concat(),
        request_head,
        answer_head,
        target,
        status,
        sizes,
    }
}

/// Cuts `bytes` in pieces, the first of which is long enough to be recognised.
fn pieces<'a>(random: &mut Rng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut least = 8;
    while !bytes.is_empty() {
        let most = if random.bool() { 20 } else { bytes.len() };
        let length = random.usize(least..=most.max(least)).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        pieces.push(piece);
        bytes = rest;
        least = 1;
    }
    pieces
}

/// Checks what was found against what was said, in order.
fn check(talk: &Talk<Http1>, exchanges: &[Exchange], exact: bool) {
    assert_eq!((talk.failed, talk.abandoned), (0, 0));
    assert_eq!(talk.ended.len(), exchanges.len());
    for (http, expected) in talk.http().iter().zip(exchanges) {
        assert_eq!(http.target, expected.target);
        assert_eq!(http.status, Some(expected.status));
        assert_eq!(http.host.as_deref(), Some("example.com"));
        assert_eq!(http.failure, None);
        for (size, expected) in [
            (http.request_size, expected.sizes.0),
            (http.response_size, expected.sizes.1),
        ] {
            assert!(size == Some(expected) || (size.is_none() && !exact));
        }
    }
}

/// Checks that conversations are understood however their bytes are cut.
#[test]
fn cut_anywhere() {
    let mut random = Rng::with_seed(1);
    for _ in 0..500 {
        let exchanges: Vec<_> = (0..8).map(|i| exchange(&mut random, i)).collect();
        let mut talk = Talk::new(Http1::new());
        for exchange in &exchanges {
            for piece in pieces(&mut random, &exchange.request) {
                talk.ask(piece);
            }
            for piece in pieces(&mut random, &exchange.answer) {
                talk.answer(piece);
            }
        }
        talk.close();
        check(&talk, &exchanges, true);
    }
}

/// Checks the same with pipelined requests, whose answers come as they like.
#[test]
fn pipelined() {
    let mut random = Rng::with_seed(2);
    for _ in 0..500 {
        let exchanges: Vec<_> = (0..8).map(|i| exchange(&mut random, i)).collect();
        let requests: Vec<_> = exchanges.iter().flat_map(|e| e.request.clone()).collect();
        let answers: Vec<_> = exchanges.iter().flat_map(|e| e.answer.clone()).collect();
        let ends = |of: fn(&Exchange) -> usize| {
            exchanges.iter().map(of).scan(0, |sum, length| {
                *sum += length;
                Some(*sum)
            })
        };
        // An answer may come as soon as its request's head is there.
        let answer_ends: Vec<_> = ends(|e| e.answer.len()).collect();
        let heads: Vec<_> = ends(|e| e.request.len())
            .zip(&exchanges)
            .map(|(end, e)| end - e.request.len() + e.request_head)
            .collect();
        let (mut asked, mut answered) = (0, 0);
        let mut talk = Talk::new(Http1::new());
        while answered < answers.len() {
            let known = heads.iter().take_while(|end| **end <= asked).count();
            let may = if known == 0 {
                0
            } else {
                answer_ends[known - 1]
            };
            if asked < requests.len() && (may == answered || random.bool()) {
                let least = if asked == 0 { 8 } else { 1 };
                let end = (asked + random.usize(least..400)).min(requests.len());
                talk.ask(&requests[asked..end]);
                asked = end;
            } else {
                let end = (answered + random.usize(1..400)).min(may);
                talk.answer(&answers[answered..end]);
                answered = end;
            }
        }
        talk.close();
        check(&talk, &exchanges, false);
    }
}

/// Checks conversations of whose bodies not everything was captured: each
/// exchange is found, at the latest when the next one begins.
#[test]
fn hidden_bodies() {
    let mut random = Rng::with_seed(3);
    for _ in 0..500 {
        let exchanges: Vec<_> = (0..8).map(|i| exchange(&mut random, i)).collect();
        let mut talk = Talk::new(Http1::new());
        for exchange in &exchanges {
            let mut hide = |bytes: &[u8], head: usize| {
                let captured = random.usize(head..=bytes.len());
                (captured, (bytes.len() - captured) as u64)
            };
            let (captured, hidden) = hide(&exchange.request, exchange.request_head);
            talk.ask_hiding(&exchange.request[..captured], hidden);
            let (captured, hidden) = hide(&exchange.answer, exchange.answer_head);
            talk.answer_hiding(&exchange.answer[..captured], hidden);
        }
        talk.close();
        check(&talk, &exchanges, false);
        let answered: Vec<_> = (1..=8).map(|i| (Some(20 * i), 20 * i)).collect();
        assert_eq!(talk.times(), answered);
    }
}

/// Checks that neither damaged conversations nor garbage do harm, and that what is
/// kept stays small.
#[test]
fn garbage() {
    let mut random = Rng::with_seed(4);
    for round in 0..3000 {
        let mut input = Vec::new();
        for number in 0..random.usize(1..12) {
            let exchange = exchange(&mut random, number);
            for (what, bytes) in [(0, &exchange.request), (1, &exchange.answer)] {
                for piece in pieces(&mut random, bytes) {
                    let hides = if random.u8(..8) == 0 { 0x80 } else { 0 };
                    input.extend(hostile::chunk(what | hides, piece, random.u8(..)));
                }
            }
        }
        for _ in 0..round % 20 {
            let place = random.usize(..input.len());
            input[place] = random.u8(..);
        }
        let mut parser = Http1::new();
        hostile::feed(&mut parser, &input);
    }
}

/// Checks that no input makes a parser keep more than a little.
#[test]
fn bounded() {
    let long = "x".repeat(4000);
    let endless: [&dyn Fn(u32) -> String; 4] = [
        &|i| format!("GET /{long}{i} HTTP/1.1\r\n\r\n"),
        &|i| format!("GET /{i} HTTP/1.1\r\nHost: {i}{long}\r\nUser-Agent: {i}{long}\r\n\r\n"),
        &|_| long.clone(),
        &|_| "GET / HTTP/1.1\r\nX: y\r\n".to_owned(),
    ];
    for say in endless {
        let mut talk = Talk::new(Http1::new());
        for i in 0..5000 {
            talk.ask(say(i));
            talk.answer(&long);
        }
        let kept = format!("{:?}", talk.parser).len();
        assert!(kept < 1 << 19, "{kept}");
        talk.close();
    }
}

/// Checks what fuzzing found worth keeping.
#[test]
fn corpus() {
    for input in hostile::corpus("http1") {
        hostile::feed(&mut Http1::new(), &input);
    }
}
