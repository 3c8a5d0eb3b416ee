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
#[cfg(test)]
mod hidden_tests;
mod hpack;
mod huffman;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod real_tests;
mod streams;
mod string;
#[cfg(test)]
mod tests;

use self::block::{Block, Blocks};
use self::frame::{Found, Frames, Header, flag, kind};
use self::hpack::Decoder;
use self::streams::{AnswerHead, RequestHead, Streams};
use super::call::Failure;
use super::input::Input;
use super::protocol::{Chunk, Events, Parser};

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

/// One direction.
#[derive(Debug, Default)]
struct Side {
    frames: Frames,
    blocks: Blocks,
    decoder: Decoder,
}

impl Side {
    /// Frames were lost, and blocks maybe.
    fn lose(&mut self) {
        self.frames.lose();
        self.blocks.lose();
        self.decoder.lose();
    }

    /// The frame under way that begins a block, or the first one of a block under
    /// way, and when it began.
    fn block_under_way(&self) -> Option<(Header, u64)> {
        self.blocks
            .under_way()
            .or(self.frames.under_way())
            .filter(|(header, _)| header.kind == kind::HEADERS)
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

/// A direction's next step, without what borrows from it.
enum Step {
    Over,
    Data {
        header: Header,
        bytes: u64,
        over: bool,
        message: Option<bool>,
    },
    Request(Header, RequestHead, u64),
    Answer(Header, AnswerHead, u64),
    Reset(u32, Option<u32>),
    GoneAway(u32),
    Nothing,
    Lost,
    Invalid,
}

/// Reads what comes next, of the side that asks or of the other.
fn step(side: &mut Side, input: &mut Input<'_>, at: u64, asks: bool, out: &mut Events) -> Step {
    let (header, payload, whole, at) = match side.frames.next(input, at) {
        Found::Nothing => return Step::Over,
        Found::Data {
            header,
            bytes,
            over,
            message,
        } => {
            return Step::Data {
                header,
                bytes,
                over,
                message,
            };
        }
        Found::Lost => return Step::Lost,
        Found::Invalid => return Step::Invalid,
        Found::Frame {
            header,
            payload,
            whole,
            at,
        } => (header, payload, whole, at),
    };
    let word = |at: usize| {
        let bytes = payload.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    };
    match header.kind {
        kind::RST_STREAM => return Step::Reset(header.stream, word(0)),
        kind::GOAWAY => {
            return word(0).map_or(Step::Nothing, |last| Step::GoneAway(last & 0x7fff_ffff));
        }
        _ => {}
    }
    let block = match side.blocks.add(header, payload, whole, at) {
        Ok(Some(block)) => block,
        Ok(None) => return Step::Nothing,
        Err(()) => return Step::Invalid,
    };
    let Block {
        header,
        bytes,
        whole,
        at,
    } = block;
    let decoder = &mut side.decoder;
    let (mut request, mut answer) = (RequestHead::default(), AnswerHead::default());
    let decoded = match header.kind {
        kind::HEADERS if asks => decoder.decode(bytes, whole, |field| request.add(field)),
        kind::HEADERS => decoder.decode(bytes, whole, |field| answer.add(field)),
        // What a server promises isn't asked for; its fields count for the table.
        _ => decoder.decode(bytes, whole, |_| ()),
    };
    // What came before an error is known.
    out.failed += u64::from(decoded.is_err());
    if !whole || decoded.is_err() {
        (request.partial, answer.partial) = (true, true);
    }
    match header.kind {
        kind::HEADERS if asks => Step::Request(header, request, at),
        kind::HEADERS => Step::Answer(header, answer, at),
        _ => Step::Nothing,
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
