//! The base-2 exponential histogram that the kernel fills and OTLP stores.
//!
//! Layout as in the OpenTelemetry data model, "ExponentialHistogram": with
//! `base = 2^(2^-SCALE)` the bucket with absolute index `i` holds durations in
//! `(base^i, base^(i+1)]` **seconds**. The kernel measures nanoseconds, so the
//! boundaries are `10^9 · 2^(i/4)` ns; they are compared as integers and the
//! index is exact also at the boundaries.

/// Buckets per power of two are `2^SCALE`: 4, so a bucket is 19 % wide and its
/// geometric middle is off by at most 9.1 %.
pub const SCALE: u32 = 2;

/// The lowest bucket begins at `2^MIN_EXP` seconds (7.45 ns); what is not
/// greater is counted as zero.
pub const MIN_EXP: i32 = -27;

/// Powers of two that are told apart: up to `2^17` s (36 hours).
pub const OCTAVES: usize = 44;

/// Number of buckets.
pub const BUCKETS: usize = OCTAVES << SCALE;

/// Absolute OTLP index of bucket 0.
pub const OFFSET: i32 = MIN_EXP << SCALE;

/// Durations of at most this many nanoseconds are in the zero bucket:
/// `floor(2^MIN_EXP · 10^9)`.
pub const ZERO_MAX_NS: u64 = 7;

/// `2^(1/4)`, `2^(1/2)`, `2^(3/4)` in 62-bit fixed point, rounded down.
const ROOTS_Q62: [u64; 3] = [
    5_484_249_825_272_419_511,
    6_521_908_912_666_391_106,
    7_755_900_482_342_532_474,
];

/// The four boundaries inside a power of two of nanoseconds, normalized so
/// that bit 63 is set. They lie at `10^9 · 2^(k/4)` for k = 1, 2, 3, 4 and the
/// first of them is just above a power of two, because `log2(10^9)` = 29.897.
const BOUNDARIES: [u64; 4] = {
    const SECOND: u128 = 1_000_000_000;
    [
        ((SECOND * ROOTS_Q62[0] as u128) >> 29) as u64,
        ((SECOND * ROOTS_Q62[1] as u128) >> 29) as u64,
        ((SECOND * ROOTS_Q62[2] as u128) >> 29) as u64,
        (SECOND << 34) as u64,
    ]
};

/// Where a duration is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// At most [`ZERO_MAX_NS`].
    Zero,
    /// In the bucket with this index, below [`BUCKETS`].
    At(u32),
}

/// A de Bruijn sequence: the upper six bits of its product with 2^(n+1) - 1
/// are another number for each n below 64.
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// From such a number to its n.
static LOGARITHMS: [u8; 64] = {
    let mut logarithms = [0; 64];
    let mut n = 0;
    while n < 64 {
        let ones = u64::MAX >> (63 - n);
        logarithms[(ones.wrapping_mul(DE_BRUIJN) >> 58) as usize] = n as u8;
        n += 1;
    }
    logarithms
};

/// The place of the highest bit that is set. BPF has no count-leading-zeros,
/// and the verifier would follow every way through a search by halves: so
/// there is one way, to a table.
#[inline(always)]
fn log2(value: u64) -> u32 {
    let mut ones = value;
    ones |= ones >> 1;
    ones |= ones >> 2;
    ones |= ones >> 4;
    ones |= ones >> 8;
    ones |= ones >> 16;
    ones |= ones >> 32;
    u32::from(LOGARITHMS[(ones.wrapping_mul(DE_BRUIJN) >> 58) as usize])
}

