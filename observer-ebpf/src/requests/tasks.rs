//! In which task of its program a thread sends: what serves many requests at once on few
//! threads does so in tasks, one for each.

use super::{asyncio, go};

/// Its address; 0 = none that is known.
#[inline(always)]
pub fn task() -> u64 {
    match asyncio::task() {
        0 => go::goroutine(),
        task => task,
    }
}
