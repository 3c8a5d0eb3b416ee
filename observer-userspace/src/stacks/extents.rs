//! Which runs of entries of a shared array are free.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long freed entries rest before they are used again: programs that still
/// read them take microseconds.
const REST: Duration = Duration::from_secs(1);

/// The free runs of an array.
#[derive(Debug)]
pub struct Extents {
    /// First entry → how many; never adjacent.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, u32, u32)>,
}

impl Extents {
    /// An array of `length` free entries.
    pub fn new(length: u32) -> Self {
        Self {
            free: BTreeMap::from([(0, length)]),
            resting: VecDeque::new(),
        }
    }

    /// Takes a run of `count` entries; `None` when there is none.
    pub fn take(&mut self, count: u32, now: Instant) -> Option<u32> {
        while let Some((since, first, count)) = self.resting.front().copied() {
            if now.duration_since(since) < REST {
                break;
            }
            self.resting.pop_front();
            self.give_back(first, count);
        }
        let (&first, &length) = self.free.iter().find(|(_, length)| **length >= count)?;
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        Some(first)
    }

    /// Frees a run; it rests first.
    pub fn put(&mut self, first: u32, count: u32, now: Instant) {
        if count > 0 {
            self.resting.push_back((now, first, count));
        }
    }

    fn give_back(&mut self, mut first: u32, mut count: u32) {
        if let Some((&before, &length)) = self.free.range(..first).next_back()
            && before + length == first
        {
            self.free.remove(&before);
            first = before;
            count += length;
        }
        if let Some(length) = self.free.remove(&(first + count)) {
            count += length;
        }
        self.free.insert(first, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that runs never overlap, that freed ones rest, and that in the
    /// end everything is one run again.
    #[test]
    fn runs_are_disjoint() {
        let mut extents = Extents::new(1000);
        let mut random = fastrand::Rng::with_seed(3);
        let mut now = Instant::now();
        let mut taken: Vec<(u32, u32)> = Vec::new();
        for _ in 0..5000 {
            now += Duration::from_millis(10);
            if random.bool() {
                let count = random.u32(1..40);
                if let Some(first) = extents.take(count, now) {
                    let apart = |(f, c): &(u32, u32)| first + count <= *f || f + c <= first;
                    assert!(taken.iter().all(apart) && first + count <= 1000);
                    taken.push((first, count));
                }
            } else if !taken.is_empty() {
                let (first, count) = taken.swap_remove(random.usize(..taken.len()));
                extents.put(first, count, now);
                let resting = extents.resting.iter().any(|r| (r.1, r.2) == (first, count));
                assert!(resting);
            }
        }
        for (first, count) in taken {
            extents.put(first, count, now);
        }
        assert_eq!(extents.take(1000, now + REST), Some(0));
    }
}
