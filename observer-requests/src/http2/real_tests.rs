//! What hyper's client and server say to each other, in another implementation's
//! HPACK (Huffman codes and a table that evicts).

use super::Http2;
use crate::call::{Call, Http, HttpVersion, Method};
use crate::testing::real::{Version, record, say};
use crate::testing::talk::Talk;

fn requests(count: usize) -> Vec<(String, usize)> {
    let statuses = [200, 201, 404, 418, 500, 503];
    (0..count)
        .map(|i| (format!("/{}/{}", statuses[i % 6], i % 50), i % 60))
        .collect()
}

/// What is known of an exchange is right.
fn check(http: &Http) {
    assert_eq!(http.method, Method::Post);
    assert_eq!(http.version, HttpVersion::Http2);
    assert!(
        http.host
            .as_deref()
            .is_none_or(|host| host == "example.com")
    );
    let agent = http.user_agent.as_deref();
    assert!(agent.is_none_or(|agent| agent == "hyper-test"));
    if let (Some(status), false) = (http.status, http.target.is_empty()) {
        assert_eq!(Some(status.to_string().as_str()), http.target.get(1..4));
    }
}

/// Checks every field of hyper's exchanges, one after the other and interleaved.
#[test]
fn hyper() {
    for at_once in [false, true] {
        let requests = requests(300);
        let said = record(Version::Two, &requests, at_once);
        let mut talk = Talk::new(Http2::new());
        say(&mut talk, &said, usize::MAX);
        assert_eq!((talk.failed, talk.abandoned), (0, 0));
        assert_eq!(talk.ended.len(), requests.len());
        for (ended, http) in talk.ended.iter().zip(talk.http()) {
            check(http);
            let (path, body) = &requests[ended.exchange as usize];
            assert_eq!(http.target, *path);
            assert!(http.host.is_some() && http.user_agent.is_some() && http.status.is_some());
            assert_eq!(http.request_size, Some(*body as u64));
            let length: u64 = path[5..].parse().expect("a length");
            assert_eq!(http.response_size, Some(length.max(*body as u64)));
        }
    }
}

/// Checks gRPC's names and its status from trailers, interleaved.
#[test]
fn grpc() {
    let requests: Vec<_> = (0..100)
        .map(|i| (format!("/package.Service{}/{}", i % 3, i % 17), i))
        .collect();
    for at_once in [false, true] {
        let mut talk = Talk::new(Http2::new());
        say(
            &mut talk,
            &record(Version::Two, &requests, at_once),
            usize::MAX,
        );
        assert_eq!((talk.failed, talk.abandoned), (0, 0));
        assert_eq!(talk.ended.len(), requests.len());
        for ended in &talk.ended {
            let Call::Rpc(rpc) = &ended.call else {
                panic!("{ended:?}");
            };
            let i = ended.exchange;
            assert_eq!(*rpc.service, format!("package.Service{}", i % 3));
            assert_eq!(*rpc.method, (i % 17).to_string());
            assert_eq!((rpc.status, rpc.http_status), (Some(i % 17), None));
            assert_eq!(rpc.host.as_deref(), Some("example.com"));
        }
    }
}

/// Checks bodies of several frames of which only the first bytes were captured:
/// each exchange ends with its last chunk, in its own length.
#[test]
fn hidden_bodies() {
    let requests: Vec<_> = [(200, 100_000), (404, 10), (500, 50_000), (200, 20_000)]
        .into_iter()
        .map(|(status, length)| (format!("/{status}/{length}"), 0))
        .collect();
    let said = record(Version::Two, &requests, false);
    let mut talk = Talk::new(Http2::new());
    say(&mut talk, &said, 512);
    talk.close();
    assert_eq!(talk.failed, 0);
    let seen: Vec<_> = talk
        .http()
        .iter()
        .map(|h| (h.status, h.response_size))
        .collect();
    let expected = [
        (Some(200), Some(100_000)),
        (Some(404), Some(10)),
        (Some(500), Some(50_000)),
        (Some(200), Some(20_000)),
    ];
    assert_eq!(seen, expected);
}

/// Checks that from wherever a connection is picked up, and wherever chunks are
/// lost or cut, what is told is right or left out.
#[test]
fn never_wrong() {
    let requests = requests(60);
    let mut random = fastrand::Rng::with_seed(9);
    for at_once in [false, true] {
        let said = record(Version::Two, &requests, at_once);
        let (mut told, mut complete) = (0, 0);
        for begin in 0..said.len() {
            let mut talk = Talk::new(Http2::new());
            let captured = if begin % 2 == 0 { usize::MAX } else { 40 };
            for chunk in &said[begin..] {
                if random.u8(..40) == 0 {
                    talk.missed();
                    continue;
                }
                say(&mut talk, std::slice::from_ref(chunk), captured);
            }
            talk.close();
            assert_eq!(talk.failed, 0);
            for http in talk.http() {
                check(http);
                told += 1;
                complete += usize::from(!http.target.is_empty() && http.status.is_some());
            }
        }
        assert!(told > 100 && complete > 20, "{told} {complete}");
    }
}
