//! Streams that are open, and what is known of their exchanges.

use std::sync::Arc;

use super::field::MAX_PATH;
use super::heads::{AnswerHead, RequestHead};
use crate::call::{Call, Failure, Http, HttpHead, HttpVersion, Method, Rpc};
use crate::grpc;
use crate::protocol::{Ended, Event, Events, Exchange, MAX_OPEN};

/// Bytes of texts that are kept in all, where nothing is shared.
const MAX_TEXTS: usize = 128 * 1024;

/// Streams that are open beside those that may be over.
const MAX_UNSURE: usize = 64;

/// A stream whose answer isn't over.
#[derive(Debug, Default)]
pub(super) struct Stream {
    exchange: Exchange,
    /// When its answer began.
    pub answered: Option<u64>,
    method: Option<Method>,
    original: Option<Arc<str>>,
    path: Option<Arc<str>>,
    host: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
    /// Whether either side's content type is gRPC's.
    grpc: bool,
    /// Whether one is known.
    typed: bool,
    /// Whether the first body of which that can be told looks like a message of gRPC's.
    pub message: Option<bool>,
    /// Whether the answer has trailers.
    trailers: bool,
    /// Whether fields of the request's head aren't known.
    partial: bool,
    /// Whether fields of the answer's head or trailers aren't.
    answer_partial: bool,
    grpc_status: Option<u64>,
    status: Option<u16>,
    /// Bytes of both bodies, as far as they were seen.
    pub request_size: u64,
    pub response_size: u64,
    /// Whether the request's end was seen.
    pub request_over: bool,
    /// Whether frames of either side may have been in bytes that nobody saw.
    pub request_lost: bool,
    pub response_lost: bool,
    /// Whether it may be over, as far as that is known.
    pub unsure: bool,
    /// What the answer's `content-length` says.
    pub length: Option<u64>,
}

/// The open streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Their numbers, in the order of `open`.
    numbers: Vec<u32>,
    open: Vec<Stream>,
    /// The highest number so far.
    last: u32,
    next: Exchange,
    /// Bytes of their texts.
    texts: usize,
    names: grpc::Names,
}

impl Streams {
    /// Whether a client's stream with this number wasn't there before.
    pub fn is_new(&self, number: u32) -> bool {
        number > self.last && number % 2 == 1
    }

    pub fn is_open(&self, number: u32) -> bool {
        self.place(number).is_some()
    }

    fn place(&self, number: u32) -> Option<usize> {
        self.numbers.iter().position(|open| *open == number)
    }

    fn oldest(&self) -> Option<usize> {
        let numbers = self.numbers.iter().enumerate();
        let oldest = numbers.min_by_key(|(_, number)| **number);
        oldest.map(|(place, _)| place)
    }

