//! Recorded conversations, played to a parser: for tests and fuzz targets.
//!
//! A recording is a list of pieces, each with a byte of [`flags`](Piece), its
//! length in two bytes (big endian), and its bytes.

use crate::protocol::{Chunk, Ended, Event, Events, MAX_OPEN, Parser};

/// What one call sent or received.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// 1: from the side that answers. 2: pieces before it were lost.
    /// 4 and 8: which part of it was captured, see [`Piece::captured`]. 16: and the
    /// last bytes.
    pub flags: u8,
    /// All of it.
    pub bytes: &'a [u8],
}

impl Piece<'_> {
    /// Bytes that were captured.
    pub fn captured(&self) -> usize {
        let most = match (self.flags >> 2) & 3 {
            0 => usize::MAX,
            1 => 512,
            2 => 16,
            _ => 0,
        };
        most.min(self.bytes.len())
    }

    /// The last bytes, if they were captured and aren't among the first.
    pub fn tail(&self) -> &[u8] {
        const TAIL: usize = 256;
        let from = self.captured().max(self.bytes.len().saturating_sub(TAIL));
        if self.flags & 16 == 0 {
            return &[];
        }
        self.bytes.get(from..).unwrap_or_default()
    }
}

/// The pieces of a recording; of anything, for that matter.
pub fn pieces(recording: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = recording;
    while let [flags, high, low, bytes @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
        let (bytes, behind) = bytes.split_at(length);
        pieces.push(Piece {
            flags: *flags,
            bytes,
        });
        rest = behind;
    }
    pieces
}

/// What came of a conversation.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Ends, in order.
    pub ended: Vec<Ended>,
    /// See [`Events`].
    pub failed: u64,
    /// See [`Events`].
    pub abandoned: u64,
    /// See [`Events`].
    pub finished: bool,
}

/// Plays a conversation and closes it. Asserts what holds whatever was said:
/// each exchange begins once and ends at most once, later; those that don't end
/// are counted; they are not too many.
pub fn play(parser: &mut dyn Parser, pieces: &[Piece<'_>]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open = std::collections::HashMap::new();
    let mut begun = 0u64;
    let mut events = Events::default();
    for index in 0..=pieces.len() {
        let now = 1_000 + 1_000 * index as u64;
        match pieces.get(index) {
            Some(piece) => {
                if piece.flags & 2 != 0 {
                    parser.missed(&mut events);
                }
                let chunk = Chunk {
                    data: &piece.bytes[..piece.captured()],
                    length: piece.bytes.len() as u64,
                    tail: piece.tail(),
                    began: now,
                    ended: now + 500,
                };
                if piece.flags & 1 == 0 {
                    parser.requested(&chunk, now, &mut events);
                } else {
                    parser.answered(&chunk, &mut events);
                }
            }
            None => parser.closed(now, &mut events),
        }
        for event in events.events.drain(..) {
            match event {
                Event::Begun { exchange, at } => {
                    assert_eq!(u64::from(exchange), begun, "in order");
                    assert!(at <= now);
                    begun += 1;
                    assert!(open.insert(exchange, at).is_none());
                }
                Event::Context { exchange, .. } => assert!(open.contains_key(&exchange)),
                Event::Ended(ended) => {
                    let at = open.remove(&ended.exchange).expect("it began");
                    assert!(at <= ended.at && ended.at <= now + 500, "{ended:?}");
                    assert!(ended.answered.is_none_or(|answered| at <= answered));
                    assert!(ended.answered.is_none_or(|answered| answered <= ended.at));
                    outcome.ended.push(ended);
                }
            }
        }
        assert!(open.len() <= MAX_OPEN + 1 + events.abandoned as usize);
        outcome.failed += std::mem::take(&mut events.failed);
        outcome.abandoned += std::mem::take(&mut events.abandoned);
        outcome.finished |= events.finished;
        if outcome.finished {
            return outcome;
        }
    }
    assert!(open.len() as u64 <= outcome.abandoned, "{open:?} are lost");
    outcome
}
