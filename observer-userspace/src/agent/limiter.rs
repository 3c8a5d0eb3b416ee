//! A bound on spans per workload, by token bucket.

use observer_common::workload::WorkloadId;
use std::collections::HashMap;
use std::time::Instant;

/// Lets each workload make so many spans a second, with bursts.
pub struct SpanLimiter {
    rate: f64,
    burst: f64,
    buckets: HashMap<WorkloadId, Bucket>,
    /// The part of the rate that holds, from 0 to 1.
    share: f64,
    dropped: u64,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl SpanLimiter {
    /// `rate` spans per second and workload, `burst` at once.
    pub fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate: rate.into(),
            burst: burst.max(1).into(),
            buckets: HashMap::new(),
            share: 1.0,
            dropped: 0,
        }
    }

    /// May this workload make one more span now? A "no" is counted.
    pub fn admits(&mut self, workload: WorkloadId) -> bool {
        let now = Instant::now();
        self.admits_at(workload, now)
    }

    /// A workload is over.
    pub fn retire(&mut self, gone: WorkloadId) {
        self.buckets.remove(&gone);
    }

    /// From now on the rate is the configured one divided by `n`.
    pub fn divide(&mut self, n: u32) {
        self.share = 1.0 / f64::from(n.max(1));
    }

    fn admits_at(&mut self, workload: WorkloadId, now: Instant) -> bool {
        let bucket = self.buckets.entry(workload).or_insert(Bucket {
            tokens: self.burst,
            filled: now,
        });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.rate * self.share).min(self.burst);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            self.dropped += 1;
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Spans dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Checks burst, refill and that workloads don't share.
    #[test]
    fn bounds_each_workload() {
        let start = Instant::now();
        let mut limiter = SpanLimiter::new(10, 5);
        let admitted = |limiter: &mut SpanLimiter, workload, at| {
            (0..20).filter(|_| limiter.admits_at(workload, at)).count()
        };
        assert_eq!(admitted(&mut limiter, WorkloadId(1), start), 5);
        assert_eq!(admitted(&mut limiter, WorkloadId(2), start), 5);
        assert_eq!(
            admitted(
                &mut limiter,
                WorkloadId(1),
                start + Duration::from_millis(250)
            ),
            2
        );
        assert_eq!(limiter.dropped(), 15 + 15 + 18);
        let later = |seconds| start + Duration::from_secs(seconds);
        limiter.divide(10);
        admitted(&mut limiter, WorkloadId(1), later(10));
        assert_eq!(admitted(&mut limiter, WorkloadId(1), later(13)), 3);
        limiter.divide(1);
        assert_eq!(admitted(&mut limiter, WorkloadId(1), later(14)), 5);
    }
}
