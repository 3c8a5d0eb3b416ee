//! One direction of a connection, step by step.

use super::block::{Block, Blocks};
use super::frame::{Found, Frames, Header, kind};
use super::heads::{AnswerHead, RequestHead};
use super::hpack::Decoder;
use crate::input::Input;
use crate::protocol::Events;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub frames: Frames,
    blocks: Blocks,
    decoder: Decoder,
}

impl Side {
    /// Frames were lost, and blocks maybe.
    pub fn lose(&mut self) {
        self.frames.lose();
        self.blocks.lose();
        self.decoder.lose();
    }

    /// The frame under way that begins a block, or the first one of a block under
    /// way, and when it began.
    pub fn block_under_way(&self) -> Option<(Header, u64)> {
        self.blocks
            .under_way()
            .or(self.frames.under_way())
            .filter(|(header, _)| header.kind == kind::HEADERS)
    }
}

/// A direction's next step, without what borrows from it.
pub(super) enum Step {
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
pub(super) fn step(
    side: &mut Side,
    input: &mut Input<'_>,
    at: u64,
    asks: bool,
    out: &mut Events,
) -> Step {
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
