//! Conversations for the parsers' tests: what one side says after the other.

use super::hostile::Checked;
use crate::protocol::{Chunk, Ended, Event, Events, Exchange, Parser, RemoteContext};
use crate::{Call, Failure, Http};

/// Time between the beginnings of two chunks; each takes half of it.
pub(crate) const STEP: u64 = 10;

/// A conversation with a parser.
pub(crate) struct Talk<P> {
    pub parser: P,
    /// The time when the last chunk was there.
    pub now: u64,
    pub begun: Vec<(Exchange, u64)>,
    pub contexts: Vec<(Exchange, RemoteContext)>,
    pub ended: Vec<Ended>,
    pub failed: u64,
    pub abandoned: u64,
    pub finished: bool,
    checked: Checked,
}

impl<P: Parser> Talk<P> {
    pub fn new(parser: P) -> Self {
        Self {
            parser,
            now: 0,
            begun: Vec::new(),
            contexts: Vec::new(),
            ended: Vec::new(),
            failed: 0,
            abandoned: 0,
            finished: false,
            checked: Checked::default(),
        }
    }

    fn with(&mut self, feed: impl FnOnce(&mut P, &mut Events)) {
        let mut out = Events::default();
        feed(&mut self.parser, &mut out);
        for event in &out.events {
            match event {
                Event::Begun { exchange, at } => self.begun.push((*exchange, *at)),
                Event::Context { exchange, context } => self.contexts.push((*exchange, *context)),
                Event::Ended(ended) => self.ended.push(ended.clone()),
            }
        }
        self.failed += out.failed;
        self.abandoned += out.abandoned;
        self.finished |= out.finished;
        self.checked.take(&mut out, self.now);
    }

    fn chunk<'a>(&mut self, data: &'a [u8], hidden: u64) -> Chunk<'a> {
        self.now += STEP;
        Chunk {
            data,
            length: data.len() as u64 + hidden,
            tail: &[],
            began: self.now - STEP / 2,
            ended: self.now,
        }
    }

    /// The side that asks says this, and `hidden` bytes more that aren't captured.
    pub fn ask_hiding(&mut self, data: &[u8], hidden: u64) {
        let chunk = self.chunk(data, hidden);
        self.with(|parser, out| parser.requested(&chunk, chunk.ended, out));
    }

    /// The side that answers says this, and `hidden` bytes more.
    pub fn answer_hiding(&mut self, data: &[u8], hidden: u64) {
        let chunk = self.chunk(data, hidden);
        self.with(|parser, out| parser.answered(&chunk, out));
    }

    pub fn ask(&mut self, data: impl AsRef<[u8]>) {
        self.ask_hiding(data.as_ref(), 0);
    }

    pub fn answer(&mut self, data: impl AsRef<[u8]>) {
        self.answer_hiding(data.as_ref(), 0);
    }

    pub fn missed(&mut self) {
        self.with(|parser, out| parser.missed(out));
    }

    /// So much time passes.
    pub fn wait(&mut self, time: u64) {
        self.now += time;
        let now = self.now;
        self.with(|parser, out| parser.expire(now, out));
    }

    pub fn close(&mut self) {
        self.now += STEP;
        let now = self.now;
        self.with(|parser, out| parser.closed(now, out));
        self.checked.finish();
    }

    /// Of each HTTP exchange that ended, in that order.
    pub fn http(&self) -> Vec<&Http> {
        let http = |ended: &'_ Ended| matches!(ended.call, Call::Http(_));
        assert!(self.ended.iter().all(http));
        self.ended
            .iter()
            .filter_map(|ended| match &ended.call {
                Call::Http(http) => Some(http),
                _ => None,
            })
            .collect()
    }

    /// Number, status and failure of each HTTP exchange that ended.
    pub fn statuses(&self) -> Vec<(Exchange, Option<u16>, Option<Failure>)> {
        let numbers = self.ended.iter().map(|ended| ended.exchange);
        let http = self.http().into_iter();
        numbers
            .zip(http)
            .map(|(exchange, http)| (exchange, http.status, http.failure))
            .collect()
    }

    /// When the exchanges that ended began to be answered, and were over.
    pub fn times(&self) -> Vec<(Option<u64>, u64)> {
        self.ended.iter().map(|e| (e.answered, e.at)).collect()
    }
}
