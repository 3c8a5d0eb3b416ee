//! Feeds a parser with anything, and checks what holds for its events whatever
//! came.

use std::collections::BTreeSet;

use crate::protocol::{Chunk, Event, Events, Exchange, Parser};

/// Checks events as they come.
#[derive(Default)]
pub struct Checked {
    begun: BTreeSet<Exchange>,
    told: BTreeSet<Exchange>,
    ended: u64,
    abandoned: u64,
    all: u64,
}

impl Checked {
    /// Takes what is in `out`.
    ///
    /// # Panics
    ///
    /// When an exchange ends that didn't begin, or anything happens twice.
    pub fn take(&mut self, out: &mut Events, now: u64) {
        for event in out.events.drain(..) {
            match event {
                Event::Begun { exchange, at } => {
                    assert_eq!(u64::from(exchange), self.all, "counted from 0");
                    assert!(at <= now);
                    self.all += 1;
                    self.begun.insert(exchange);
                }
                Event::Context { exchange, .. } => {
                    assert!(self.begun.contains(&exchange), "open");
                    assert!(self.told.insert(exchange), "once");
                }
                Event::Ended(ended) => {
                    assert!(self.begun.remove(&ended.exchange), "open");
                    assert!(ended.at <= now);
                    assert!(ended.answered.is_none_or(|at| at <= ended.at));
                    self.ended += 1;
                }
            }
        }
        self.abandoned += std::mem::take(&mut out.abandoned);
    }

    /// Checks that whatever began has ended, or was counted.
    ///
    /// # Panics
    ///
    /// When it wasn't.
    pub fn finish(&self) {
        assert!(self.all - self.ended <= self.abandoned);
    }
}

/// Bytes of a chunk's end that are captured.
const LAST: usize = 256;

/// Reads `input` as chunks and feeds them to `parser`. Each has a byte that says
/// what it is (0: from the side that asks, 1: from the side that answers, 2: some
/// were lost; with 0x80 bytes are hidden behind it, or with 0x40 as well before its
/// last ones), two bytes of its length,
/// one of what is hidden (a power of two and a half), and its bytes.
///
/// # Panics
///
/// When what came of it can't be.
pub fn feed(parser: &mut dyn Parser, mut input: &[u8]) {
    let mut out = Events::default();
    let mut checked = Checked::default();
    let mut now = 0;
    while let [what, high, low, hidden, rest @ ..] = input {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (data, rest) = rest.split_at(length);
        input = rest;
        let hidden = match what & 0x80 {
            0 => 0,
            _ => u64::from(hidden & 15) << (hidden >> 4),
        };
        let length = data.len() as u64 + hidden;
        let (data, tail) = match what & 0xc0 {
            0xc0 => data.split_at(data.len() - data.len().min(LAST)),
            _ => (data, data.get(data.len()..).unwrap_or_default()),
        };
        let chunk = Chunk {
            data,
            length,
            began: now + 1,
            ended: now + 2,
            tail,
        };
        now += 2;
        match what & 3 {
            0 => parser.requested(&chunk, now, &mut out),
            1 => parser.answered(&chunk, &mut out),
            2 => parser.missed(&mut out),
            _ => {}
        }
        checked.take(&mut out, now);
        if out.finished {
            break;
        }
    }
    parser.closed(now + 1, &mut out);
    checked.take(&mut out, now + 1);
    checked.finish();
}

/// The input that [`feed`] reads this chunk from, with `hidden` as there.
#[cfg(test)]
pub fn chunk(what: u8, data: &[u8], hidden: u8) -> Vec<u8> {
    let mut input = vec![what];
    input.extend((data.len() as u16).to_be_bytes());
    input.push(hidden);
    input.extend(data);
    input
}

/// What fuzzing found worth keeping for a target.
#[cfg(test)]
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = std::fs::read_dir(folder.join(target)).expect("a corpus");
    let inputs: Vec<_> = files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("read"))
        .collect();
    assert!(!inputs.is_empty());
    inputs
}
