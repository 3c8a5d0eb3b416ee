//! Heads that come again and again, byte by byte the same: they needn't be read
//! anew. One that tells of a caller's trace never does.

use std::cell::RefCell;
use std::hash::Hasher as _;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::body::Framing;
use super::head::{self, AnswerHead, Parsed};
use crate::call::{HttpHead, Method};
use crate::protocol::RemoteContext;

/// Places for requests' heads; a power of two.
const REQUESTS: usize = 256;
/// Places for answers' heads.
const ANSWERS: usize = 4;
/// Answers' heads that were seen once, as hashes.
const SEEN: usize = 8;
/// Longer heads are read each time: 256 KiB in all.
const MAX_RAW: usize = 1024;
/// How often another one must want a place before it gets it.
const STAY: u8 = 3;

/// A request's head.
#[derive(Debug)]
pub(super) struct Request {
    /// All of it, with its end.
    pub raw: Box<[u8]>,
    /// What it says.
    pub head: Arc<HttpHead>,
    /// How its body ends.
    pub framing: Framing,
    /// The caller.
    pub context: Option<RemoteContext>,
}

#[derive(Default)]
struct Place {
    hash: u64,
    /// `None` for one that was seen once.
    known: Option<Arc<Request>>,
    /// Times that other heads may want the place.
    stay: u8,
}

/// An answer's head, to a HEAD request or to another one.
struct Answer {
    raw: Box<[u8]>,
    to_head: bool,
    status: u16,
    framing: Framing,
}

#[derive(Default)]
struct Known {
    requests: Vec<Place>,
    /// The latest first, as below.
    answers: [Option<Answer>; ANSWERS],
    seen: [u64; SEEN],
}

thread_local! {
    /// For all connections that a thread looks after, which is one thread.
    static KNOWN: RefCell<Known> = RefCell::default();
}

fn hash(raw: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(raw);
    hasher.finish()
}

fn place(hash: u64) -> usize {
    (hash >> 32) as usize % REQUESTS
}

/// The request's head that `data` is, if it is known.
pub(super) fn request(data: &[u8]) -> Option<Arc<Request>> {
    if data.len() > MAX_RAW {
        return None;
    }
    let hash = hash(data);
    KNOWN.with_borrow(|known| {
        let place = known.requests.get(place(hash))?;
        let known = place.known.as_ref()?;
        (place.hash == hash && *known.raw == *data).then(|| known.clone())
    })
}

/// A request's head was read. If that was so before, it is known from now on;
/// `make` gives what is kept of it beside its bytes. One that isn't whole has
/// none.
pub(super) fn learn(
    raw: &[u8],
    make: impl FnOnce() -> (Arc<HttpHead>, Framing, Option<RemoteContext>),
) -> Option<Arc<Request>> {
    if raw.is_empty() || raw.len() > MAX_RAW {
        return None;
    }
    let hash = hash(raw);
    KNOWN.with_borrow_mut(|known| {
        if known.requests.is_empty() {
            known.requests.resize_with(REQUESTS, Place::default);
        }
        let place = known.requests.get_mut(place(hash))?;
        if place.hash != hash {
            if place.stay > 0 {
                place.stay -= 1;
            } else {
                (place.hash, place.known) = (hash, None);
            }
            return None;
        }
        place.stay = STAY;
        if let Some(known) = &place.known {
            return (*known.raw == *raw).then(|| known.clone());
        }
        let (head, framing, context) = make();
        let request = Arc::new(Request {
            raw: raw.into(),
            head,
            framing,
            context,
        });
        place.known = Some(request.clone());
        Some(request)
    })
}

/// The head of an answer to a request with this method, at the beginning of
/// `data`.
pub(super) fn answer(data: &[u8], method: Method) -> Parsed<AnswerHead> {
    KNOWN.with_borrow_mut(|known| known.answer(data, method))
}

impl Known {
    fn answer(&mut self, data: &[u8], method: Method) -> Parsed<AnswerHead> {
        let to_head = method == Method::Head;
        for known in self.answers.iter().flatten() {
            if known.to_head == to_head && data.starts_with(&known.raw) {
                let head = AnswerHead {
                    status: known.status,
                    framing: known.framing,
                    to_http2: false,
                };
                return Parsed::Whole(head, known.raw.len());
            }
        }
        let parsed = head::answer(data, method);
        if let Parsed::Whole(head, length) = &parsed
            && *length <= MAX_RAW
            && !head.to_http2
            && let Some(raw) = data.get(..*length)
        {
            let hash = hash(raw) ^ u64::from(to_head);
            if !self.seen.contains(&hash) {
                self.seen.rotate_right(1);
                self.seen[0] = hash;
                return parsed;
            }
            self.answers.rotate_right(1);
            self.answers[0] = Some(Answer {
                raw: raw.into(),
                to_head,
                status: head.status,
                framing: head.framing,
            });
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::talk;
    use super::*;

    /// Checks that heads which come again say what they said the first time,
    /// whatever follows them, and that those which are alike aren't mixed up.
    #[test]
    fn again_and_again() {
        let asked = [
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
            "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ",
            "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "GET /c HTTP/1.1\r\nb3: 0102030405060708090a0b0c0d0e0f10-1112131415161718\r\n\r\n",
        ];
        let said = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        let mut talk = talk();
        for round in 0..5 {
            for one in asked {
                talk.ask(one);
                let body = if one.starts_with("HEAD") { "" } else { "abc" };
                talk.answer(format!("{said}{body}"));
            }
            assert_eq!(talk.contexts.len(), round + 1);
        }
        // Two in one chunk.
        talk.ask([asked[0], asked[0]].concat());
        talk.answer(format!("{said}abc{said}abc"));
        assert_eq!((talk.failed, talk.abandoned), (0, 0));
        let http = talk.http();
        let first: Vec<_> = http[..asked.len()].to_vec();
        for (i, http) in http[..5 * asked.len()].iter().enumerate() {
            assert_eq!(*http, first[i % asked.len()], "{i}");
        }
        assert_eq!(http.len(), 5 * asked.len() + 2);
        assert!(http.iter().all(|http| http.status == Some(200)));
        assert_eq!(http[2].response_size, Some(0));
        assert_eq!(http[3].request_size, Some(4));
        assert!(Arc::ptr_eq(&http[12].head, &http[6].head), "shared");
    }
}
