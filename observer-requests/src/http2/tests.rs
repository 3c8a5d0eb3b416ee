//! The rules of RFC 9113 and RFC 7541, one by one.

use super::Http2;
use super::frame::{flag, kind};
use crate::call::{Call, Failure, HttpVersion, Method, Rpc};
use crate::testing::talk::Talk;

pub(super) const END: u8 = flag::END_STREAM;
pub(super) const HEAD: u8 = flag::END_HEADERS;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An encoder that adds whatever isn't in a table yet (RFC 7541, 6.2.1), and
/// doesn't evict anything.
#[derive(Default)]
pub(super) struct Encoder {
    /// The newest last.
    table: Vec<(String, String)>,
}

impl Encoder {
    pub fn encode(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        const STATIC: [(&str, &str, u8); 7] = [
            (":authority", "", 1),
            (":method", "GET", 2),
            (":method", "POST", 3),
            (":path", "/", 4),
            (":scheme", "http", 6),
            (":status", "200", 8),
            (":status", "204", 9),
        ];
        let mut block = Vec::new();
        for (name, value) in fields {
            let known = STATIC.iter().find(|(n, v, _)| n == name && v == value);
            let newer = self.table.iter().rev();
            let newer = newer.zip(62..).find(|((n, v), _)| n == name && v == value);
            if let Some(index) = known.map(|k| k.2).or(newer.map(|(_, index)| index)) {
                assert!(index < 127);
                block.push(0x80 | index);
                continue;
            }
            let names = STATIC.iter().find(|(n, ..)| n == name);
            block.push(0x40 | names.map_or(0, |name| name.2));
            let name_text = names.is_none().then_some(name);
            for text in name_text.into_iter().chain([value]) {
                assert!(text.len() < 127);
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
            self.table.push((name.to_string(), value.to_string()));
        }
        block
    }
}

/// The two ends of a connection, as their bytes, with encoders of their own.
#[derive(Default)]
pub(super) struct Ends {
    pub client: Encoder,
    server: Encoder,
}

impl Ends {
    /// HEADERS of a request without a body.
    pub fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "example.com"),
            ("user-agent", "test/1"),
        ];
        let block = self.client.encode(&fields);
        frame(kind::HEADERS, HEAD | END, stream, &block)
    }

    /// HEADERS of gRPC's requests.
    pub fn call(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "example.com"),
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
        ];
        let block = self.client.encode(&fields);
        frame(kind::HEADERS, HEAD, stream, &block)
    }

    /// HEADERS of an answer, or trailers.
    pub fn answer(&mut self, flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
        let block = self.server.encode(fields);
        frame(kind::HEADERS, HEAD | flags, stream, &block)
    }

    pub fn ok(&mut self, stream: u32) -> Vec<u8> {
        let fields = [(":status", "200"), ("server", "test"), ("x", "y")];
        self.answer(0, stream, &fields)
    }
}

pub(super) fn data(flags: u8, stream: u32, length: usize) -> Vec<u8> {
    frame(kind::DATA, flags, stream, &vec![b'x'; length])
}

/// A conversation in which both sides have begun.
pub(super) fn talk() -> (Talk<Http2>, Ends) {
    let mut talk = Talk::new(Http2::new());
    let mut hello = super::PREFACE.to_vec();
    hello.extend(frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]));
    talk.ask(hello);
    talk.answer(frame(kind::SETTINGS, 0, 0, &[]));
    talk.answer(frame(kind::SETTINGS, 1, 0, &[]));
    talk.now = 0;
    (talk, Ends::default())
}

/// Nothing went wrong.
pub(super) fn clean(talk: &Talk<Http2>) {
    let counts = (talk.failed, talk.abandoned, talk.finished);
    assert_eq!(counts, (0, 0, false));
}

fn rpc(talk: &Talk<Http2>, place: usize) -> &Rpc {
    match &talk.ended[place].call {
        Call::Rpc(rpc) => rpc,
        other => panic!("{other:?}"),
    }
}

/// Checks one exchange after the other (RFC 9113, 8.1): what is kept, and times.
#[test]
fn exchanges() {
    let (mut talk, mut ends) = talk();
    for i in 0..3 {
        talk.ask(ends.get(2 * i + 1, "/a?b=c"));
        talk.answer(ends.ok(2 * i + 1));
        talk.answer(data(END, 2 * i + 1, 100));
    }
    clean(&talk);
    assert_eq!(talk.begun, [(0, 10), (1, 40), (2, 70)]);
    let times = [(Some(20), 30), (Some(50), 60), (Some(80), 90)];
    assert_eq!(talk.times(), times);
    for http in talk.http() {
        assert_eq!(http.method, Method::Get);
        assert_eq!(http.target, "/a?b=c");
        assert_eq!(http.host.as_deref(), Some("example.com"));
        assert_eq!(http.user_agent.as_deref(), Some("test/1"));
        assert_eq!(http.version, HttpVersion::Http2);
        assert_eq!(http.status, Some(200));
        let sizes = (http.request_size, http.response_size);
        assert_eq!(sizes, (Some(0), Some(100)));
    }
}