/// The bucket of a duration in nanoseconds. Integers only, no loop and hardly
/// a branch: the same code runs in the kernel. What is longer than the last
/// bucket's upper bound (36 hours) is counted in the last bucket.
#[inline(always)]
pub fn bucket(ns: u64) -> Bucket {
    if ns <= ZERO_MAX_NS {
        return Bucket::Zero;
    }
    let exponent = log2(ns);
    let mantissa = ns << (63 - exponent);
    // Bit 63 is set in both, so the difference has it if the boundary is less.
    let above = |boundary: u64| (boundary.wrapping_sub(mantissa) >> 63) as u32;
    // 2^3 ns lies in bucket 0 (2^-27 s is 7.45 ns, its upper bound 8.86 ns).
    let index = (exponent << SCALE) - 12
        + above(BOUNDARIES[0])
        + above(BOUNDARIES[1])
        + above(BOUNDARIES[2])
        + above(BOUNDARIES[3]);
    Bucket::At(if index < BUCKETS as u32 {
        index
    } else {
        BUCKETS as u32 - 1
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// 256-bit product of two 128-bit numbers as (high, low).
    fn mul(a: u128, b: u128) -> (u128, u128) {
        let (a1, a0) = (a >> 64, a & u128::from(u64::MAX));
        let (b1, b0) = (b >> 64, b & u128::from(u64::MAX));
        let low = a0 * b0;
        let mid = a1 * b0 + (low >> 64);
        let mid2 = a0 * b1 + (mid & u128::from(u64::MAX));
        let high = a1 * b1 + (mid >> 64) + (mid2 >> 64);
        (high, (mid2 << 64) | (low & u128::from(u64::MAX)))
    }

    /// `value <= 10^9 * 2^(k/4)`, decided exactly: `value^4 <= 10^36 * 2^k`.
    fn not_above(value: u64, k: i32) -> bool {
        let square = u128::from(value) * u128::from(value);
        let fourth = mul(square, square);
        let nine = 10u128.pow(18);
        let bound = mul(nine, nine);
        let shift = |(high, low): (u128, u128), by: u32| -> Option<(u128, u128)> {
            match by {
                0 => Some((high, low)),
                1..128 => (high >> (128 - by) == 0)
                    .then(|| ((high << by) | (low >> (128 - by)), low << by)),
                _ => None,
            }
        };
        if k >= 0 {
            fourth <= shift(bound, k as u32).expect("10^36 * 2^68 fits 256 bits")
        } else {
            // A left side too large for 256 bits is larger than the bound.
            shift(fourth, k.unsigned_abs()).is_some_and(|f| f <= bound)
        }
    }

    /// Checks that both neighbours of every boundary fall into the bucket that
    /// exact arithmetic on fourth powers gives.
    #[test]
    fn boundaries_are_exact() {
        for index in 0..BUCKETS as i32 {
            let k = OFFSET + index + 1; // upper bound is 10^9 * 2^(k/4)
            let guess = (1e9 * (f64::from(k) / 4.0).exp2()) as u64;
            let last = (guess.saturating_sub(2000)..guess + 2000)
                .rev()
                .find(|v| not_above(*v, k))
                .expect("the boundary lies near the floating-point guess");
            assert_eq!(
                bucket(last),
                Bucket::At(index as u32),
                "{last} ns at boundary {k}"
            );
            let next = ((index + 1) as u32).min(BUCKETS as u32 - 1);
            assert_eq!(
                bucket(last + 1),
                Bucket::At(next),
                "{} ns above boundary {k}",
                last + 1
            );
        }
    }

    /// Checks the ends: zero bucket, one second, the clamp.
    #[test]
    fn ends() {
        assert_eq!(bucket(0), Bucket::Zero);
        assert_eq!(bucket(ZERO_MAX_NS), Bucket::Zero);
        assert!(!not_above(ZERO_MAX_NS + 1, OFFSET));
        assert!(not_above(ZERO_MAX_NS, OFFSET));
        assert_eq!(bucket(1_000_000_000), Bucket::At((-OFFSET - 1) as u32));
        assert_eq!(bucket(1_000_000_001), Bucket::At(-OFFSET as u32));
        assert_eq!(bucket(u64::MAX), Bucket::At(BUCKETS as u32 - 1));
    }

    /// Checks the place of the highest bit for every such place.
    #[test]
    fn highest_bit() {
        for n in 0..64 {
            for low in [0, 1, u64::MAX] {
                let value = (1 << n) | low & ((1 << n) - 1);
                assert_eq!(log2(value), n, "{value:x}");
            }
        }
    }

    /// Checks that the index never falls as durations grow.
    #[test]
    fn monotonic() {
        let mut previous = 0;
        let mut ns = ZERO_MAX_NS + 1;
        while ns < 1 << 50 {
            let Bucket::At(index) = bucket(ns) else {
                panic!("{ns} is not zero")
            };
            assert!(index >= previous);
            previous = index;
            ns += ns / 97 + 1;
        }
    }
}
