//! Which ranges of entries of a shared array are free.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long freed entries rest before they are used again: programs that still
/// read them take microseconds.
const REST: Duration = Duration::from_secs(1);

/// The free ranges of an array.
#[derive(Debug)]
pub(super) struct RangeAllocator {
    /// First entry → how many; never adjacent.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, u32, u32)>,
}

impl RangeAllocator {
    /// An array of `length` free entries.
    pub(super) fn new(length: u32) -> Self {
        Self {
            free: BTreeMap::from([(0, length)]),
            resting: VecDeque::new(),
        }
    }

    /// Takes a range of `count` entries; `None` when there is none.
    pub(super) fn allocate(&mut self, count: u32, now: Instant) -> Option<u32> {
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

    /// Frees a range; it rests first.
    pub(super) fn free(&mut self, first: u32, count: u32, now: Instant) {
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

    /// Checks that ranges never overlap, that freed ones rest, and that in the
    /// end everything is one range again.
    #[test]
    fn ranges_are_disjoint() {
        let mut ranges = RangeAllocator::new(1000);
        let mut random = fastrand::Rng::with_seed(3);
        let mut now = Instant::now();
        let mut taken: Vec<(u32, u32)> = Vec::new();
        for _ in 0..5000 {
            now += Duration::from_millis(10);
            if random.bool() {
                let count = random.u32(1..40);
                if let Some(first) = ranges.allocate(count, now) {
                    let apart = |(f, c): &(u32, u32)| first + count <= *f || f + c <= first;
                    assert!(taken.iter().all(apart) && first + count <= 1000);
                    taken.push((first, count));
                }
            } else if !taken.is_empty() {
                let (first, count) = taken.swap_remove(random.usize(..taken.len()));
                ranges.free(first, count, now);
                let resting = ranges.resting.iter().any(|r| (r.1, r.2) == (first, count));
                assert!(resting);
            }
        }
        for (first, count) in taken {
            ranges.free(first, count, now);
        }
        assert_eq!(ranges.allocate(1000, now + REST), Some(0));
    }
}
