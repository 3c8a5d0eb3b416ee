//! Random conversations, cut anywhere, and bytes that are none.

use fastrand::Rng;

use super::Http2;
use super::frame::kind;
use super::tests::{END, Ends, HEAD, data, frame, talk};
use crate::testing::hostile;
use crate::testing::talk::Talk;

/// An exchange's frames on both sides, and the size of both bodies.
struct Exchange {
    request: Vec<Vec<u8>>,
    answer: Vec<Vec<u8>>,
    status: u16,
    sizes: (u64, u64),
}

/// DATA frames, the last of which ends the stream, and their bytes.
fn body(random: &mut Rng, stream: u32) -> (Vec<Vec<u8>>, u64) {
    let mut total = 0;
    let count = random.usize(1..4);
    let frames = (1..=count).map(|number| {
        let length = random.usize(..200);
        total += length as u64;
        data(if number == count { END } else { 0 }, stream, length)
    });
    (frames.collect(), total)
}

/// A block in one frame, or in several.
fn split(random: &mut Rng, head: Vec<u8>) -> Vec<u8> {
    if random.bool() {
        return head;
    }
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let (first, second) = head[9..].split_at(random.usize(..head.len() - 9));
    let mut frames = frame(kind::HEADERS, head[4] & !HEAD, stream, first);
    frames.extend(frame(kind::CONTINUATION, HEAD, stream, second));
    frames
}

/// Frames that go between all others.
fn other(random: &mut Rng) -> Vec<u8> {
    match random.u8(..4) {
        0 => frame(kind::PING, 0, 0, &[0; 8]),
        1 => frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        2 => frame(0xbe, 0xff, 77, &[1, 2, 3]),
        _ => Vec::new(),
    }
}

fn exchanges(random: &mut Rng, count: u32) -> Vec<Exchange> {
    let mut ends = Ends::default();
    let mut make = |number: u32| {
        let stream = 2 * number + 1;
        let mut head = ends.get(stream, &format!("/{}", number % 5));
        let mut sizes = (0, 0);
        let mut request = Vec::new();
        if random.bool() {
            head[4] = HEAD;
            (request, sizes.0) = body(random, stream);
        }
        request.insert(0, split(random, head));
        let status = *random.choice(&[200, 204, 418, 503]).unwrap_or(&200);
        let text = status.to_string();
        let fields = [(":status", text.as_str()), ("server", "test")];
        let (mut answer, size) = body(random, stream);
        sizes.1 = size;
        answer.insert(0, split(random, ends.answer(0, stream, &fields)));
        Exchange {
            request,
            answer,
            status,
            sizes,
        }
    };
    (0..count).map(&mut make).collect()
}

/// Merges lists of frames at random, without changing any one's order. A head
/// comes only behind those before it, as their encoder made them.
fn interleave(random: &mut Rng, lists: &[&[Vec<u8>]]) -> Vec<u8> {
    let mut at = vec![0; lists.len()];
    let mut bytes = Vec::new();
    loop {
        let begun = at.iter().take_while(|at| **at > 0).count();
        let may: Vec<_> = (0..lists.len())
            .filter(|i| at[*i] < lists[*i].len() && *i <= begun)
            .collect();
        let Some(&list) = random.choice(&may) else {
            return bytes;
        };
        bytes.extend(other(random));
        bytes.extend(&lists[list][at[list]]);
        at[list] += 1;
    }
}

/// Cuts at random.
fn pieces<'a>(random: &mut Rng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let most = if random.bool() { 12 } else { 400 };
        let (piece, rest) = bytes.split_at(random.usize(1..=most).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Checks that interleaved streams are understood however their bytes are cut.
#[test]
fn cut_anywhere() {
    let mut random = Rng::with_seed(1);
    for _ in 0..300 {
        let exchanges = exchanges(&mut random, 8);
        let requests: Vec<_> = exchanges.iter().map(|e| &e.request[..]).collect();
        let answers: Vec<_> = exchanges.iter().map(|e| &e.answer[..]).collect();
        let (mut talk, _) = talk();
        let requests = interleave(&mut random, &requests);
        for piece in pieces(&mut random, &requests) {
            talk.ask(piece);
        }
        let answers = interleave(&mut random, &answers);
        for piece in pieces(&mut random, &answers) {
            talk.answer(piece);
        }
        assert_eq!((talk.failed, talk.abandoned), (0, 0));
        assert_eq!(talk.ended.len(), exchanges.len());
        for (ended, http) in talk.ended.iter().zip(talk.http()) {
            let expected = &exchanges[ended.exchange as usize];
            assert_eq!(http.target, format!("/{}", ended.exchange % 5));
            assert_eq!(http.status, Some(expected.status));
            let sizes = (http.request_size, http.response_size);
            assert_eq!(sizes, (Some(expected.sizes.0), Some(expected.sizes.1)));
        }
    }
}

/// Checks that neither damaged conversations nor garbage do harm.
#[test]
fn garbage() {
    let mut random = Rng::with_seed(2);
    for round in 0..3000 {
        let mut input = hostile::chunk(0, super::PREFACE, 0);
        for exchange in exchanges(&mut random, 6) {
            for (what, frames) in [(0, exchange.request), (1, exchange.answer)] {
                for piece in pieces(&mut random, &frames.concat()) {
                    let hides = if random.u8(..8) == 0 { 0x80 } else { 0 };
                    input.extend(hostile::chunk(what | hides, piece, random.u8(..)));
                }
            }
        }
        for _ in 0..round % 20 {
            let place = random.usize(..input.len());
            input[place] = random.u8(..);
        }
        hostile::feed(&mut Http2::new(), &input);
    }
}

/// Checks that no input makes a parser keep more than a little.
#[test]
fn bounded() {
    let long = "x".repeat(100);
    let (mut talk, _): (Talk<Http2>, _) = talk();
    for i in 0..10_000 {
        let mut ends = Ends::default();
        talk.ask(ends.get(2 * i + 1, &format!("/{i}{long}")));
        talk.answer(ends.answer(0, 2 * i + 1, &[(&format!("{i}{long}"), "x")]));
    }
    // A block without an end.
    talk.ask(frame(kind::HEADERS, 0, 30_001, &[0x82; 100]));
    for _ in 0..1000 {
        talk.ask(frame(kind::CONTINUATION, 0, 30_001, &[0x82; 1000]));
    }
    let kept = format!("{:?}", talk.parser).len();
    assert!(kept < 1 << 20, "{kept}");
}

/// Checks what fuzzing found worth keeping.
#[test]
fn corpus() {
    for input in hostile::corpus("http2") {
        hostile::feed(&mut Http2::new(), &input);
    }
}
