//! HTTP/2 (RFC 9113), and gRPC on it.
//!
//! Frames say how long they are, so bodies are skipped; a frame whose header
//! wasn't captured hides where the next one begins, until a chunk begins with
//! one. What was lost with it isn't guessed: fields by what is known of the
//! encoder's table (see [`hpack`]), an answer's end by its length, or by the
//! next request where no other stream is open.

mod block;
mod field;
mod frame;
mod heads;
#[cfg(test)]
mod hidden_tests;
mod hpack;
mod huffman;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod real_tests;
mod side;
mod streams;
mod string;
#[cfg(test)]
mod tests;

use self::frame::flag;
use self::side::{Side, Step, step};
use self::streams::Streams;
use super::call::{Failure, Http};
use super::input::Input;
use super::protocol::{Chunk, Events, Exchange, Parser};

/// What a client's connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RST_STREAM's and GOAWAY's codes (RFC 9113, 7).
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// HTTP/2 on one connection.
#[derive(Debug, Default)]
pub struct Http2 {
    asking: Side,
    answering: Side,
    streams: Streams,
    /// What is still to come of the preface, if nothing else came.
    preface: Option<&'static [u8]>,
    /// A stream that was begun before its block of fields was complete.
    announced: Option<u32>,
    /// When the last bytes of an answer came.
    last_answer: u64,
    /// What the only open stream owes, whose answer was lost sight of.
    owed: Option<Owed>,
}

/// What is left of an answer that was lost sight of, and whose length is known.
#[derive(Clone, Copy, Debug)]
struct Owed {
    stream: u32,
    /// Bytes that the answering side still sends.
    bytes: u64,
    /// Of which so many may not come: there are fewer frames if they are longer.
    headers: u64,
}

impl Owed {
    /// Takes so many bytes from it.
    fn after(self, bytes: u64) -> Self {
        let bytes = self.bytes.saturating_sub(bytes);
        Self { bytes, ..self }
    }
}

impl Http2 {
    /// A connection of which nothing was seen.
    pub fn new() -> Self {
        Self {
            preface: Some(PREFACE),
            ..Self::default()
        }
    }

    /// A connection that was upgraded from HTTP/1.1: stream 1 is the exchange that asked
    /// for it, the next one has this number.
    pub(crate) fn upgraded(exchange: Exchange, asked: &Http, next: Exchange) -> Self {
        let mut http2 = Self::new();
        http2.answering.frames.begin();
        http2.streams.adopt(exchange, asked, next);
        http2
    }

    /// Takes the preface, or what comes of it.
    fn preface(&mut self, input: &mut Input<'_>) {
        let Some(due) = self.preface.take() else {
            return;
        };
        let came = input.first(due.len());
        let Some(rest) = due.strip_prefix(came).filter(|_| !came.is_empty()) else {
            return;
        };
        input.take(came.len());
        if rest.is_empty() {
            self.asking.frames.begin();
        } else {
            self.preface = Some(rest);
        }
    }

    /// The side that asks was lost sight of.
    fn requests_lost(&mut self) {
        self.asking.lose();
        self.announced = None;
        for stream in self.streams.all() {
            stream.request_lost = true;
        }
    }

    /// The side that answers was lost sight of. Of the only open stream, says what
    /// it owes.
    fn answers_lost(&mut self) -> Option<Owed> {
        self.answering.lose();
        for stream in self.streams.all() {
            stream.response_lost = true;
            stream.unsure = true;
        }
        let (number, stream) = self.streams.only()?;
        stream.answered?;
        let body = stream.length?.saturating_sub(stream.response_size);
        // Each frame of it has a header.
        let frames = body.div_ceil(frame::DEFAULT_LENGTH.into()).max(1);
        let headers = frames.saturating_mul(frame::HEADER as u64);
        Some(Owed {
            stream: number,
            bytes: body.saturating_add(headers),
            headers,
        })
    }

    /// A request begins.
    fn begin(&mut self, number: u32, at: u64, out: &mut Events) {
        let owed = self.owed.take();
        if owed.is_none_or(|owed| owed.bytes <= owed.headers) {
            self.streams.end_unsure(self.last_answer, out);
        }
        self.streams.begin(number, at, out);
    }

    /// RST_STREAM, with its code if that was seen (RFC 9113, 6.4).
    fn reset(&mut self, number: u32, code: Option<u32>, at: u64, out: &mut Events) {
        match code {
            Some(CANCEL) => self.streams.end(number, at, Some(Failure::Cancelled), out),
            Some(code) => self
                .streams
                .end(number, at, Some(Failure::Reset(code)), out),
            None => self.streams.abandon(number, out),
        }
    }
}

