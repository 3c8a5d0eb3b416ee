//! A histogram of durations with the kernel half's buckets.

use observer_common::histogram::{BUCKETS, Bucket, OFFSET, SCALE, bucket};

use observer_signals::Histogram;

/// Durations by bucket; takes memory for those between the shortest and the
/// longest only.
#[derive(Default)]
pub struct Durations {
    /// Nanoseconds; 64 bits last three days of 70,000 requests at once.
    sum: u128,
    zero: u64,
    /// Bucket that `counts` begins with.
    first: u32,
    counts: Vec<u64>,
}

impl Durations {
    /// The bucket of a duration in nanoseconds, 0 for what counts as none.
    pub fn bucket(ns: u64) -> u32 {
        match bucket(ns) {
            Bucket::Zero => 0,
            Bucket::At(index) => index + 1,
        }
    }

    /// Counts a duration; gives its [`Self::bucket`].
    pub fn add(&mut self, ns: u64) -> u32 {
        self.sum += u128::from(ns);
        match bucket(ns) {
            Bucket::Zero => {
                self.zero += 1;
                0
            }
            Bucket::At(index) => {
                let place = index.wrapping_sub(self.first) as usize;
                match self.counts.get_mut(place) {
                    Some(count) => *count += 1,
                    None => self.grow(index),
                }
                index + 1
            }
        }
    }

    /// How many are in a [`Self::bucket`].
    pub fn count_of(&self, bucket: u32) -> u64 {
        let Some(index) = bucket.checked_sub(1) else {
            return self.zero;
        };
        let place = index.wrapping_sub(self.first) as usize;
        self.counts.get(place).copied().unwrap_or(0)
    }

    /// Counts one in a bucket for which there was no room yet.
    fn grow(&mut self, index: u32) {
        debug_assert!((index as usize) < BUCKETS);
        if self.counts.is_empty() {
            self.first = index;
        }
        if let Some(place) = index.checked_sub(self.first) {
            self.counts.resize(place as usize, 0);
            self.counts.push(1);
        } else {
            let between = (self.first - index - 1) as usize;
            let new = std::iter::once(1).chain(std::iter::repeat_n(0, between));
            self.counts.splice(0..0, new);
            self.first = index;
        }
    }

    /// Adds all that others counted.
    pub fn merge(&mut self, others: &Self) {
        self.sum += others.sum;
        self.zero += others.zero;
        let counted = (others.first..).zip(&others.counts);
        for (index, count) in counted.filter(|(_, count)| **count != 0) {
            let place = index.wrapping_sub(self.first) as usize;
            match self.counts.get_mut(place) {
                Some(here) => *here += count,
                None => {
                    self.grow(index);
                    let place = index.wrapping_sub(self.first) as usize;
                    if let Some(here) = self.counts.get_mut(place) {
                        *here = *count;
                    }
                }
            }
        }
    }

    /// As a signal: seconds.
    pub fn to_histogram(&self) -> Histogram {
        Histogram {
            scale: SCALE as i32,
            zero_count: self.zero,
            // The first bucket's lower bound: everything below is "zero".
            zero_threshold: f64::from(OFFSET >> SCALE).exp2(),
            offset: OFFSET + self.first as i32,
            buckets: self.counts.clone(),
            sum: self.sum as f64 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against counting one by one, in whatever order durations come.
    #[test]
    fn counts_each_in_its_bucket() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut durations = Durations::default();
        let mut all = vec![0; BUCKETS + 1];
        let mut sum = 0.0;
        for _ in 0..10_000 {
            let ns = random.u64(..) >> random.u32(10..64);
            all[Durations::bucket(ns) as usize] += 1;
            assert_eq!(durations.add(ns), Durations::bucket(ns));
            sum += ns as f64 / 1e9;
        }
        for (bucket, count) in all.iter().enumerate() {
            assert_eq!(durations.count_of(bucket as u32), *count, "{bucket}");
        }
        let histogram = durations.to_histogram();
        assert_eq!(histogram.count(), 10_000);
        assert!((histogram.sum / sum - 1.0).abs() < 1e-9);
        let first = (histogram.offset - OFFSET) as usize;
        assert_eq!(histogram.buckets[0], all[first + 1]);
    }
}
