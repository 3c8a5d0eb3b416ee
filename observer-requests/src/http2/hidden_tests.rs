//! What comes of connections of which not everything was seen.

use super::Http2;
use super::frame::kind;
use super::tests::{END, Ends, HEAD, clean, data, frame, talk};
use crate::call::{Call, Method};
use crate::testing::talk::Talk;

/// Checks connections that are picked up in mid-stream: fields of the table from
/// before aren't known, those added since are, and none is taken for another.
#[test]
fn midstream() {
    let mut ends = Ends::default();
    ends.get(1, "/before");
    ends.answer(END, 1, &[(":status", "418"), ("x", "y")]);
    let mut talk = Talk::new(Http2::new());
    talk.answer(ends.answer(END, 1, &[(":status", "418")]));
    talk.ask(ends.get(3, "/before"));
    talk.answer(ends.answer(END, 3, &[(":status", "418")]));
    talk.ask(ends.get(5, "/since"));
    talk.answer(ends.answer(END, 5, &[(":status", "419")]));
    talk.ask(ends.get(7, "/since"));
    talk.answer(ends.answer(END, 7, &[(":status", "419")]));
    talk.ask(ends.get(9, "/before"));
    talk.answer(ends.answer(END, 9, &[(":status", "500")]));
    clean(&talk);
    let http = talk.http();
    let known: Vec<_> = http.iter().map(|h| (h.target.as_str(), h.status)).collect();
    let since = ("/since", Some(419));
    assert_eq!(known, [("", None), since, since, ("", Some(500))]);
    assert!(http.iter().all(|http| http.method == Method::Get));
    assert!(http.iter().all(|http| http.host.is_none()));
}

/// Checks that trailers of a stream from before aren't a request.
#[test]
fn midstream_trailers() {
    let mut ends = Ends::default();
    let block = ends.client.encode(&[("x-checksum", "1")]);
    let mut talk = Talk::new(Http2::new());
    talk.ask(frame(kind::HEADERS, HEAD | END, 7, &block));
    assert!(talk.begun.is_empty());
    talk.ask(ends.get(9, "/"));
    assert_eq!(talk.begun.len(), 1);
    clean(&talk);
}

/// Checks that fields after a block that wasn't seen are unknown, rather than
/// another block's.
#[test]
fn hidden_blocks() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/one"));
    talk.answer(ends.answer(END, 1, &[(":status", "204")]));
    let request = ends.get(3, "/two");
    // The method and the scheme were captured.
    talk.ask_hiding(&request[..11], request.len() as u64 - 11);
    talk.answer(ends.answer(END, 3, &[(":status", "204")]));
    talk.ask(ends.get(5, "/two"));
    talk.answer(ends.answer(END, 5, &[(":status", "204")]));
    clean(&talk);
    let targets: Vec<_> = talk.http().iter().map(|h| h.target.clone()).collect();
    assert_eq!(targets, ["/one", "", ""]);
    assert!(talk.http().iter().all(|http| http.method == Method::Get));
}

/// Checks that an answer whose end wasn't captured ends by its length, or before
/// the next request, or with the connection.
#[test]
fn hidden_ends() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/"));
    let mut answer = ends.answer(0, 1, &[(":status", "200"), ("content-length", "20000")]);
    answer.extend(data(0, 1, 10_000));
    let head = answer.len() as u64 - 10_000;
    // 10,000 bytes, a frame's header and 5,000 more, of which nothing is seen.
    talk.answer_hiding(&answer[..head as usize + 100], 9_900 + 9 + 5_000);
    talk.answer_hiding(b"xxxxxxxxxx", 4_980);
    assert!(talk.ended.is_empty());
    talk.answer_hiding(b"xxx", 7);
    assert_eq!(talk.times(), [(Some(20), 40)]);
    assert_eq!(talk.http()[0].response_size, Some(20_000));
    for stream in [3, 5] {
        talk.ask(ends.get(stream, "/"));
        let mut answer = ends.answer(0, stream, &[(":status", "200")]);
        answer.extend(data(0, stream, 100));
        talk.answer_hiding(&answer, 120);
        talk.answer_hiding(b"", 120);
    }
    assert_eq!(talk.times()[1..], [(Some(60), 70)]);
    talk.close();
    clean(&talk);
    assert_eq!(talk.times()[2..], [(Some(90), 100)]);
    assert_eq!(talk.http()[2].response_size, None);
    assert_eq!(talk.statuses()[2], (2, Some(200), None));
}

