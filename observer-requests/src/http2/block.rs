//! Blocks of fields: a HEADERS or PUSH_PROMISE frame, and the CONTINUATION
//! frames behind it (RFC 9113, 4.3, 6.2, 6.6 and 6.10).

use super::frame::{Header, MAX_PAYLOAD, flag, kind};

/// A block that is complete.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// Header of its first frame.
    pub header: Header,
    /// Its bytes; not all of them, if it isn't `whole`.
    pub bytes: &'a [u8],
    pub whole: bool,
    /// When its first byte came.
    pub at: u64,
}

/// Gathers one direction's blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// A block under way: its first frame, and when that began.
    begun: Option<(Header, u64)>,
    bytes: Vec<u8>,
    whole: bool,
}

impl Blocks {
    /// Forgets what is under way.
    pub fn lose(&mut self) {
        self.begun = None;
        self.bytes = Vec::new();
    }

    /// The block under way, and when it began.
    pub fn under_way(&self) -> Option<(Header, u64)> {
        self.begun
    }

    /// Adds a frame; returns the block that it ends.
    ///
    /// # Errors
    /// The frame continues no block, or doesn't continue the one that was begun, or has
    /// less in it than its flags say.
    pub fn add<'a>(
        &'a mut self,
        header: Header,
        payload: &'a [u8],
        whole: bool,
        at: u64,
    ) -> Result<Option<Block<'a>>, ()> {
        let Some((first, begun)) = self.begun else {
            if header.kind == kind::CONTINUATION {
                return Err(());
            }
            if !self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
            let bytes = fragment(&header, payload, whole).ok_or(())?;
            if header.has(flag::END_HEADERS) {
                return Ok(Some(Block {
                    header,
                    bytes,
                    whole,
                    at,
                }));
            }
            self.begun = Some((header, at));
            self.whole = true;
            self.extend(bytes, whole);
            return Ok(None);
        };
        if header.kind != kind::CONTINUATION || header.stream != first.stream {
            return Err(());
        }
        self.extend(payload, whole);
        if !header.has(flag::END_HEADERS) {
            return Ok(None);
        }
        self.begun = None;
        Ok(Some(Block {
            header: first,
            bytes: &self.bytes,
            whole: self.whole,
            at: begun,
        }))
    }

    fn extend(&mut self, bytes: &[u8], whole: bool) {
        if !self.whole {
            return;
        }
        let room = MAX_PAYLOAD.saturating_sub(self.bytes.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend_from_slice(kept);
        self.whole = whole && kept.len() == bytes.len();
    }
}

/// The fields in a first frame's payload, without what may stand around them.
/// (Of a frame that isn't whole the padding is in what is missing, or some of it.)
fn fragment<'a>(header: &Header, payload: &'a [u8], whole: bool) -> Option<&'a [u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if header.has(flag::PADDED) {
        let (&length, more) = rest.split_first()?;
        padding = usize::from(length);
        rest = more;
    }
    let skipped = match header.kind {
        // The promised stream's number.
        kind::PUSH_PROMISE => 4,
        // Dependency and weight.
        _ if header.has(flag::PRIORITY) => 5,
        _ => 0,
    };
    let missing = header.length as usize - payload.len().min(header.length as usize);
    let padding = if whole {
        padding
    } else {
        padding.saturating_sub(missing)
    };
    rest = rest.get(skipped..)?;
    rest.get(..rest.len().checked_sub(padding)?)
}
