//! Compiles a file's unwinding information into the compact table that the
//! kernel half walks stacks with ([`observer_common::unwind`] has the layout).
//!
//! `sections` finds and reads `.eh_frame`, `functions` lists what it describes,
//! `cfi` reads call frame information, `rule` turns a row into a rule, `roots` knows
//! where stacks end although nobody says so, `code` follows functions that nothing
//! describes, `encode` lays rows out as words.
//!
//! Files are hostile until shown otherwise: everything is read with bounded
//! sizes and never mapped (a mapped file that is truncated kills its reader),
//! and what can't be understood costs its own rows and no more.
//!
//! Go programs keep frame pointers. Those without `.debug_frame` (linked with
//! `-s` or `-w`) get no table, so they are walked by frame pointers.

#![warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::string_slice))]

mod arch;
mod cfi;
mod code;
mod encode;
mod entries;
mod functions;
mod inputs;
mod roots;
mod rule;
mod sections;
mod symbols;
#[cfg(any(test, feature = "testing"))]
#[expect(
    clippy::indexing_slicing,
    reason = "what tests are made of fails by panics"
)]
pub mod testing;

#[cfg(test)]
mod replay_tests;

use std::fs::File;

use thiserror::Error;

pub use code::instruction;
pub use inputs::Inputs;

use cfi::Reader;
use code::Code;
use encode::Encoder;
use functions::{Functions, Origin};
use inputs::Recorder;
use sections::{Image, Source};

/// Longest section read, and longest after decompression. The `.eh_frame` of
/// the largest browsers has some ten MiB.
pub const MAX_SECTION_BYTES: u64 = 64 << 20;
/// Most segments of a file.
pub const MAX_SEGMENTS: usize = 1024;
/// Most sections of a file.
pub const MAX_SECTIONS: usize = 65_535;
/// Most rows of a table: 64 MiB of them.
pub const MAX_ROWS: usize = 16 << 20;
/// Most functions of a file.
pub const MAX_FUNCTIONS: usize = 4 << 20;
/// Most common information entries of a section; linkers merge them to a dozen
/// in `.eh_frame`, in `.debug_frame` each compilation unit has one.
pub const MAX_CIES: usize = 1 << 17;
/// Longest common information entry. Its instructions run anew for each
/// function; real ones have some 20 bytes.
pub const MAX_CIE_BYTES: usize = 256;

/// Most bytes of entries whose instructions are run, the common ones' anew for
/// each function: some seconds' work.
pub const MAX_EVALUATED_BYTES: u64 = 128 << 20;

/// A file's unwinding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Address in the file that the table's addresses are relative to: the
    /// lowest executable one, rounded down to a page of
    /// [`observer_common::unwind::PAGE_SHIFT`] bits.
    pub base: u64,
    /// The table; a multiple of [`observer_common::unwind::CHUNK_WORDS`].
    pub words: Vec<u32>,
    /// How many rows it has.
    pub rows: usize,
    /// How many different rules.
    pub rules: usize,
}

/// Why a file has no table.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The file could not be read.
    #[error("read {what}: {source}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// Not a 64-bit little-endian ELF program or library.
    #[error("not a 64-bit ELF program or library: {0}")]
    Format(&'static str),
    /// A machine whose registers aren't known.
    #[error("the ELF file is for another machine (e_machine {0})")]
    Machine(u16),
    /// Larger than is read.
    #[error("{what} has {size}, of which {limit} are read at most")]
    Size {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The section can't be decompressed.
    #[error("decompress {0}")]
    Compression(&'static str),
}

/// Builds the table of an ELF file; `None` if the file has no unwinding
/// information and none can be derived from its code.
///
/// # Errors
///
/// If the file can't be read, isn't an ELF program or library of a known
/// machine, or is larger than the limits above.
pub fn build(file: &File) -> Result<Option<Table>, BuildError> {
    build_from(file)
}

/// As [`build`], with what the table was made of, by which another file is known to have
/// the same; `None` where that is too much to remember.
///
/// # Errors
///
/// As [`build`].
pub fn build_recorded(file: &File) -> Result<(Option<Table>, Option<Inputs>), BuildError> {
    let recorder = Recorder::new(file);
    let table = build_from(&recorder)?;
    Ok((table, recorder.inputs()))
}

/// Builds the table of an ELF image in memory, as is the vDSO.
///
/// # Errors
///
/// As [`build`].
pub fn build_bytes(data: &[u8]) -> Result<Option<Table>, BuildError> {
    build_from(data)
}

fn build_from<S: Source + ?Sized>(source: &S) -> Result<Option<Table>, BuildError> {
    let image = Image::open(source)?;
    let frames = image.frames()?;
    let Some(base) = image.base() else {
        return Ok(None);
    };
    let mut functions = Functions::new(base, &image.code);
    let mut readers: Vec<_> = frames
        .iter()
        .map(|section| Reader::new(section, image.arch))
        .collect();
    for (number, (section, reader)) in frames.iter().zip(&readers).enumerate() {
        functions.add_section(number, section, reader);
    }
    let described = !functions.is_empty();
    let gaps = functions.gaps(code::MIN_GAP_BYTES);
    roots::add(&image, &mut functions);
    let code = Code::add(&image, gaps, &mut functions);
    if !described && code.is_empty() {
        return Ok(None);
    }
    let list = functions.sorted();
    let end = list.last().map_or(0, |last| last.end);
    let mut encoder = Encoder::new(end);
    for (number, function) in list.iter().enumerate() {
        let next = list.get(number + 1).map(|next| next.start);
        let end = next.map_or(function.end, |next| next.min(function.end));
        match function.origin {
            Origin::Known(known) => encoder.push(function.start, known.rule(&image.arch)),
            Origin::Code(number) => {
                for (at, rule) in code.rows(number) {
                    let at = function.start.saturating_add(*at);
                    if at < end {
                        encoder.push(at, *rule);
                    }
                }
            }
            Origin::Section { number, entry } => {
                encoder.push(function.start, rule::UNSUPPORTED);
                if let Some(reader) = readers.get_mut(usize::from(number)) {
                    reader.rows(entry as usize, base, function.start..end, |at, rule| {
                        encoder.push(at, rule);
                    });
                }
            }
        }
        if next.is_none_or(|next| !functions::is_padding(end, next)) {
            encoder.push(end, rule::UNKNOWN);
        }
        within("the table's rows", encoder.rows() as u64, MAX_ROWS as u64)?;
        let evaluated = readers.iter().map(Reader::evaluated).sum();
        within(
            "what describes the functions",
            evaluated,
            MAX_EVALUATED_BYTES,
        )?;
    }
    Ok(Some(encoder.finish(base)))
}

fn within(what: &'static str, size: u64, limit: u64) -> Result<(), BuildError> {
    if size > limit {
        return Err(BuildError::Size { what, size, limit });
    }
    Ok(())
}