/// Checks streams that interleave (RFC 9113, 5), with bodies both ways and padding.
#[test]
fn interleaved() {
    let (mut talk, mut ends) = talk();
    let mut first = ends.get(1, "/1");
    first[4] = HEAD;
    first.extend(ends.get(3, "/3"));
    first.extend(data(0, 1, 5));
    talk.ask(first);
    let mut answers = ends.ok(3);
    answers.extend(data(0, 3, 10));
    talk.answer(answers);
    talk.ask(frame(kind::DATA, END | flag::PADDED, 1, b"\x03abc000"));
    let mut answers = data(0, 3, 10);
    answers.extend(ends.ok(1));
    answers.extend(data(END, 1, 0));
    answers.extend(data(END, 3, 1));
    talk.answer(answers);
    clean(&talk);
    assert_eq!(talk.begun, [(0, 10), (1, 10)]);
    assert_eq!(
        talk.statuses(),
        [(0, Some(200), None), (1, Some(200), None)]
    );
    assert_eq!(talk.times(), [(Some(40), 40), (Some(20), 40)]);
    let http = talk.http();
    assert_eq!(
        (http[0].request_size, http[0].response_size),
        (Some(8), Some(0))
    );
    assert_eq!(
        (http[1].request_size, http[1].response_size),
        (Some(0), Some(21))
    );
}

/// Checks blocks in several frames (RFC 9113, 6.10), with padding and priority
/// (6.2), byte by byte.
#[test]
fn continuations() {
    let (mut talk, mut ends) = talk();
    let whole = ends.get(1, "/long")[9..].to_vec();
    let (one, rest) = whole.split_at(3);
    let (two, three) = rest.split_at(7);
    let mut padded = vec![4, 0, 0, 0, 0, 200];
    padded.extend(one);
    padded.extend([0; 4]);
    let flags = END | flag::PADDED | flag::PRIORITY;
    let mut bytes = frame(kind::HEADERS, flags, 1, &padded);
    bytes.extend(frame(kind::CONTINUATION, 0, 1, two));
    bytes.extend(frame(kind::CONTINUATION, HEAD, 1, three));
    for byte in &bytes {
        talk.ask([*byte]);
    }
    let asked = talk.now;
    for byte in ends.answer(END, 1, &[(":status", "302"), ("location", "/")]) {
        talk.answer([byte]);
    }
    clean(&talk);
    assert_eq!(talk.begun, [(0, 10)]);
    assert_eq!(talk.times(), [(Some(asked + 10), talk.now)]);
    let http = talk.http()[0];
    assert_eq!((http.target.as_str(), http.status), ("/long", Some(302)));
}

/// Checks trailers on both sides (RFC 9113, 8.1), and 1xx before the answer.
#[test]
fn trailers() {
    let (mut talk, mut ends) = talk();
    let mut request = ends.get(1, "/");
    request[4] = HEAD;
    talk.ask(request);
    talk.ask(data(0, 1, 5));
    let block = ends.client.encode(&[("x-checksum", "1")]);
    talk.ask(frame(kind::HEADERS, HEAD | END, 1, &block));
    talk.answer(ends.answer(0, 1, &[(":status", "103"), ("link", "x")]));
    talk.answer(ends.ok(1));
    talk.answer(data(0, 1, 7));
    assert!(talk.ended.is_empty());
    talk.answer(ends.answer(END, 1, &[("x-checksum", "1")]));
    clean(&talk);
    assert_eq!(talk.begun.len(), 1);
    assert_eq!(talk.times(), [(Some(50), 70)]);
    assert_eq!(talk.http()[0].status, Some(200));
}

/// Checks streams that are reset, by either side (RFC 9113, 6.4 and 7), and what a
/// server that goes away leaves unanswered (6.8).
#[test]
fn resets() {
    let (mut talk, mut ends) = talk();
    for stream in [1, 3, 5, 7] {
        talk.ask(ends.get(stream, "/"));
    }
    talk.ask(frame(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    talk.answer(frame(kind::RST_STREAM, 0, 3, &11u32.to_be_bytes()));
    talk.answer(frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0]));
    talk.answer(ends.answer(END, 5, &[(":status", "204")]));
    talk.ask(ends.get(9, "/"));
    talk.close();
    clean(&talk);
    let expected = [
        (0, None, Some(Failure::Cancelled)),
        (1, None, Some(Failure::Reset(11))),
        (3, None, Some(Failure::Reset(7))),
        (2, Some(204), None),
        (4, None, Some(Failure::Closed)),
    ];
    assert_eq!(talk.statuses(), expected);
    assert_eq!(talk.ended[0].at, 50);
}

