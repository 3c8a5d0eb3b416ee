//! Requests that are waiting for an answer, or for the rest of it.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use super::head::{RequestHead, escaped};
use super::known;
use crate::call::{Call, Http, HttpHead, Method};
use crate::protocol::{Ended, Event, Events, Exchange, MAX_OPEN};
use crate::text::cut;

/// Longest target that is kept.
const MAX_TARGET: usize = 2048;
/// Longest host and user agent that are kept.
const MAX_VALUE: usize = 512;
/// Bytes of all of these that are kept in all.
const MAX_TEXTS: usize = 32 * 1024;

/// What a head says that wasn't seen.
static UNSEEN: LazyLock<Arc<HttpHead>> = LazyLock::new(|| {
    Arc::new(HttpHead {
        method: Method::Other,
        partial: true,
        ..HttpHead::default()
    })
});

/// A request that isn't over.
#[derive(Debug)]
pub(super) struct Open {
    pub exchange: Exchange,
    /// When its answer began.
    pub answered: Option<u64>,
    pub http: Http,
    /// Bytes of its texts that no other one shares.
    texts: usize,
}

/// The requests of a connection that aren't over, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    open: VecDeque<Open>,
    /// Number of the next one.
    next: Exchange,
    /// Bytes of their texts.
    texts: usize,
    /// What the last request said, which the next one says again mostly.
    host: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
    /// Its head, if that came before.
    known: Option<Arc<known::Request>>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn front(&mut self) -> Option<&mut Open> {
        self.open.front_mut()
    }

    pub fn contains(&self, exchange: Exchange) -> bool {
        self.open.iter().any(|open| open.exchange == exchange)
    }

    /// Begins a request of which nothing is known yet. What was open before is
    /// abandoned if that was too much: answers couldn't be paired with the rest.
    pub fn begin(&mut self, at: u64, out: &mut Events) -> Exchange {
        if self.open.len() >= MAX_OPEN || self.texts > MAX_TEXTS {
            self.abandon(out);
        }
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        let http = Http {
            head: UNSEEN.clone(),
            status: None,
            request_size: None,
            response_size: None,
            failure: None,
            unseen: false,
        };
        self.open.push_back(Open {
            exchange,
            answered: None,
            http,
            texts: 0,
        });
        out.events.push(Event::Begun { exchange, at });
        exchange
    }

    /// The head that `data` begins with, if it is known; the rest of `data`
    /// may be anything.
    pub fn known(&mut self, data: &[u8]) -> Option<Arc<known::Request>> {
        if let Some(known) = &self.known
            && data.starts_with(&known.raw)
        {
            return Some(known.clone());
        }
        self.known = known::request(data);
        self.known.clone()
    }

    /// Notes what a request's head says that is known, if it is open.
    pub fn fill_known(&mut self, exchange: Exchange, known: &known::Request, out: &mut Events) {
        if let Some(open) = self.find(exchange) {
            open.http.head = known.head.clone();
            if let Some(context) = known.context {
                out.events.push(Event::Context { exchange, context });
            }
        }
    }

    /// Notes what a request's head says, if it is open; `raw` is all of it, empty
    /// if there was more that isn't known.
    pub fn fill(
        &mut self,
        exchange: Exchange,
        head: &RequestHead<'_>,
        raw: &[u8],
        out: &mut Events,
    ) {
        let mut open = self.open.iter_mut().rev();
        let Some(open) = open.find(|open| open.exchange == exchange) else {
            return;
        };
        let target = cut(&head.target, MAX_TARGET);
        open.texts = target.len();
        open.http.head = Arc::new(HttpHead {
            method: head.method,
            original: original(head.method, head.name),
            cut: target.len() < head.target.len(),
            partial: raw.is_empty(),
            target: target.into(),
            host: again(&mut self.host, head.host, &mut open.texts),
            user_agent: again(&mut self.user_agent, head.user_agent, &mut open.texts),
            version: head.version,
        });
        self.texts += open.texts;
        let kept = || (open.http.head.clone(), head.framing, head.context);
        if let Some(known) = known::learn(raw, kept) {
            self.known = Some(known);
        }
        if let Some(context) = head.context {
            out.events.push(Event::Context { exchange, context });
        }
    }

    fn find(&mut self, exchange: Exchange) -> Option<&mut Open> {
        let mut open = self.open.iter_mut().rev();
        open.find(|open| open.exchange == exchange)
    }

    /// Notes a first line that goes beyond what was captured.
    pub fn fill_line(&mut self, exchange: Exchange, method: Method, name: &[u8], target: &[u8]) {
        if let Some(open) = self.find(exchange) {
            let target = cut(&escaped(target), MAX_TARGET).to_owned();
            let texts = target.len();
            open.texts = texts;
            open.http.head = Arc::new(HttpHead {
                method,
                original: original(method, std::str::from_utf8(name).unwrap_or_default()),
                cut: true,
                partial: true,
                target,
                ..HttpHead::default()
            });
            self.texts += texts;
        }
    }

    /// Notes how long a request's body is, if it is open.
    pub fn set_size(&mut self, exchange: Exchange, size: u64) {
        if let Some(open) = self.find(exchange) {
            open.http.request_size = Some(size);
        }
    }

    /// Ends the first one.
    pub fn end(&mut self, at: u64, out: &mut Events) {
        let Some(open) = self.open.pop_front() else {
            return;
        };
        self.texts = self.texts.saturating_sub(open.texts);
        out.events.push(Event::Ended(Ended {
            exchange: open.exchange,
            answered: open.answered,
            at,
            call: Call::Http(open.http),
        }));
    }

    /// Takes the first one out, with the number of the next, for another protocol's
    /// parser to go on with.
    pub fn hand_over(&mut self) -> Option<(Exchange, Http, Exchange)> {
        let open = self.open.pop_front()?;
        self.texts = self.texts.saturating_sub(open.texts);
        Some((open.exchange, open.http, self.next))
    }

    /// Leaves all behind.
    pub fn abandon(&mut self, out: &mut Events) {
        out.abandoned += self.open.len() as u64;
        self.open.clear();
        self.texts = 0;
    }

    /// Leaves this one behind, which is the last one.
    pub fn abandon_last(&mut self, exchange: Exchange, out: &mut Events) {
        if let Some(last) = self.open.pop_back_if(|last| last.exchange == exchange) {
            self.texts = self.texts.saturating_sub(last.texts);
            out.abandoned += 1;
        }
    }
}

/// What is told of a method that has no name of its own.
fn original(method: Method, name: &str) -> Option<Arc<str>> {
    let other = method == Method::Other && !name.is_empty();
    other.then(|| cut(name, Method::LONGEST).into())
}

/// The same string as before, where it is the same; if not, adds to `texts`.
fn again(last: &mut Option<Arc<str>>, value: Option<&[u8]>, texts: &mut usize) -> Option<Arc<str>> {
    let value = value?.trim_ascii();
    let value = value.get(..MAX_VALUE).unwrap_or(value);
    if let Some(last) = last
        && last.as_bytes() == value
    {
        return Some(last.clone());
    }
    let new: Arc<str> = String::from_utf8_lossy(value).into();
    *texts += new.len();
    *last = Some(new.clone());
    Some(new)
}
