//! Kernel time to wall time.

use super::UnixNanos;

/// The wall clock as kernel timestamps know it: by how much it is ahead of
/// CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset: i64,
}

impl WallClock {
    /// A wall clock that is `offset` nanoseconds ahead of CLOCK_MONOTONIC.
    #[must_use]
    pub fn ahead_by(offset: i64) -> Self {
        Self { offset }
    }

    /// Wall time of a kernel timestamp.
    #[must_use]
    pub fn wall(self, ktime: u64) -> UnixNanos {
        ktime.saturating_add_signed(self.offset)
    }
}