/// Checks that pushed answers count for the table only (RFC 9113, 8.4).
#[test]
fn pushes() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/"));
    let mut promise = vec![0, 0, 0, 2];
    promise.extend(ends.server.encode(&[(":path", "/pushed"), ("x", "new")]));
    talk.answer(frame(kind::PUSH_PROMISE, HEAD, 1, &promise));
    talk.answer(ends.answer(END, 2, &[(":status", "404"), ("x", "new")]));
    talk.answer(ends.answer(END, 1, &[(":status", "403"), ("x", "new")]));
    clean(&talk);
    assert_eq!(talk.statuses(), [(0, Some(403), None)]);
}

/// Checks gRPC: names, and its status from trailers and from trailers only.
#[test]
fn grpc() {
    let (mut talk, mut ends) = talk();
    for (stream, status) in [(1, "0"), (3, "5"), (5, "5")] {
        talk.ask(ends.call(stream, "/pkg.Service/Method"));
        talk.ask(data(END, stream, 10));
        let head = [
            (":status", "200"),
            ("content-type", "application/grpc+proto"),
        ];
        talk.answer(ends.answer(0, stream, &head));
        talk.answer(data(0, stream, 10));
        talk.answer(ends.answer(END, stream, &[("grpc-status", status)]));
    }
    talk.ask(ends.call(7, "/pkg.Service/Other"));
    let only = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "12"),
    ];
    talk.answer(ends.answer(END, 7, &only));
    talk.ask(ends.call(9, "/pkg.Service/Method"));
    talk.answer(ends.answer(END, 9, &[(":status", "502")]));
    talk.ask(ends.call(11, "/pkg.Service/Method"));
    talk.ask(frame(kind::RST_STREAM, 0, 11, &8u32.to_be_bytes()));
    clean(&talk);
    let statuses: Vec<_> = (0..6).map(|i| rpc(&talk, i).status).collect();
    assert_eq!(statuses, [Some(0), Some(5), Some(5), Some(12), None, None]);
    let first = rpc(&talk, 0);
    assert_eq!((&*first.service, &*first.method), ("pkg.Service", "Method"));
    assert_eq!(first.host.as_deref(), Some("example.com"));
    assert_eq!(first.http_status, None);
    assert_eq!(&*rpc(&talk, 3).method, "Other");
    assert_eq!(rpc(&talk, 4).http_status, Some(502));
    assert_eq!(rpc(&talk, 5).failure, Some(Failure::Cancelled));
    assert!(std::sync::Arc::ptr_eq(
        &first.service,
        &rpc(&talk, 2).service
    ));
}

/// Checks what isn't HTTP/2, and what isn't allowed in it.
#[test]
fn malformed() {
    let (mut talk, mut ends) = talk();
    talk.ask(ends.get(1, "/"));
    talk.answer("HTTP/1.1 400 Bad Request\r\n\r\n");
    talk.ask(frame(kind::HEADERS, HEAD, 0, b"\x82"));
    talk.ask(frame(kind::HEADERS, HEAD, 3, b"\x80"));
    talk.ask(frame(kind::CONTINUATION, HEAD, 3, b"\x82"));
    talk.close();
    assert_eq!((talk.failed, talk.abandoned), (4, 1));
    assert_eq!(talk.statuses(), [(1, None, Some(Failure::Closed))]);
}

/// Checks that no more streams are open than may be.
#[test]
fn too_many_streams() {
    let (mut talk, mut ends) = talk();
    let streams = crate::protocol::MAX_OPEN as u32 + 10;
    for i in 0..streams {
        talk.ask(ends.get(2 * i + 1, "/"));
    }
    assert_eq!((talk.failed, talk.abandoned), (0, 10));
    talk.answer(ends.answer(END, 1, &[(":status", "204")]));
    talk.answer(ends.answer(END, 2 * streams - 1, &[(":status", "204")]));
    assert_eq!(talk.statuses(), [(streams - 1, Some(204), None)]);
}

/// Checks a caller's context.
#[test]
fn context() {
    let (mut talk, mut ends) = talk();
    for stream in [1, 3] {
        let fields = [
            (":method", "GET"),
            (":path", "/"),
            ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"),
        ];
        let block = ends.client.encode(&fields);
        talk.ask(frame(kind::HEADERS, HEAD | END, stream, &block));
    }
    let [(0, first), (1, second)] = talk.contexts[..] else {
        panic!("{:?}", talk.contexts);
    };
    assert_eq!(first, second);
    assert_eq!((first.trace_id[0], first.sampled), (0x0a, Some(false)));
}
