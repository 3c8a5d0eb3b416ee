//! The side that asks.

use super::body::{Body, Framing, Taken};
use super::head::{self, MAX_HEAD, Parsed};
use super::long::Long;
use super::open::Queue;
use crate::call::Method;
use crate::input::Input;
use crate::protocol::{Events, Exchange};

/// Where the side that asks is.
#[derive(Debug, Default)]
pub(super) struct Questions {
    state: State,
    /// A head that isn't complete.
    half: Vec<u8>,
    /// The same, if it is longer than what is kept.
    long: Option<Box<Long>>,
}

/// What comes next.
#[derive(Debug, Default)]
enum State {
    /// A request.
    Between,
    /// The rest of this one's head.
    Head(Exchange),
    /// The rest of this one's body.
    Body(Exchange, Body),
    /// Something; a chunk that begins with a known method is a request. So it is
    /// at first: nobody knows what went before.
    #[default]
    Lost,
    /// As above, after requests that weren't captured. Their answers come before
    /// those of requests that are seen, so nothing is begun before they came.
    Unseen { answered: bool },
}

impl Questions {
    /// Whether the next byte begins a request.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Forgets what is under way.
    pub fn lose(&mut self) {
        self.state = State::Lost;
        self.half = Vec::new();
        self.long = None;
    }

    /// A chunk of an answer came, to a request that isn't known.
    pub fn unseen_answered(&mut self) {
        if let State::Unseen { answered } = &mut self.state {
            *answered = true;
        }
    }

    /// Looks where a chunk may belong that this side can't tell from what was
    /// before; says whether it is to be read.
    pub fn find(&mut self, input: &Input<'_>, open: &mut Queue, out: &mut Events) -> bool {
        match &self.state {
            State::Between | State::Head(_) => return true,
            // A server that has answered may not want the rest, so that it never
            // comes (RFC 9110, 10.1.1).
            State::Body(exchange, _) => {
                // A method that isn't RFC 9110's may be the rest of a body as well.
                let begins = head::begins_request(input.data);
                if open.contains(*exchange) || begins.is_none_or(|m| m == Method::Other) {
                    return true;
                }
            }
            State::Lost => {
                if head::begins_request(input.data).is_none() {
                    return false;
                }
            }
            State::Unseen { answered } => {
                if head::begins_request(input.data).is_none() {
                    return false;
                }
                if !answered || !open.is_empty() {
                    out.abandoned += 1;
                    return false;
                }
            }
        }
        self.state = State::Between;
        true
    }

    /// Skips empty lines before a request (RFC 9112, 2.2); says whether nothing
    /// else is left.
    pub fn skip_empty_lines(&mut self, input: &mut Input<'_>) -> bool {
        while let [b'\r' | b'\n', rest @ ..] = input.data {
            input.data = rest;
        }
        input.is_empty()
    }

    /// Takes a head or a body, or what there is of it. Says whether to go on.
    pub fn take(
        &mut self,
        input: &mut Input<'_>,
        at: u64,
        open: &mut Queue,
        out: &mut Events,
    ) -> bool {
        match &mut self.state {
            State::Between => self.begin(input, at, open, out),
            State::Head(exchange) => {
                let exchange = *exchange;
                self.go_on(exchange, input, open, out)
            }
            State::Body(exchange, body) => {
                match body.take(input) {
                    Taken::More => {}
                    Taken::Over => {
                        open.set_size(*exchange, body.size);
                        self.state = State::Between;
                    }
                    Taken::Lost => self.state = State::Lost,
                    Taken::Invalid => {
                        out.failed += 1;
                        self.state = State::Lost;
                    }
                }
                true
            }
            State::Lost | State::Unseen { .. } => false,
        }
    }

