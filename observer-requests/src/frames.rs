//! Messages that begin with their length, out of chunks whose ends weren't
//! captured.

use super::protocol::Chunk;

/// What a message's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not enough of them.
    Short,
    /// It is no message.
    Wrong,
    /// One of `length` bytes in all (1 at least), of which the first `wanted`
    /// are looked at.
    Message {
        /// Bytes with the head.
        length: u64,
        /// Bytes that [`Frames::next`] waits for, if they are captured.
        wanted: usize,
    },
}

/// A message, or as much of it as was captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its first bytes.
    pub data: &'a [u8],
    /// Bytes in all.
    pub length: u64,
}

/// What is left of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Rest<'a> {
    data: &'a [u8],
    /// Bytes behind `data` that weren't captured.
    hidden: u64,
}

impl<'a> Rest<'a> {
    /// All of it.
    pub fn of(chunk: &Chunk<'a>) -> Self {
        Self {
            data: chunk.data,
            hidden: chunk.length.saturating_sub(chunk.data.len() as u64),
        }
    }

    /// Leaves the first bytes out.
    pub fn skip(&mut self, bytes: u64) {
        let captured = bytes.min(self.data.len() as u64);
        self.data = &self.data[captured as usize..];
        self.hidden = self.hidden.saturating_sub(bytes - captured);
    }

    /// Captured bytes that are left.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// Longest beginning of a message that is kept from one chunk to the next.
pub const MAX_WANTED: usize = 4096;
/// Longest head of a message.
const MAX_HEAD: usize = 128;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Frames {
    /// The beginning of a message that isn't whole; or of the one that was
    /// given last, if `given`.
    kept: Vec<u8>,
    given: bool,
    /// Bytes of a message that are still to come and aren't looked at.
    skip: u64,
    /// Whether it isn't known where the next message begins.
    lost: bool,
}

impl Frames {
    /// Whether it isn't known where the next message begins.
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Whether the next byte begins a message.
    pub fn between(&self) -> bool {
        !self.lost && self.skip == 0 && (self.given || self.kept.is_empty())
    }

    /// Forgets where it was.
    pub fn lose(&mut self) {
        self.kept.clear();
        self.given = false;
        self.skip = 0;
        self.lost = true;
    }

    /// The next byte begins a message.
    pub fn find(&mut self) {
        self.lose();
        self.lost = false;
    }

    /// The next message of a chunk. `None` at the chunk's end, or when sight
    /// of the messages is lost; `wrong` counts what was none.
    pub fn next<'f, 'a: 'f>(
        &'f mut self,
        rest: &mut Rest<'a>,
        wrong: &mut u64,
        head: impl Fn(&[u8]) -> Head,
    ) -> Option<Frame<'f>> {
        if self.given {
            self.kept.clear();
            self.given = false;
        }
        if self.lost {
            return None;
        }
        if self.skip > 0 {
            let here = self.skip.min(rest.data.len() as u64);
            rest.data = &rest.data[here as usize..];
            self.skip -= here;
        }
        if rest.data.is_empty() {
            self.hide(rest);
            return None;
        }
        if !self.kept.is_empty() {
            return self.go_on(rest, wrong, head);
        }
        let data = rest.data;
        let (length, wanted) = match head(data) {
            Head::Message { length, wanted } => (length.max(1), wanted.min(MAX_WANTED)),
            Head::Short => {
                self.keep(rest);
                return None;
            }
            Head::Wrong => {
                *wrong += 1;
                self.lose();
                return None;
            }
        };
        if length <= data.len() as u64 {
            let (data, behind) = data.split_at(length as usize);
            rest.data = behind;
            return Some(Frame { data, length });
        }
        if data.len() >= wanted || rest.hidden > 0 {
            rest.data = &[];
            self.skip = length - data.len() as u64;
            self.hide(rest);
            return Some(Frame { data, length });
        }
        self.keep(rest);
        None
    }

    /// Keeps the beginning of a message, if the next chunk goes on right there.
    fn keep(&mut self, rest: &mut Rest<'_>) {
        if rest.hidden > 0 {
            self.lose();
        } else {
            self.kept.extend_from_slice(rest.data);
        }
        rest.data = &[];
    }

    /// Bytes that weren't captured, behind all that were.
    fn hide(&mut self, rest: &mut Rest<'_>) {
        let hidden = std::mem::take(&mut rest.hidden);
        if hidden <= self.skip {
            self.skip -= hidden;
        } else {
            self.lose();
        }
    }

    /// Goes on with a message that began in an earlier chunk.
    fn go_on(
        &mut self,
        rest: &mut Rest<'_>,
        wrong: &mut u64,
        head: impl Fn(&[u8]) -> Head,
    ) -> Option<Frame<'_>> {
        loop {
            let missing = match head(&self.kept) {
                Head::Wrong => {
                    *wrong += 1;
                    self.lose();
                    return None;
                }
                // A head has few bytes.
                Head::Short if self.kept.len() < MAX_HEAD => 1,
                Head::Short => {
                    self.lose();
                    return None;
                }
                Head::Message { length, wanted } => {
                    let wanted = length.min(wanted.min(MAX_WANTED) as u64) as usize;
                    let missing = wanted.saturating_sub(self.kept.len());
                    let hidden = rest.data.is_empty() && rest.hidden > 0;
                    if missing == 0 || hidden {
                        self.skip = length.saturating_sub(self.kept.len() as u64);
                        self.given = true;
                        if hidden {
                            let skip = self.skip;
                            if rest.hidden > skip {
                                // What follows is out of sight.
                                self.lost = true;
                                self.skip = 0;
                            } else {
                                self.skip -= rest.hidden;
                            }
                            rest.hidden = 0;
                        }
                        return Some(Frame {
                            data: &self.kept,
                            length,
                        });
                    }
                    missing
                }
            };
            if rest.data.is_empty() {
                if rest.hidden > 0 {
                    self.lose();
                }
                rest.hidden = 0;
                return None;
            }
            let (here, behind) = rest.data.split_at(missing.min(rest.data.len()));
            self.kept.extend_from_slice(here);
            rest.data = behind;
        }
    }
}