    pub fn get(&mut self, number: u32) -> Option<&mut Stream> {
        let place = self.place(number)?;
        self.open.get_mut(place)
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    /// The only one, if there is just one.
    pub fn only(&mut self) -> Option<(u32, &mut Stream)> {
        match (&*self.numbers, &mut *self.open) {
            ([number], [stream]) => Some((*number, stream)),
            _ => None,
        }
    }

    /// Opens a stream, in place of the oldest one if there are too many.
    pub fn begin(&mut self, number: u32, at: u64, out: &mut Events) {
        if (self.open.len() >= MAX_OPEN || self.texts > MAX_TEXTS)
            && let Some(place) = self.oldest()
        {
            self.take(place);
            out.abandoned += 1;
        }
        // So many may be over that nobody will know.
        if self.open.len() > MAX_UNSURE
            && let Some(place) = self.oldest()
            && self.open.get(place).is_some_and(|stream| stream.unsure)
        {
            self.take(place);
            out.abandoned += 1;
        }
        self.last = number;
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.push(number);
        self.open.push(Stream {
            exchange,
            ..Stream::default()
        });
        out.events.push(Event::Begun { exchange, at });
    }

    /// Opens stream 1 for an exchange that began in HTTP/1.1; the next one has this number.
    pub fn adopt(&mut self, exchange: Exchange, asked: &Http, next: Exchange) {
        let stream = Stream {
            exchange,
            method: Some(asked.method),
            original: asked.original.clone(),
            path: (!asked.target.is_empty()).then(|| asked.target.as_str().into()),
            host: asked.host.clone(),
            user_agent: asked.user_agent.clone(),
            partial: asked.partial,
            request_size: asked.request_size.unwrap_or_default(),
            request_over: asked.request_size.is_some(),
            ..Stream::default()
        };
        self.texts += stream.texts();
        (self.numbers, self.open) = (vec![1], vec![stream]);
        (self.last, self.next) = (1, next);
    }

    /// Fills in what its request's head said.
    pub fn fill(&mut self, number: u32, head: RequestHead, out: &mut Events) {
        let Some(stream) = self.get(number) else {
            return;
        };
        stream.method = head.method;
        stream.original = head.original;
        stream.path = head.path;
        stream.host = head.authority.or(head.host);
        stream.user_agent = head.user_agent;
        stream.grpc = head.grpc == Some(true);
        stream.typed = head.grpc.is_some();
        stream.partial = head.partial;
        let exchange = stream.exchange;
        self.texts += stream.texts();
        if let Some(context) = head.trace.context() {
            out.events.push(Event::Context { exchange, context });
        }
    }

    fn take(&mut self, place: usize) -> Stream {
        self.numbers.swap_remove(place);
        let stream = self.open.swap_remove(place);
        self.texts = self.texts.saturating_sub(stream.texts());
        stream
    }

    /// Leaves one behind.
    pub fn abandon(&mut self, number: u32, out: &mut Events) {
        if let Some(place) = self.place(number) {
            self.take(place);
            out.abandoned += 1;
        }
    }

    /// Leaves all behind.
    pub fn abandon_all(&mut self, out: &mut Events) {
        out.abandoned += self.open.len() as u64;
        self.numbers.clear();
        self.open.clear();
        self.texts = 0;
    }

    /// Ends one, with its answer's end or without.
    pub fn end(&mut self, number: u32, at: u64, failure: Option<Failure>, out: &mut Events) {
        let Some(place) = self.place(number) else {
            return;
        };
        let stream = self.take(place);
        out.events.push(Event::Ended(Ended {
            exchange: stream.exchange,
            answered: stream.answered,
            at,
            call: self.call(stream, failure),
        }));
    }

    /// Ends those above `number`, which won't be answered; those that may be over
    /// already are left behind.
    pub fn end_above(&mut self, number: u32, at: u64, failure: Failure, out: &mut Events) {
        let mut above = self.numbers.clone();
        above.retain(|open| *open > number);
        above.sort_unstable();
        for number in above {
            if self.get(number).is_some_and(|stream| stream.unsure) {
                self.abandon(number, out);
            } else {
                self.end(number, at, Some(failure), out);
            }
        }
    }

    /// Ends the only one if nobody saw whether it is over: with the last bytes of
    /// the answering side, which came at `at`.
    pub fn end_unsure(&mut self, at: u64, out: &mut Events) {
        if let Some((number, stream)) = self.only()
            && stream.unsure
        {
            if stream.answered.is_some() {
                self.end(number, at, None, out);
            } else {
                self.abandon(number, out);
            }
        }
    }

    fn call(&mut self, mut stream: Stream, failure: Option<Failure>) -> Call {
        let unseen = stream.hides_status(failure);
        if stream.is_rpc() {
            let (service, method) = match &stream.path {
                Some(path) => self.names.of(path),
                None => Default::default(),
            };
            return Call::Rpc(Rpc {
                service,
                method,
                host: stream.host,
                status: stream.grpc_status.and_then(|status| status.try_into().ok()),
                http_status: stream.status.filter(|status| *status != 200),
                failure,
                partial: stream.partial,
                unseen,
            });
        }
        if unseen {
            stream.status = None;
        }
        let response_size = match stream.length {
            // Some of it wasn't seen, but all of it was there.
            Some(length) if stream.response_lost && failure.is_none() => Some(length),
            _ => (!stream.response_lost).then_some(stream.response_size),
        };
        Call::Http(Http {
            head: Arc::new(HttpHead {
                method: stream.method.unwrap_or(Method::Other),
                original: stream.original,
                cut: stream
                    .path
                    .as_ref()
                    .is_some_and(|path| path.len() >= MAX_PATH),
                partial: stream.partial,
                target: stream.path.as_deref().unwrap_or_default().to_owned(),
                host: stream.host,
                user_agent: stream.user_agent,
                version: HttpVersion::Http2,
            }),
            status: stream.status,
            request_size: (stream.request_over && !stream.request_lost)
                .then_some(stream.request_size),
            response_size,
            failure,
            unseen,
        })
    }
}

impl Stream {
    /// Bytes of its texts. (Most share theirs with others.)
    fn texts(&self) -> usize {
        let texts = [&self.path, &self.host, &self.user_agent];
        texts.into_iter().flatten().map(|text| text.len()).sum()
    }

    /// Whether it may be gRPC's as far as its fields say, of which some aren't known.
    fn may_be_rpc(&self) -> bool {
        let post = matches!(self.method, None | Some(Method::Post));
        post && !self.typed && (self.partial || self.answer_partial)
    }

    /// Whether it is a call of gRPC's: by its fields, or, where these aren't known, by
    /// its bodies, or by trailers, which hardly anything else has.
    fn is_rpc(&self) -> bool {
        let by_body = self.message.unwrap_or(self.trailers);
        self.grpc || self.grpc_status.is_some() || (self.may_be_rpc() && by_body)
    }

    /// Whether it was answered, but the status isn't known: gRPC's, or that of what
    /// may be an answer of gRPC's without a body (trailers only).
    fn hides_status(&self, failure: Option<Failure>) -> bool {
        if self.answered.is_none() || failure.is_some() {
            return false;
        }
        let ok = self.status.is_none_or(|status| status == 200);
        if self.is_rpc() {
            return ok && self.grpc_status.is_none();
        }
        let trailers_only = self.response_size == 0 && self.message.is_none();
        self.answer_partial && (self.status.is_none() || (ok && self.may_be_rpc() && trailers_only))
    }

    /// Notes what its answer's head or trailers, which began at `at`, say.
    pub fn answer(&mut self, head: &AnswerHead, at: u64) {
        // Others come before the answer (RFC 9110, 15.2).
        if head.status.is_some_and(|status| status < 200) {
            return;
        }
        self.unsure = false;
        self.trailers |= self.answered.is_some();
        self.answer_partial |= head.partial;
        self.answered.get_or_insert(at);
        self.status = self.status.or(head.status);
        self.length = self.length.or(head.length);
        self.grpc |= head.grpc == Some(true);
        self.typed |= head.grpc.is_some();
        self.grpc_status = self.grpc_status.or(head.grpc_status);
    }
}
