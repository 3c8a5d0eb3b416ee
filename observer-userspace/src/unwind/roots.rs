//! Where stacks end although no unwinding information says so.

use super::functions::{Functions, Origin};
use super::sections::{Image, Source};

/// Bytes of code at the entry point that are taken for `_start`, which has some
/// 40: what it calls doesn't return.
const START_BYTES: u64 = 0x40;

/// Adds the functions that end stacks.
pub fn add<S: Source + ?Sized>(image: &Image<S>, functions: &mut Functions) {
    if !functions.contain(image.entry) {
        let end = image.entry.saturating_add(START_BYTES);
        functions.add(image.entry..end, Origin::Root);
    }
}
