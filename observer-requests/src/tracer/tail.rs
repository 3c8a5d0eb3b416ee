//! Slow requests, whose traces are kept whatever was decided at their
//! beginning.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::{Call, Finished};

/// Buckets by power of two of a duration.
const FINE: u32 = 3;
/// The first bucket's upper bound is 2^this nanoseconds.
const LOWEST: u32 = 10;
/// Buckets: up to 2^37 ns, two minutes.
const BUCKETS: usize = (27 << FINE) + 1;
/// So many must have been seen before one can be slow.
const ENOUGH: u32 = 100;
/// At so many, all counts are halved: what is slow changes with time.
const MANY: u32 = 4096;
/// Kinds of requests that are told apart.
const MAX_KINDS: usize = 4096;

/// Durations of one kind of requests.
struct Durations {
    counts: Box<[u16; BUCKETS]>,
    seen: u32,
    /// Of those, how many were called slow.
    slow: u32,
    /// Bucket that the slowest hundredth begins in, where in it (ns), and at how
    /// many seen this is to be found anew.
    border: (usize, u64),
    renew: u32,
}

/// The slowest hundredth of each kind of requests: of a workload, a role, and a
/// route or what stands for one.
#[derive(Default)]
pub struct Slowest {
    kinds: FxHashMap<u64, Durations>,
}

/// Bucket of a duration: eight by power of two, linear within it, so that no
/// logarithm is needed.
fn bucket(duration: u64) -> usize {
    let Some(power) = duration.max(1).ilog2().checked_sub(LOWEST) else {
        return 0;
    };
    let fine = (duration >> (power + LOWEST - FINE)) as usize & ((1 << FINE) - 1);
    (((power as usize) << FINE) + fine + 1).min(BUCKETS - 1)
}

/// Lower bound of a bucket.
fn lower(bucket: usize) -> u64 {
    let Some(bucket) = bucket.checked_sub(1) else {
        return 0;
    };
    let (power, fine) = (bucket >> FINE, bucket as u64 & ((1 << FINE) - 1));
    ((1 << FINE) + fine) << (power as u32 + LOWEST - FINE)
}

impl Durations {
    fn new() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            seen: 0,
            slow: 0,
            border: (BUCKETS, 0),
            renew: ENOUGH,
        }
    }

    /// Counts a duration; whether it is slow, compared with those before.
    fn add(&mut self, duration: u64) -> bool {
        let bucket = bucket(duration);
        let (border, within) = self.border;
        // Where many take nearly the same time, the border is no sharp one:
        // don't keep more than some of those right at it.
        let slow = bucket > border
            || (bucket == border && duration >= within && self.slow * 64 <= self.seen);
        self.slow += u32::from(slow);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.seen += 1;
        if self.seen >= MANY {
            for count in self.counts.iter_mut() {
                *count /= 2;
            }
            self.seen = self.counts.iter().map(|count| u32::from(*count)).sum();
            self.slow /= 2;
            self.renew = 0;
        }
        if self.seen >= self.renew {
            self.border = self.find();
            self.renew = self.seen + self.seen / 8;
        }
        slow
    }

    fn find(&self) -> (usize, u64) {
        let hundredth = self.seen.div_ceil(100);
        let mut above = 0;
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            let count = u32::from(*count);
            if above + count >= hundredth {
                let (from, to) = (lower(bucket), lower(bucket + 1));
                let below = u64::from(above + count - hundredth);
                return (bucket, from + (to - from) * below / u64::from(count.max(1)));
            }
            above += count;
        }
        (BUCKETS, 0)
    }
}

impl Slowest {
    /// Counts a request that is over; whether it is one of the slowest
    /// hundredth of its kind.
    pub fn add(&mut self, finished: &Finished) -> bool {
        let mut hasher = FxHasher::default();
        (finished.workload, finished.role).hash(&mut hasher);
        match (&finished.route, &finished.call) {
            (Some(route), _) => route.hash(&mut hasher),
            (None, Call::Http(http)) => http.method.hash(&mut hasher),
            (None, Call::Rpc(rpc)) => (&rpc.service, &rpc.method).hash(&mut hasher),
            (None, Call::Db(db)) => (db.system, &db.summary).hash(&mut hasher),
            (None, Call::Dns(dns)) => dns.question.hash(&mut hasher),
        }
        let mut kind = hasher.finish();
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            // All others together.
            kind = 0;
        }
        let durations = self.kinds.entry(kind).or_insert_with(Durations::new);
        durations.add(finished.duration())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each duration is in its bucket, and that these are an eighth
    /// of a power of two wide.
    #[test]
    fn buckets_are_narrow() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..100_000 {
            let duration = random.u64(..) >> random.u32(27..64);
            let bucket = bucket(duration);
            assert!(lower(bucket) <= duration, "{duration}");
            assert!(duration < lower(bucket + 1), "{duration}");
        }
        for bucket in 1..BUCKETS - 1 {
            let (from, to) = (lower(bucket), lower(bucket + 1));
            assert!((to - from) * 8 <= from && (to - from) * 16 >= from);
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    /// Checks that about the slowest hundredth is found of durations that are
    /// spread, that are alike, and that become longer; an outlier always.
    #[test]
    fn finds_the_slowest() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut spread = |n: u32| -> Vec<u64> {
            let one = |_| (100_000.0 / random.f64().max(1e-6)) as u64;
            (0..n).map(one).collect()
        };
        let mut durations = Durations::new();
        let some = spread(20_000);
        let slow: Vec<u64> = some
            .iter()
            .copied()
            .filter(|duration| durations.add(*duration))
            .collect();
        let mut sorted = some.clone();
        sorted.sort_unstable();
        assert!((150..=400).contains(&slow.len()), "{}", slow.len());
        // None of those that aren't near the border.
        assert!(slow.iter().all(|slow| *slow > sorted[19_300]));
        let top = |slow: &[u64], border: u64| slow.iter().filter(|slow| **slow > border).count();
        assert!(top(&slow, sorted[19_900]) >= 90);

        let mut durations = Durations::new();
        let alike = (0..20_000).filter(|_| durations.add(20_000_000)).count();
        assert!(alike <= 20_000 / 50, "{alike}");
        assert!(durations.add(30_000_000));
        let longer = (0..50_000).filter(|_| durations.add(60_000_000)).count();
        assert!(longer < 5_000, "{longer}");
        assert!(durations.add(100_000_000));

        let mut durations = Durations::new();
        assert!((0..99).all(|i| !durations.add(1 << (i % 30))));
    }
}
