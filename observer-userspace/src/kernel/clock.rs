//! The clocks by which kernel time becomes wall time, read in one place.

use nix::time::{ClockId, clock_gettime};

use observer_signals::WallClock;

/// Measures how far the wall clock is ahead of CLOCK_MONOTONIC
/// (`bpf_ktime_get_ns`). Measure again now and then: the wall clock is slewed and
/// stepped, the monotonic one isn't.
#[must_use]
pub fn measure() -> WallClock {
    // Between two readings of one clock lies a reading of the other; of a
    // few tries the one with the shortest gap is the best.
    let mut best = (i64::MAX, 0);
    for _ in 0..5 {
        let before = read(ClockId::CLOCK_MONOTONIC);
        let wall = read(ClockId::CLOCK_REALTIME);
        let after = read(ClockId::CLOCK_MONOTONIC);
        let gap = after - before;
        if gap < best.0 {
            best = (gap, wall - before - gap / 2);
        }
    }
    WallClock::ahead_by(best.1)
}

/// CLOCK_MONOTONIC in nanoseconds.
#[must_use]
pub fn monotonic() -> u64 {
    read(ClockId::CLOCK_MONOTONIC).unsigned_abs()
}

fn read(clock: ClockId) -> i64 {
    // Both clocks exist on every Linux.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}
