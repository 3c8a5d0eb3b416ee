//! What is about to run out, and how much time is left at the present rate.

use std::collections::{HashMap, VecDeque};

use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, PointValue};

use super::metrics::{LIMIT_TIME_LEFT, LIMIT_UTILIZATION};
use super::told::Told;

/// The present is so long, in seconds.
const WINDOW: f64 = 60.0;

/// Times at which something was looked at that are kept of it, at most.
const SAMPLES: usize = 64;

/// Of what lasts longer than this (a week, in seconds) isn't said how long.
const LONG: f64 = 7.0 * 86_400.0;

/// How much of something is used, by time.
#[derive(Debug, Default)]
struct Trend {
    samples: VecDeque<(f64, f64)>,
    /// It was told of since the last look for what is gone.
    is_alive: bool,
}

impl Trend {
    /// Takes what is used `now` (seconds), and says what is added in a second: by the
    /// difference between now and a minute ago, or the begin.
    fn rate(&mut self, now: f64, used: f64) -> Option<f64> {
        self.is_alive = true;
        let is_old = |(time, _): &(f64, f64)| now - time > WINDOW;
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(is_old)
            || self.samples.len() >= SAMPLES
        {
            self.samples.pop_front();
        }
        let first = self.samples.front().copied();
        self.samples.push_back((now, used));
        let (time, before) = first?;
        (now > time).then(|| (used - before) / (now - time))
    }
}

/// Something that can run out.
pub(super) struct Limit<'a> {
    /// Its name, for people and as an attribute.
    pub name: &'static str,
    /// What else tells it from others of the name.
    pub attributes: &'a [Attribute],
    /// How much is used, and of how much, in whatever unit.
    pub used: f64,
    pub most: f64,
}

/// How all that can run out stands.
#[derive(Debug, Default)]
pub(super) struct Trends(HashMap<String, Trend>);

impl Trends {
    /// What is said of a limit `now` (seconds of any clock that doesn't stand still).
    pub(super) fn tell(&mut self, limit: &Limit<'_>, now: f64, out: &mut Vec<Told>) {
        if limit.most <= 0.0 {
            return;
        }
        let mut attributes = vec![Attribute::new("observer.limit.name", limit.name)];
        attributes.extend(limit.attributes.iter().cloned());
        let key = format!("{attributes:?}");
        let attributes = SharedAttributes::from(attributes);
        let rate = self.0.entry(key).or_default().rate(now, limit.used);
        out.push(Told {
            def: &LIMIT_UTILIZATION,
            attributes: attributes.clone(),
            value: PointValue::Double(limit.used / limit.most),
        });
        let left = rate.and_then(|rate| time_left(limit, rate));
        out.extend(left.map(|left| Told {
            def: &LIMIT_TIME_LEFT,
            attributes,
            value: PointValue::Double(left),
        }));
    }

    /// Forgets what wasn't told of since the last time.
    pub(super) fn prune(&mut self) {
        self.0
            .retain(|_, trend| std::mem::take(&mut trend.is_alive));
    }
}

/// Seconds until it is used up; `None` if it doesn't grow, or lasts long.
fn time_left(limit: &Limit<'_>, rate: f64) -> Option<f64> {
    let left = (limit.most - limit.used).max(0.0) / rate;
    (rate > 0.0 && left < LONG).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(trends: &mut Trends, now: f64, used: f64) -> Vec<f64> {
        let limit = Limit {
            name: "space",
            attributes: &[],
            used,
            most: 100.0,
        };
        let mut out = Vec::new();
        trends.tell(&limit, now, &mut out);
        let values = out.iter().map(|told| match told.value {
            PointValue::Double(value) => value,
            _ => f64::NAN,
        });
        values.collect()
    }

    /// Checks that what grows evenly is said to end when it does, by the rate of the last
    /// minute only, that what doesn't grow has no end, and that what is gone is forgotten.
    #[test]
    fn the_end_is_known() {
        let mut trends = Trends::default();
        assert_eq!(told(&mut trends, 0.0, 10.0), [0.1]);
        assert_eq!(told(&mut trends, 10.0, 20.0), [0.2, 80.0]);
        assert_eq!(told(&mut trends, 20.0, 30.0), [0.3, 70.0]);
        // From here on slower; the first samples are left behind.
        for second in [30, 40, 50, 60, 70, 80, 90] {
            told(
                &mut trends,
                f64::from(second),
                f64::from(second - 20) / 10.0 + 30.0,
            );
        }
        let last = told(&mut trends, 100.0, 38.0);
        assert_eq!(last.len(), 2);
        assert!((last[1] - 62.0 / 0.1).abs() < 70.0, "{last:?}");
        assert_eq!(told(&mut trends, 110.0, 1.0), [0.01]);
        trends.prune();
        trends.prune();
        assert_eq!(told(&mut trends, 120.0, 50.0), [0.5]);
    }
}
