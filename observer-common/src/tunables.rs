//! What the daemon may change while the programs run, to keep within its budget.

use crate::plain::{FromBytes, Immutable, IntoBytes};

/// Their values. Zeroes, as at the start: everything is done.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
pub struct Tunables {
    /// Shorter times off CPU aren't profiled, in nanoseconds. Only larger
    /// values than [`crate::config::Config::off_cpu_threshold`] count.
    pub off_cpu_threshold: u64,
    /// Of 2ⁿ exchanges of all connections one is followed; from
    /// [`Tunables::NO_REQUESTS`] on none is. The others are counted
    /// ([`crate::tally::Kind::RequestUnfollowed`]).
    pub request_share: u32,
    /// Nothing.
    pub padding: u32,
}

impl Tunables {
    /// [`Self::request_share`] by which no request is followed.
    pub const NO_REQUESTS: u32 = 32;
}