    /// The first bytes of a request.
    fn begin(
        &mut self,
        input: &mut Input<'_>,
        at: u64,
        open: &mut Queue,
        out: &mut Events,
    ) -> bool {
        if input.data.is_empty() {
            if !input.is_empty() {
                out.abandoned += 1;
                self.state = State::Unseen { answered: false };
            }
            return false;
        }
        if let Some(known) = open.known(input.data) {
            let exchange = open.begin(at, out);
            open.fill_known(exchange, &known, out);
            input.take(known.raw.len());
            self.behind(exchange, known.framing, open);
            return true;
        }
        match head::request(input.data) {
            Parsed::Whole(head, length) => {
                let exchange = open.begin(at, out);
                open.fill(exchange, &head, input.take(length), out);
                self.behind(exchange, head.framing, open);
                true
            }
            Parsed::Partial => {
                let exchange = open.begin(at, out);
                if input.hidden > 0 || input.data.len() > MAX_HEAD {
                    fill_partly(input.data, exchange, open, out);
                    self.lose();
                } else {
                    self.half = input.data.to_vec();
                    self.state = State::Head(exchange);
                }
                false
            }
            Parsed::Invalid => {
                out.failed += 1;
                self.lose();
                false
            }
        }
    }

    /// More bytes of a request's head.
    fn go_on(
        &mut self,
        exchange: Exchange,
        input: &mut Input<'_>,
        open: &mut Queue,
        out: &mut Events,
    ) -> bool {
        let before = self.half.len();
        if self.long.is_some() || before + input.data.len() > MAX_HEAD {
            return self.go_on_long(exchange, input, open, out);
        }
        let room = MAX_HEAD.saturating_sub(before);
        self.half.extend(input.first(room));
        if head::has_end(&self.half, before) {
            match head::request(&self.half) {
                Parsed::Whole(head, length) => {
                    let raw = self.half.get(..length).unwrap_or_default();
                    open.fill(exchange, &head, raw, out);
                    let framing = head.framing;
                    input.take(length.saturating_sub(before));
                    self.half = Vec::new();
                    self.behind(exchange, framing, open);
                    return true;
                }
                // Empty lines alone.
                Parsed::Partial => {}
                Parsed::Invalid => {
                    out.failed += 1;
                    open.abandon_last(exchange, out);
                    self.lose();
                    return false;
                }
            }
        }
        if input.hidden > 0 || self.half.len() >= MAX_HEAD {
            fill_partly(&self.half, exchange, open, out);
            self.lose();
        }
        false
    }

    /// More bytes of a request's head that is longer than what is kept.
    fn go_on_long(
        &mut self,
        exchange: Exchange,
        input: &mut Input<'_>,
        open: &mut Queue,
        out: &mut Events,
    ) -> bool {
        let half = std::mem::take(&mut self.half);
        let long = self.long.get_or_insert_default();
        // No end is in what there was of it.
        long.take(&half);
        if let Some(taken) = long.take(input.data) {
            let long = self.long.take().unwrap_or_default();
            return match head::request(long.lines()) {
                Parsed::Whole(head, _) => {
                    open.fill(exchange, &head, long.lines(), out);
                    input.take(taken);
                    self.behind(exchange, head.framing, open);
                    true
                }
                _ => {
                    out.failed += 1;
                    open.abandon_last(exchange, out);
                    self.lose();
                    false
                }
            };
        }
        if input.hidden > 0 || long.is_too_long() {
            fill_partly(long.lines(), exchange, open, out);
            self.lose();
        }
        false
    }

    /// What comes after a head.
    fn behind(&mut self, exchange: Exchange, framing: Framing, open: &mut Queue) {
        self.state = match framing {
            Framing::None => {
                open.set_size(exchange, 0);
                State::Between
            }
            Framing::Length(length) => {
                open.set_size(exchange, length);
                State::Body(exchange, Body::of_length(length))
            }
            Framing::Chunked => State::Body(exchange, Body::chunked()),
            Framing::UntilClose | Framing::Unknown => State::Lost,
        };
    }

    /// The connection ended: what there is of a head is all of it.
    pub fn close(&mut self, open: &mut Queue) {
        if let State::Head(exchange) = self.state {
            let half = self.long.as_deref().map_or(&*self.half, Long::lines);
            fill_partly(half, exchange, open, &mut Events::default());
        }
    }
}

/// Notes what is known of a head that isn't complete.
fn fill_partly(data: &[u8], exchange: Exchange, open: &mut Queue, out: &mut Events) {
    if let Some(lines) = head::whole_lines(data)
        && let Parsed::Whole(head, _) = head::request(&lines)
    {
        open.fill(exchange, &head, &[], out);
    } else if let Some(method) = head::begins_request(data) {
        // Its first line goes beyond what was captured.
        let mut words = data.split(|byte| *byte == b' ');
        let name = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        open.fill_line(exchange, method, name, target);
    }
}
