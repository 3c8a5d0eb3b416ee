//! A few of an interval's requests whose spans are kept.

use super::histogram::Durations;
use crate::finished::Finished;
use observer_signals::Exemplar;
use observer_signals::WallClock;

/// Beside the slowest.
const OTHERS: usize = 4;

/// The slowest request of an interval, and up to four of other buckets, rather
/// of rare ones than of those where most are.
#[derive(Default)]
pub struct Exemplars(Option<Box<Few>>);

#[derive(Default)]
struct Few {
    slowest: Option<Seen>,
    others: [Option<Seen>; OTHERS],
}

#[derive(Clone, Copy)]
struct Seen {
    ended: u64,
    duration: u64,
    bucket: u32,
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

impl Exemplars {
    /// Considers a request whose span is kept.
    pub fn add(&mut self, finished: &Finished, bucket: u32, durations: &Durations) {
        let few = self.0.get_or_insert_default();
        let seen = Seen {
            ended: finished.ended,
            duration: finished.duration(),
            bucket,
            trace_id: finished.trace_id,
            span_id: finished.span_id,
        };
        let other = match &mut few.slowest {
            Some(slowest) if slowest.duration >= seen.duration => seen,
            slowest => match slowest.replace(seen) {
                Some(before) => before,
                None => return,
            },
        };
        let Some(place) = few.others.get_mut(other.bucket as usize % OTHERS) else {
            return;
        };
        let rarer = |than: &Seen| {
            other.bucket == than.bucket
                || durations.count_of(other.bucket) < durations.count_of(than.bucket)
        };
        if place.as_ref().is_none_or(rarer) {
            *place = Some(other);
        }
    }

    /// The exemplars of the interval that ends now, by time.
    pub fn take(&mut self, clock: WallClock) -> Vec<Exemplar> {
        let Some(few) = &mut self.0 else {
            return Vec::new();
        };
        let few = std::mem::take(&mut **few);
        let mut all: Vec<Seen> = few
            .others
            .into_iter()
            .chain([few.slowest])
            .flatten()
            .collect();
        all.sort_unstable_by_key(|seen| seen.ended);
        let exemplar = |seen: Seen| Exemplar {
            time: clock.wall(seen.ended),
            value: seen.duration as f64 / 1e9,
            trace_id: seen.trace_id,
            span_id: seen.span_id,
        };
        all.into_iter().map(exemplar).collect()
    }
}
