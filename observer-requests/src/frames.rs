//! Messages that begin with their length, out of chunks whose ends weren't
//! captured.

use super::input::Input;

/// What a message's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not enough of them.
    Short,
    /// It is no message.
    Wrong,
    /// Not enough of a line, which is a message as far as it goes. What there is
    /// is given if the rest isn't captured or too long, and then sight is lost.
    Line,
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
        input: &mut Input<'a>,
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
            let here = usize::try_from(self.skip).unwrap_or(usize::MAX);
            self.skip -= input.take(here).len() as u64;
        }
        if input.data.is_empty() {
            self.hide(input);
            return None;
        }
        if !self.kept.is_empty() {
            return self.go_on(input, wrong, head);
        }
        let data = input.data;
        let (length, wanted) = match head(data) {
            Head::Message { length, wanted } => (length.max(1), wanted.min(MAX_WANTED)),
            Head::Short => {
                self.keep(input);
                return None;
            }
            Head::Line if input.hidden > 0 || data.len() >= MAX_WANTED => {
                let length = data.len() as u64 + input.hidden;
                *input = Input::default();
                self.lose();
                return Some(Frame { data, length });
            }
            Head::Line => {
                self.keep(input);
                return None;
            }
            Head::Wrong => {
                *wrong += 1;
                self.lose();
                return None;
            }
        };
        if length <= data.len() as u64 {
            let data = input.take(length as usize);
            return Some(Frame { data, length });
        }
        if data.len() >= wanted || input.hidden > 0 {
            input.data = &[];
            self.skip = length - data.len() as u64;
            self.hide(input);
            return Some(Frame { data, length });
        }
        self.keep(input);
        None
    }

    /// Keeps the beginning of a message, if the next chunk goes on right there.
    fn keep(&mut self, input: &mut Input<'_>) {
        if input.hidden > 0 {
            self.lose();
        } else {
            self.kept.extend_from_slice(input.data);
        }
        input.data = &[];
    }

    /// Bytes that weren't captured, behind all that were.
    fn hide(&mut self, input: &mut Input<'_>) {
        let hidden = std::mem::take(&mut input.hidden);
        if hidden <= self.skip {
            self.skip -= hidden;
        } else {
            self.lose();
        }
    }

    /// Goes on with a message that began in an earlier chunk.
    fn go_on(
        &mut self,
        input: &mut Input<'_>,
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
                Head::Line => {
                    let hidden = input.data.is_empty() && input.hidden > 0;
                    if hidden || self.kept.len() >= MAX_WANTED {
                        let length = self.kept.len() as u64 + input.left();
                        *input = Input::default();
                        self.given = true;
                        self.lost = true;
                        return Some(Frame {
                            data: &self.kept,
                            length,
                        });
                    }
                    let end = input.data.iter().position(|byte| *byte == b'\n');
                    let end = end.map_or(input.data.len(), |end| end + 1);
                    end.min(MAX_WANTED - self.kept.len()).max(1)
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
                    let hidden = input.data.is_empty() && input.hidden > 0;
                    if missing == 0 || hidden {
                        self.skip = length.saturating_sub(self.kept.len() as u64);
                        self.given = true;
                        if hidden {
                            let skip = self.skip;
                            if input.hidden > skip {
                                // What follows is out of sight.
                                self.lost = true;
                                self.skip = 0;
                            } else {
                                self.skip -= input.hidden;
                            }
                            input.hidden = 0;
                        }
                        return Some(Frame {
                            data: &self.kept,
                            length,
                        });
                    }
                    missing
                }
            };
            if input.data.is_empty() {
                if input.hidden > 0 {
                    self.lose();
                }
                input.hidden = 0;
                return None;
            }
            self.kept.extend_from_slice(input.take(missing));
        }
    }
}
