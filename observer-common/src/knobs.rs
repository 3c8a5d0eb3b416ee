//! What the daemon may turn while the programs run, to keep within its budget.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// The knobs. Zeroes, as at the start: everything is done.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Knobs {
    /// Shorter times off CPU aren't profiled, in nanoseconds. Only larger
    /// values than [`crate::config::Config::off_cpu_threshold`] count.
    pub off_cpu_threshold: u64,
    /// Of 2ⁿ exchanges of all connections one is followed; from
    /// [`Knobs::NO_REQUESTS`] on none is. The others are counted
    /// ([`crate::tally::Kind::RequestUnfollowed`]).
    pub request_share: u32,
    /// Nothing.
    pub padding: u32,
}

impl Knobs {
    /// [`Self::request_share`] by which no request is followed.
    pub const NO_REQUESTS: u32 = 32;
}