impl Parser for Http2 {
    fn requested(&mut self, chunk: &Chunk<'_>, at: u64, out: &mut Events) {
        let mut input = Input::of(chunk);
        if input.is_empty() {
            return;
        }
        self.preface(&mut input);
        if self.asking.frames.is_lost() {
            let streams = &self.streams;
            self.asking.frames.find(&input, |number| {
                streams.is_open(number) || streams.is_new(number)
            });
        }
        loop {
            match step(&mut self.asking, &mut input, at, true, out) {
                Step::Over => break,
                Step::Data {
                    header,
                    bytes,
                    over,
                    message,
                } => {
                    if let Some(stream) = self.streams.get(header.stream) {
                        stream.request_size = stream.request_size.saturating_add(bytes);
                        stream.message = stream.message.or(message);
                        stream.request_over |= over && header.has(flag::END_STREAM);
                    }
                }
                Step::Request(header, head, at) => {
                    let number = header.stream;
                    if self.streams.is_new(number) && !head.trailers {
                        self.begin(number, at, out);
                        self.streams.fill(number, head, out);
                    } else if self.announced == Some(number) {
                        if head.trailers {
                            self.streams.abandon(number, out);
                        }
                        self.streams.fill(number, head, out);
                    }
                    self.announced = None;
                    if header.has(flag::END_STREAM)
                        && let Some(stream) = self.streams.get(number)
                    {
                        stream.request_over = true;
                    }
                }
                Step::Reset(number, code) => self.reset(number, code, chunk.ended, out),
                Step::Answer(..) | Step::GoneAway(_) | Step::Nothing => {}
                Step::Lost => self.requests_lost(),
                Step::Invalid => {
                    out.failed += 1;
                    self.requests_lost();
                }
            }
        }
        // A head that goes on in the next chunk.
        if let Some((header, at)) = self.asking.block_under_way()
            && self.streams.is_new(header.stream)
        {
            self.begin(header.stream, at, out);
            self.announced = Some(header.stream);
        }
    }

    fn answered(&mut self, chunk: &Chunk<'_>, out: &mut Events) {
        let mut input = Input::of(chunk);
        if input.is_empty() {
            return;
        }
        if self.answering.frames.is_lost() {
            let streams = &self.streams;
            self.answering
                .frames
                .find(&input, |number| streams.is_open(number));
        }
        let ended = chunk.ended;
        let length = input.left();
        let mut owed = self.owed.take().map(|owed| owed.after(length));
        loop {
            match step(&mut self.answering, &mut input, ended, false, out) {
                Step::Over => break,
                Step::Data {
                    header,
                    bytes,
                    over,
                    message,
                } => {
                    let Some(stream) = self.streams.get(header.stream) else {
                        continue;
                    };
                    stream.response_size = stream.response_size.saturating_add(bytes);
                    stream.message = stream.message.or(message);
                    stream.unsure = false;
                    if over && header.has(flag::END_STREAM) {
                        self.streams.end(header.stream, ended, None, out);
                    }
                }
                Step::Answer(header, head, at) => {
                    let Some(stream) = self.streams.get(header.stream) else {
                        continue;
                    };
                    stream.answer(&head, at);
                    if header.has(flag::END_STREAM) {
                        self.streams.end(header.stream, ended, None, out);
                    }
                }
                Step::Reset(number, code) => self.reset(number, code, ended, out),
                Step::GoneAway(last) => {
                    let refused = Failure::Reset(REFUSED_STREAM);
                    self.streams.end_above(last, ended, refused, out);
                }
                Step::Request(..) | Step::Nothing => {}
                Step::Lost => {
                    let hidden = input.left();
                    let owes = self.answers_lost();
                    owed = owed.or(owes.map(|owed| owed.after(hidden)));
                }
                Step::Invalid => {
                    out.failed += 1;
                    self.answers_lost();
                }
            }
        }
        match owed {
            Some(owed) if owed.bytes == 0 => self.streams.end(owed.stream, ended, None, out),
            Some(Owed { stream, .. }) if self.streams.is_open(stream) => self.owed = owed,
            _ => {}
        }
        self.last_answer = ended;
    }

    fn missed(&mut self, out: &mut Events) {
        self.asking.lose();
        self.answering.lose();
        self.streams.abandon_all(out);
        (self.owed, self.announced, self.preface) = (None, None, None);
    }

    fn closed(&mut self, at: u64, out: &mut Events) {
        self.streams.end_unsure(self.last_answer, out);
        self.streams.end_above(0, at, Failure::Closed, out);
        self.missed(out);
    }
}
