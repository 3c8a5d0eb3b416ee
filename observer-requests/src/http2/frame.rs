//! Frames (RFC 9113, 4 and 6), from chunks that may hold many of them, or parts
//! of one, or bytes that nobody saw.

use crate::input::Input;

/// Types of frames.
pub(super) mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(super) mod flag {
    pub const END_STREAM: u8 = 0x01;
    pub const END_HEADERS: u8 = 0x04;
    pub const PADDED: u8 = 0x08;
    pub const PRIORITY: u8 = 0x20;
}

/// Length of a frame's header.
pub(super) const HEADER: usize = 9;
/// Bytes of a payload that are kept at most.
pub(super) const MAX_PAYLOAD: usize = 8 * 1024;
/// Longest frame that is believed to be one where it isn't sure: what servers
/// and clients in use allow each other.
const MAX_LENGTH: u32 = 1 << 20;
/// Longest frame without a setting (4.2).
pub(super) const DEFAULT_LENGTH: u32 = 1 << 14;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Header {
    /// RFC 9113, 4.1.
    pub fn read(bytes: &[u8; HEADER]) -> Self {
        Self {
            length: u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]),
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & 0x7fff_ffff,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether such a frame is allowed at all (RFC 9113, 6).
    pub fn is_valid(&self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => on_stream,
            kind::PRIORITY => on_stream && self.length == 5,
            kind::RST_STREAM => on_stream && self.length == 4,
            kind::SETTINGS => !on_stream && self.length.is_multiple_of(6),
            kind::PING => !on_stream && self.length == 8,
            kind::GOAWAY => !on_stream && self.length >= 8,
            kind::WINDOW_UPDATE => self.length == 4,
            // Extensions are ignored (5.5).
            _ => self.length <= MAX_LENGTH,
        }
    }

    /// Whether it looks like a frame, where it may as well be the middle of one.
    /// `known` says that a stream may have frames.
    fn is_likely(&self, known: &impl Fn(u32) -> bool) -> bool {
        let flags = match self.kind {
            kind::DATA => flag::END_STREAM | flag::PADDED,
            kind::HEADERS => flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            kind::SETTINGS | kind::PING => 1,
            kind::PRIORITY | kind::RST_STREAM | kind::GOAWAY | kind::WINDOW_UPDATE => 0,
            _ => return false,
        };
        let length = match self.kind {
            kind::DATA => self.length <= MAX_LENGTH,
            kind::HEADERS => (1..=DEFAULT_LENGTH).contains(&self.length),
            _ => self.length <= 1024,
        };
        let stream = match self.kind {
            kind::DATA | kind::HEADERS => self.stream % 2 == 1 && known(self.stream),
            _ => true,
        };
        self.is_valid() && self.flags & !flags == 0 && length && stream
    }
}

/// Longest message that is believed to be one.
const MAX_MESSAGE: u32 = 1 << 26;

/// Whether a DATA frame begins as gRPC's messages do ("gRPC over HTTP2",
/// Length-Prefixed-Message): a flag, and a length. `None` if it isn't to be seen.
fn begins_message(header: &Header, data: &[u8]) -> Option<bool> {
    let [compressed, length @ ..] = data.first_chunk::<5>()?;
    let whole = header.length >= 5 && !header.has(flag::PADDED);
    whole.then(|| *compressed <= 1 && u32::from_be_bytes(*length) <= MAX_MESSAGE)
}

/// What comes next in a direction.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Something; a chunk that begins like a frame is one. So it is at first.
    #[default]
    Lost,
    /// A frame's header, of which so many bytes came.
    Header(usize),
    /// So many bytes of a frame that doesn't matter, or of a body.
    Skip(Header, u64),
    /// So many bytes of a frame that is kept.
    Keep(Header, u64),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Nothing else in this chunk.
    Nothing,
    /// So many bytes of a DATA frame, without padding; the last of it, if `over`.
    Data {
        header: Header,
        bytes: u64,
        over: bool,
        /// Of the first ones: whether they look like gRPC's; `None` where that can't
        /// be told.
        message: Option<bool>,
    },
    /// A frame that matters. Its payload isn't `whole` if some was hidden.
    Frame {
        header: Header,
        payload: &'a [u8],
        whole: bool,
        /// When its first byte came.
        at: u64,
    },
    /// Where frames begin isn't known from here on.
    Lost,
    /// The same, after something that isn't a frame.
    Invalid,
}

/// Reads one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    state: State,
    header: [u8; HEADER],
    /// A payload that comes in parts.
    payload: Vec<u8>,
    /// Whether some of it wasn't seen: nothing behind that is kept.
    hole: bool,
    /// Bytes of a DATA frame's padding that aren't counted yet, with its length.
    padding: u64,
    /// When the frame's first byte came.
    at: u64,
}

