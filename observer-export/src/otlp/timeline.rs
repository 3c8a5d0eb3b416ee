//! Times of points where the wall clock was set back.
//!
//! A series' points may not go back in time, nor begin after they end, and its sum may
//! not be told twice (OpenTelemetry data model, "Resets and Gaps"). The first batch after
//! the clock was set back ends all series in the time that was; from then on each counts
//! from that moment on, anew.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use crate::delta::subtract;
use observer_signals::{Instrument, MetricPoint, PointValue, UnixNanos};

/// A clock that is slewed is corrected by less than this between two batches (ns).
const SLEWED: u64 = 500_000_000;

/// What was told so far, and since when.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    last: Option<Last>,
    epoch: Option<Epoch>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// When the batch before was made, by the wall clock as it was then.
    time: UnixNanos,
    /// Likewise, by one that nobody sets.
    at: Instant,
}

/// The time since the clock was set back.
#[derive(Debug, Default)]
struct Epoch {
    start: UnixNanos,
    /// What had been told before, by series.
    base: HashMap<u128, PointValue>,
}

/// A batch's place in it.
#[derive(Debug)]
pub(super) struct Place {
    /// The time of its points.
    pub time: UnixNanos,
    /// It is the last of an epoch: the values of its series.
    pub ends: Option<HashMap<u128, PointValue>>,
}

impl Timeline {
    /// A batch of this time was made now.
    pub(super) fn begin(&mut self, time: UnixNanos, at: Instant) -> Place {
        let before = self.last.replace(Last { time, at });
        let Some(before) = before.filter(|before| time.saturating_add(SLEWED) < before.time) else {
            let time = before.map_or(time, |before| time.max(before.time));
            // One that was slewed back a little stands.
            self.last = Some(Last { time, at });
            return Place { time, ends: None };
        };
        let since = at.saturating_duration_since(before.at).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        tracing::warn!(
            "the clock was set back by {:?}: sums begin anew at this moment",
            std::time::Duration::from_nanos(before.time.saturating_add(since) - time)
        );
        Place {
            time: before.time.saturating_add(since),
            ends: Some(HashMap::new()),
        }
    }

    /// Whether series must be told apart.
    pub(super) fn needs_keys(&self, place: &Place) -> bool {
        self.epoch.is_some() || place.ends.is_some()
    }

    /// A point as it is to be told at that time, of a series that is told by its sum since
    /// its start; and of which something is noted, if the epoch ends.
    pub(super) fn place<'a>(
        &self,
        key: u128,
        instrument: Instrument,
        point: &'a MetricPoint,
        place: &mut Place,
    ) -> Cow<'a, MetricPoint> {
        let adds_up = matches!(instrument, Instrument::Counter | Instrument::Histogram);
        if let Some(base) = place.ends.as_mut().filter(|_| adds_up) {
            base.insert(key, point.value.clone());
        }
        let Some(epoch) = &self.epoch else {
            return Cow::Borrowed(point);
        };
        let base = epoch.base.get(&key).filter(|_| adds_up);
        // If it is less by now, it began anew.
        let value = base.and_then(|base| subtract(&point.value, base));
        Cow::Owned(MetricPoint {
            attributes: point.attributes.clone(),
            start: epoch.start,
            value: value.unwrap_or_else(|| point.value.clone()),
            exemplars: point.exemplars.clone(),
        })
    }

    /// A start as it is to be told of what is added up since the batch before.
    pub(super) fn start(&self, start: UnixNanos, time: UnixNanos) -> UnixNanos {
        match &self.epoch {
            Some(epoch) if start > time => epoch.start,
            _ => start,
        }
    }

    /// A series has ended.
    pub(super) fn forget(&mut self, key: u128) {
        if let Some(epoch) = &mut self.epoch {
            epoch.base.remove(&key);
        }
    }

    /// After a batch: returns when the next epoch begins, if this was the last of its own.
    pub(super) fn end(&mut self, place: Place) -> Option<UnixNanos> {
        let (base, last) = (place.ends?, self.last?);
        self.epoch = Some(Epoch {
            start: last.time,
            base,
        });
        Some(last.time)
    }
}
