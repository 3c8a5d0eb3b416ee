//! What a table was made of: every piece of the file that was read for it, in order.
//!
//! A table is a function of what was read and of nothing else. So a file of which the
//! same pieces are the same has the same table, whatever else it is or claims to be, and
//! one look at the pieces tells without building anything.

use std::cell::RefCell;
use std::fs::File;
use std::io;

use sha2::{Digest as _, Sha256};

use super::sections::Source;

/// Most pieces that are remembered (16 bytes each); code that nothing describes is read
/// in many.
const MAX_PIECES: usize = 64 * 1024;

/// Most bytes that are looked at at once.
const AT_ONCE: usize = 1 << 20;

/// The pieces of a file that a table depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    pieces: Vec<(u64, usize)>,
    /// SHA-256 of them: who makes a file to match another's would have to find a second
    /// preimage.
    digest: [u8; 32],
}

impl Inputs {
    /// Whether `file` has the same pieces, so that it has the same table.
    #[must_use]
    pub fn are_those_of(&self, file: &File) -> bool {
        self.are_in(file)
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, length)| *length as u64).sum()
    }

    fn are_in<S: Source + ?Sized>(&self, source: &S) -> bool {
        let mut sum = Sha256::new();
        for (offset, length) in &self.pieces {
            add(&mut sum, source, *offset, *length);
        }
        sum.finalize().as_slice() == self.digest
    }
}

/// Adds a piece as it is read in parts, so that it needs no memory; then whether all of
/// it could be read.
fn add<S: Source + ?Sized>(sum: &mut Sha256, source: &S, offset: u64, length: usize) {
    begin(sum, offset, length);
    let mut done = 0;
    while done < length {
        let part = (length - done).min(AT_ONCE);
        let Ok(bytes) = source.read(offset.saturating_add(done as u64), part) else {
            break;
        };
        sum.update(&bytes);
        done += part;
    }
    end(sum, done == length);
}

fn begin(sum: &mut Sha256, offset: u64, length: usize) {
    sum.update(offset.to_le_bytes());
    sum.update((length as u64).to_le_bytes());
}

fn end(sum: &mut Sha256, complete: bool) {
    sum.update([u8::from(complete)]);
}

/// Reads from a source and remembers what.
pub struct Recorder<'a, S: ?Sized> {
    source: &'a S,
    read: RefCell<Read>,
}

#[derive(Default)]
struct Read {
    pieces: Vec<(u64, usize)>,
    sum: Sha256,
    /// More than is remembered, or a piece that isn't there.
    unclear: bool,
}

impl<'a, S: Source + ?Sized> Recorder<'a, S> {
    /// Nothing was read yet.
    pub fn new(source: &'a S) -> Self {
        Self {
            source,
            read: RefCell::default(),
        }
    }

    /// What was read; `None` if it is too much to remember, or something couldn't be
    /// read.
    pub fn inputs(self) -> Option<Inputs> {
        let read = self.read.into_inner();
        (!read.unclear).then(|| Inputs {
            pieces: read.pieces,
            digest: read.sum.finalize().into(),
        })
    }
}

impl<S: Source + ?Sized> Source for Recorder<'_, S> {
    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.source.read(offset, length);
        let mut read = self.read.borrow_mut();
        let Read {
            pieces,
            sum,
            unclear,
        } = &mut *read;
        match &bytes {
            Ok(bytes) if pieces.len() < MAX_PIECES => {
                pieces.push((offset, length));
                begin(sum, offset, length);
                sum.update(bytes);
                end(sum, true);
            }
            _ => *unclear = true,
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Range;

    use super::super::build_recorded;
    use super::super::sections::Image;
    use super::*;

    /// Where a section lies.
    fn place(bytes: &[u8], name: &str) -> Range<usize> {
        let image = Image::open(bytes).expect("an ELF file");
        let section = image.section(name).expect("a section");
        let start = section.sh_offset.get(object::LittleEndian) as usize;
        start..start + section.sh_size.get(object::LittleEndian) as usize
    }

    /// Checks that a copy of a program has the same inputs, that one with other unwinding
    /// information, other headers or an end that is missing hasn't, and that what no table
    /// is made of may differ.
    #[test]
    fn what_a_table_is_made_of() {
        let program = std::env::current_exe().expect("our own path");
        let (table, inputs) = build_recorded(&File::open(&program).expect("open")).expect("built");
        let inputs = inputs.expect("few pieces");
        let bytes = fs::read(&program).expect("read");
        assert!(inputs.are_in(&bytes[..]));
        assert!(inputs.bytes() < 2 * bytes.len() as u64);
        let frames = place(&bytes, ".eh_frame");
        let places = [
            (24, false),
            (frames.start + frames.len() / 2, false),
            (place(&bytes, ".comment").start, true),
        ];
        for (at, same) in places {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(inputs.are_in(&changed[..]), same, "{at:#x}");
            if same {
                let rebuilt = crate::build_bytes(&changed).expect("built");
                assert_eq!(rebuilt, table);
            }
        }
        assert!(!inputs.are_in(&bytes[..frames.end - 1]));
    }
}
