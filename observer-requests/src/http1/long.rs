//! Heads of requests that are longer than what is kept: of their lines those are kept
//! that matter.

use std::cell::Cell;

use super::head::MAX_HEAD;
use crate::trace_context;

/// Longest head that is read.
pub(super) const LONGEST: usize = 32 * 1024;

/// A head under way, as its lines that matter.
#[derive(Debug, Default)]
pub(super) struct Long {
    /// These lines, and what there is of the one under way, unless that doesn't matter.
    lines: Vec<u8>,
    /// Where that one begins.
    line: usize,
    /// Whether it doesn't.
    skips: bool,
    /// Bytes so far.
    length: usize,
    /// Whether it is one of [`LARGE`].
    large: bool,
}

/// Heads whose lines that matter may take more than [`MAX_HEAD`] at a time: 2 MiB.
const MOST_LARGE: usize = 64;

thread_local! {
    /// How many there are, of all connections that a thread looks after, which is one.
    static LARGE: Cell<usize> = const { Cell::new(0) };
}

impl Drop for Long {
    fn drop(&mut self) {
        if self.large {
            LARGE.set(LARGE.get().saturating_sub(1));
        }
    }
}

impl Long {
    /// Takes bytes of the head; how many, if it ends among them.
    pub fn take(&mut self, data: &[u8]) -> Option<usize> {
        let mut taken = 0;
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            taken += part.len();
            let over = part.ends_with(b"\n");
            if !self.skips {
                self.lines.extend_from_slice(part);
            }
            let line = self.lines.get(self.line..).unwrap_or_default();
            if !self.skips && over && matches!(line, b"\r\n" | b"\n") {
                return Some(taken);
            }
            // The first one is the request's own.
            if self.line > 0 && !matters(line) {
                self.lines.truncate(self.line);
                self.skips = true;
            }
            if over {
                self.line = self.lines.len();
                self.skips = false;
            }
        }
        self.length = self.length.saturating_add(taken);
        if self.lines.len() > MAX_HEAD && !self.large && LARGE.get() < MOST_LARGE {
            LARGE.set(LARGE.get() + 1);
            self.large = true;
        }
        None
    }

    /// Whether there is too much of it.
    pub fn is_too_long(&self) -> bool {
        self.length >= LONGEST || (self.lines.len() > MAX_HEAD && !self.large)
    }

    /// Its lines that matter.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// Whether a line, or what there is of it, may matter.
fn matters(line: &[u8]) -> bool {
    const LONGEST_NAME: usize = 17;
    let Some(end) = line.iter().position(|byte| *byte == b':') else {
        return line.len() <= LONGEST_NAME;
    };
    let name = line.get(..end).unwrap_or_default();
    let known = [
        &b"host"[..],
        b"user-agent",
        b"content-length",
        b"transfer-encoding",
    ];
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
        || trace_context::Name::of(name).is_some()
}