impl Frames {
    /// Nothing is known of what comes next.
    pub fn lose(&mut self) {
        self.state = State::Lost;
        self.payload = Vec::new();
    }

    /// A frame comes next.
    pub fn begin(&mut self) {
        self.state = State::Header(0);
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// The frame under way, of those that are kept, and when it began.
    pub fn under_way(&self) -> Option<(Header, u64)> {
        match self.state {
            State::Keep(header, _) => Some((header, self.at)),
            _ => None,
        }
    }

    /// Looks whether a chunk begins with a frame, and with another behind it.
    pub fn find(&mut self, input: &Input<'_>, known: impl Fn(u32) -> bool) {
        let mut data = input.data;
        let mut likely = 0;
        while likely < 2
            && let Some((bytes, rest)) = data.split_first_chunk()
        {
            let header = Header::read(bytes);
            if !header.is_likely(&known) {
                return;
            }
            likely += 1;
            data = rest.get(header.length as usize..).unwrap_or_default();
        }
        if likely > 0 {
            self.begin();
        }
    }

    /// The next thing in a chunk that came at `now`.
    pub fn next<'a, 'b: 'a>(&'a mut self, input: &mut Input<'b>, now: u64) -> Found<'a> {
        loop {
            match self.state {
                State::Lost => return Found::Nothing,
                State::Header(before) => {
                    if input.is_empty() {
                        return Found::Nothing;
                    }
                    if before == 0 {
                        self.at = now;
                    }
                    let bytes = input.take(HEADER.saturating_sub(before));
                    let count = bytes.len();
                    for (to, byte) in self.header.iter_mut().skip(before).zip(bytes) {
                        *to = *byte;
                    }
                    if before + count < HEADER {
                        if input.hidden > 0 {
                            self.lose();
                            return Found::Lost;
                        }
                        self.state = State::Header(before + count);
                        return Found::Nothing;
                    }
                    // Most payloads come in one piece.
                    if !self.payload.is_empty() {
                        self.payload = Vec::new();
                    }
                    let header = Header::read(&self.header);
                    if !header.is_valid() {
                        self.lose();
                        return Found::Invalid;
                    }
                    self.state = match header.kind {
                        kind::HEADERS
                        | kind::PUSH_PROMISE
                        | kind::CONTINUATION
                        | kind::RST_STREAM
                        | kind::GOAWAY => State::Keep(header, header.length.into()),
                        _ => State::Skip(header, header.length.into()),
                    };
                }
                State::Skip(header, left) => {
                    let mut message = None;
                    if left == u64::from(header.length) {
                        message = begins_message(&header, input.data);
                        self.padding = match input.data.first() {
                            Some(padding) if left > 0 && header.has(flag::PADDED) => {
                                u64::from(*padding) + 1
                            }
                            _ => 0,
                        };
                    }
                    let mut bytes = input.skip(left);
                    let over = bytes == left;
                    if bytes == 0 && !over {
                        return Found::Nothing;
                    }
                    self.state = if over {
                        State::Header(0)
                    } else {
                        State::Skip(header, left - bytes)
                    };
                    if header.kind == kind::DATA {
                        let padding = self.padding.min(bytes);
                        self.padding -= padding;
                        bytes -= padding;
                        return Found::Data {
                            header,
                            bytes,
                            over,
                            message,
                        };
                    }
                }
                State::Keep(header, left) => return self.keep(header, left, input),
            }
        }
    }

    /// Takes bytes of a frame that matters.
    fn keep<'a, 'b: 'a>(
        &'a mut self,
        header: Header,
        left: u64,
        input: &mut Input<'b>,
    ) -> Found<'a> {
        let seen = input.first(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = input.skip(left);
        let hidden = (seen.len() as u64) < bytes;
        let (first, over) = (left == u64::from(header.length), bytes == left);
        if over {
            self.state = State::Header(0);
        } else {
            self.state = State::Keep(header, left - bytes);
        }
        if first && over {
            return Found::Frame {
                header,
                payload: seen,
                whole: !hidden,
                at: self.at,
            };
        }
        if first {
            self.payload.clear();
            self.hole = false;
        }
        if !self.hole {
            let room = MAX_PAYLOAD.saturating_sub(self.payload.len());
            let kept = seen.get(..room).unwrap_or(seen);
            self.payload.extend_from_slice(kept);
            self.hole = hidden || kept.len() < seen.len();
        }
        if !over {
            return Found::Nothing;
        }
        Found::Frame {
            header,
            payload: &self.payload,
            whole: !self.hole,
            at: self.at,
        }
    }
}
