//! What hyper's client and server say to each other.

use super::Http1;
use crate::call::Method;
use crate::testing::real::{Version, record, say};
use crate::testing::talk::Talk;

/// Checks hyper's requests and answers, with bodies, of which all or only the
/// first bytes were captured.
#[test]
fn hyper() {
    let requests: Vec<_> = [
        (200, 10, 0),
        (404, 0, 5),
        (500, 9000, 40_000),
        (201, 60_000, 1),
    ]
    .into_iter()
    .map(|(status, answer, body)| (format!("/{status}/{answer}"), body))
    .collect();
    let said = record(Version::One, &requests, false);
    for captured in [usize::MAX, 4096, 512] {
        let mut talk = Talk::new(Http1::new());
        say(&mut talk, &said, captured);
        assert_eq!((talk.failed, talk.abandoned), (0, 0));
        assert_eq!(talk.ended.len(), requests.len());
        for (http, (path, body)) in talk.http().iter().zip(&requests) {
            assert_eq!(http.method, Method::Post);
            assert!(http.target.ends_with(path.as_str()), "{}", http.target);
            assert_eq!(
                http.status.map(|s| s.to_string()).as_deref(),
                path.get(1..4)
            );
            assert_eq!(http.host.as_deref(), Some("example.com"));
            assert_eq!(http.user_agent.as_deref(), Some("hyper-test"));
            assert_eq!(http.request_size, Some(*body as u64));
            let length: u64 = path[5..].parse().expect("a length");
            assert_eq!(http.response_size, Some(length.max(*body as u64)));
        }
    }
}
