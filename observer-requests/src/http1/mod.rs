//! HTTP/1.0 and HTTP/1.1 (RFC 9112).
//!
//! Answers come in the order of their requests, so a queue pairs them. Bodies
//! are skipped by what their heads say of them; where that can't be followed,
//! because what matters was in bytes that weren't captured, the next request
//! of the connection tells that the answer before it was over.

mod answers;
mod body;
mod head;
#[cfg(test)]
mod hidden_tests;
mod known;
mod long;
mod open;
mod questions;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod tests;

use self::answers::Answers;
use self::open::Queue;
use self::questions::Questions;
use super::http2::Http2;
use super::input::Input;
use super::protocol::{Chunk, Events, Parser};
use observer_common::requests::Protocol;

/// HTTP/1.x on one connection.
#[derive(Debug, Default)]
pub struct Http1 {
    /// Where the side that asks is.
    questions: Questions,
    /// Where the side that answers is.
    answers: Answers,
    /// Requests whose answer isn't over.
    open: Queue,
    /// What the connection was upgraded to.
    http2: Option<Box<Http2>>,
}

impl Http1 {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// The connection goes on in HTTP/2, where the request is stream 1 (RFC 7540, 3.2).
    fn upgrade(&mut self, rest: &Chunk<'_>, out: &mut Events) {
        let Some((exchange, http, next)) = self.open.hand_over() else {
            return;
        };
        let mut http2 = Box::new(Http2::upgraded(exchange, &http, next));
        out.becomes = Some(Protocol::Http2);
        http2.answered(rest, out);
        self.http2 = Some(http2);
    }
}

impl Parser for Http1 {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        if let Some(http2) = &mut self.http2 {
            return http2.requested(chunk, at, out);
        }
        let mut input = Input::of(chunk);
        if input.is_empty() || !self.questions.find(&input, &mut self.open, out) {
            return;
        }
        while !input.is_empty() {
            if self.questions.is_between() && !self.questions.skip_empty_lines(&mut input) {
                self.answers.end_lost(&mut self.open, out);
            }
            if !self.questions.take(&mut input, at, &mut self.open, out) {
                return;
            }
        }
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        if let Some(http2) = &mut self.http2 {
            return http2.answered(chunk, out);
        }
        let mut input = Input::of(chunk);
        if input.is_empty() {
            return;
        }
        if self.open.is_empty() {
            // To a request that wasn't seen.
            self.answers.reset();
            self.questions.unseen_answered();
            return;
        }
        self.answers
            .take(&mut input, chunk.ended, &mut self.open, out);
        if self.answers.is_http2() {
            let rest = Chunk {
                data: input.data,
                length: input.left(),
                ..*chunk
            };
            return self.upgrade(&rest, out);
        }
        out.waits |= self.answers.is_lost() && !self.open.is_empty();
    }

    /// Ends an answer whose end wasn't captured, and of which nothing came for
    /// [`answers::QUIET`].
    fn expire(&mut self, now: u64, out: &mut Events) {
        self.answers.end_quiet(now, &mut self.open, out);
        out.waits |= self.answers.is_lost() && !self.open.is_empty();
    }

    fn missed(&mut self, out: &mut Events) {
        if let Some(http2) = &mut self.http2 {
            return http2.missed(out);
        }
        self.open.abandon(out);
        self.questions.lose();
        self.answers.reset();
    }

    fn skipped(&mut self, blind: bool, out: &mut Events) {
        if let Some(http2) = &mut self.http2 {
            return http2.skipped(blind, out);
        }
        self.answers.end_lost(&mut self.open, out);
        self.missed(out);
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        if let Some(http2) = &mut self.http2 {
            return http2.closed(at, out);
        }
        self.questions.close(&mut self.open);
        self.answers.close(at, &mut self.open, out);
        self.questions.lose();
    }
}