/// Checks that an answer of which much must still come isn't ended by another
/// request.
#[test]
fn hidden_and_under_way() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/1"));
    let head = [(":status", "200"), ("content-length", "20000")];
    let mut answer = ends.answer(0, 1, &head);
    answer.extend(data(0, 1, 100));
    talk.answer_hiding(&answer, 5_000);
    talk.ask(ends.get(3, "/3"));
    talk.answer_hiding(b"", 10_000);
    assert!(talk.ended.is_empty());
    talk.answer(data(END, 1, 10));
    talk.answer(ends.answer(END, 3, &[(":status", "204")]));
    clean(&talk);
    assert_eq!(talk.times(), [(Some(20), 50), (Some(60), 60)]);
    assert_eq!(talk.http()[0].response_size, Some(20_000));
}

/// Checks that frames are found again after bytes that weren't captured.
#[test]
fn found_again() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/1"));
    talk.ask(ends.get(3, "/3"));
    talk.answer(ends.ok(1));
    talk.answer(ends.ok(3));
    talk.answer_hiding(&data(0, 1, 100)[..9], 100 + 200);
    talk.answer("not a frame");
    let mut more = data(END, 3, 10);
    more.extend(data(0, 1, 10));
    talk.answer(&more);
    talk.answer(data(END, 1, 10));
    talk.close();
    clean(&talk);
    assert_eq!(talk.times(), [(Some(40), 70), (Some(30), 80)]);
}

/// Checks that lost chunks leave behind what was open, and that fields from
/// before aren't taken for others.
#[test]
fn lost_chunks() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/1"));
    ends.get(3, "/3");
    talk.missed();
    talk.answer(ends.ok(1));
    talk.ask(ends.get(5, "/3"));
    talk.answer(ends.answer(END, 5, &[(":status", "204")]));
    assert_eq!((talk.failed, talk.abandoned), (0, 1));
    assert_eq!(talk.begun, [(0, 10), (1, 30)]);
    assert_eq!(talk.http()[0].target, "");
}

/// Checks calls of gRPC's on a connection from before: they are told by their messages
/// or trailers, what isn't known of them is said to be unknown, and what is said anew
/// is known from there on.
#[test]
fn calls_from_before() {
    let mut ends = Ends::default();
    let message = |stream, flags| frame(kind::DATA, flags, stream, b"\0\0\0\0\x03abc");
    let head = [(":status", "200"), ("content-type", "application/grpc")];
    let failed = |status| [head[0], head[1], ("grpc-status", status)];
    ends.call(1, "/a.B/C");
    ends.answer(END, 1, &failed("5"));
    let mut talk = Talk::new(Http2::new());
    // With a message and trailers.
    talk.ask([ends.call(3, "/a.B/C"), message(3, END)].concat());
    talk.answer([ends.answer(0, 3, &head), message(3, 0)].concat());
    talk.answer(ends.answer(END, 3, &[("grpc-status", "5")]));
    // With trailers only.
    talk.ask([ends.call(5, "/a.B/C"), message(5, END)].concat());
    talk.answer(ends.answer(END, 5, &failed("5")));
    // Of which no message was captured, either.
    talk.ask(ends.call(7, "/a.B/C"));
    talk.ask_hiding(&message(7, END)[..9], 8);
    talk.answer(ends.answer(END, 7, &failed("5")));
    // What is new.
    for stream in [9, 11] {
        talk.ask([ends.call(stream, "/a.B/D"), message(stream, END)].concat());
        talk.answer(ends.answer(END, stream, &failed("11")));
    }
    // No call.
    talk.ask([ends.call(13, "/a.B/C"), data(END, 13, 20)].concat());
    talk.answer(ends.answer(END, 13, &head));
    clean(&talk);
    let told: Vec<_> = talk
        .ended
        .iter()
        .map(|ended| match &ended.call {
            Call::Rpc(rpc) => (rpc.method.to_string(), rpc.status, rpc.partial, rpc.unseen),
            Call::Http(http) => {
                let status = http.status.map(u32::from);
                (http.target.clone(), status, http.partial, http.unseen)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let unknown = (String::new(), None, true, true);
    let new = ("D".to_owned(), Some(11), true, false);
    let plain = (String::new(), Some(200), true, false);
    let expected = [
        unknown.clone(),
        unknown.clone(),
        unknown,
        new.clone(),
        new,
        plain,
    ];
    assert_eq!(told, expected);
    let calls = talk.ended.iter().map(|it| matches!(it.call, Call::Rpc(_)));
    assert!(calls.eq([true, true, false, true, true, false]));
}
