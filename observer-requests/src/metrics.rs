//! Metrics of all requests, sampled or not.
//!
//! A request is counted by one look-up of a small key: what tells series apart
//! is interned, routes and connections by their addresses in memory (what an
//! address stands for is kept as long as it is remembered).
//!
//! A workload has [`SERIES`] series of each metric at most; what comes then is
//! counted in one more, marked with `otel.metric.overflow`.

mod definitions;
mod exemplars;
mod histogram;
mod key;
mod labels;
mod names;
mod retire;

use observer_common::workload::WorkloadId;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use definitions::{METRICS, UNFOLLOWED, WHAT, WHICH, WHOSE, WHY};

use super::finished::{Finished, Role};
use super::redact::Redactor;
use super::semantics::{scheme, time};
use exemplars::Exemplars;
use histogram::Durations;
use key::{Key, Kind};
use names::Names;
use observer_signals::MetricBuilder;
use observer_signals::WallClock;
use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, MetricDef, MetricPoint, PointValue};

/// Series that one workload has of one metric; for the times of
/// `observer.request.time`, six of which belong together, as many sixes.
pub const SERIES: u32 = 500;

/// Series of all workloads together, but for those of overflow.
const ALL_SERIES: usize = 1 << 15;

/// Counts requests. Everything is kept until the end: points are cumulative.
pub struct Metrics {
    redactor: Arc<Redactor>,
    names: Names,
    index: FxHashMap<Key, u32>,
    series: Vec<Series>,
    times: Vec<Times>,
    groups: FxHashMap<(WorkloadId, Kind), Group>,
    active: FxHashMap<(WorkloadId, Role, bool), Active>,
}

/// Durations of requests that are alike.
struct Series {
    workload: WorkloadId,
    kind: Kind,
    attributes: SharedAttributes,
    /// Kernel time at which the first one began.
    since: u64,
    durations: Durations,
    exemplars: Exemplars,
    /// Where the time of these went: the index plus one of [`Metrics::times`].
    times: u32,
    /// Keeps the address of the route, which is part of the key.
    _route: Option<Arc<str>>,
}

/// Where the time of requests of one route went.
struct Times {
    workload: WorkloadId,
    attributes: Vec<Attribute>,
    since: u64,
    parts: [Durations; time::PARTS.len()],
}

/// The series that a workload has of one metric.
#[derive(Default)]
struct Group {
    series: u32,
    overflow: Option<u32>,
}

#[derive(Clone, Copy)]
struct Active {
    since: u64,
    now: i64,
}

impl Metrics {
    /// Nothing counted yet. What the redactor hides isn't in any attribute.
    pub fn new(redactor: Arc<Redactor>) -> Self {
        Self {
            redactor,
            names: Names::default(),
            index: FxHashMap::default(),
            series: Vec::new(),
            times: Vec::new(),
            groups: FxHashMap::default(),
            active: FxHashMap::default(),
        }
    }

    /// Counts a request that is over.
    pub fn observe(&mut self, finished: &Finished) {
        let index = self.find(finished);
        let Some(series) = self.series.get_mut(index as usize) else {
            return;
        };
        let duration = finished.duration();
        let bucket = series.durations.add(duration);
        if finished.sampled {
            series.exemplars.add(finished, bucket, &series.durations);
        }
        let Some(clock) = &finished.clock else { return };
        let times = match series.times {
            0 => {
                let group = self.groups.entry((finished.workload, Kind::Time));
                let group = group.or_default();
                series.find_times(finished, group, &mut self.times, &self.redactor)
            }
            one_more => one_more - 1,
        };
        if let Some(times) = self.times.get_mut(times as usize) {
            for (durations, (_, components)) in times.parts.iter_mut().zip(time::PARTS) {
                durations.add(time::part(clock, components));
            }
        }
    }

    /// A request that was counted as not sampled has its span kept after all:
    /// it may serve as an exemplar.
    pub fn kept(&mut self, finished: &Finished) {
        let index = self.find(finished);
        if let Some(series) = self.series.get_mut(index as usize) {
            let bucket = Durations::bucket(finished.duration());
            series.exemplars.add(finished, bucket, &series.durations);
        }
    }

    /// HTTP requests of a workload that are open now; of those who aren't told
    /// before the next [`Self::collect`] there are none. `at` is kernel time.
    pub fn active(&mut self, workload: WorkloadId, role: Role, tls: bool, open: u64, at: u64) {
        let first = Active { since: at, now: 0 };
        let active = self.active.entry((workload, role, tls)).or_insert(first);
        active.now = active
            .now
            .saturating_add(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Adds the points of this tick, and begins the next interval's exemplars.
    pub fn collect(&mut self, clock: WallClock, out: &mut MetricBuilder) {
        for series in &mut self.series {
            let point = MetricPoint {
                attributes: series.attributes.clone(),
                start: clock.wall(series.since),
                value: PointValue::Histogram(series.durations.to_histogram()),
                exemplars: series.exemplars.take(clock),
            };
            out.workload_point(series.workload, series.kind.definition(), point);
        }
        for times in &self.times {
            for (durations, (part, _)) in times.parts.iter().zip(time::PARTS) {
                let mut attributes = times.attributes.clone();
                attributes.push(Attribute::new(definitions::COMPONENT.0, part));
                attributes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
                let value = PointValue::Histogram(durations.to_histogram());
                let start = clock.wall(times.since);
                out.workload(times.workload, &definitions::TIME, attributes, start, value);
            }
        }
        for ((workload, role, tls), active) in &mut self.active {
            let def: &'static MetricDef = match role {
                Role::Server => &definitions::HTTP_SERVER_ACTIVE,
                Role::Client => &definitions::HTTP_CLIENT_ACTIVE,
            };
            let attributes = vec![Attribute::new("url.scheme", scheme(*tls))];
            let now = PointValue::Int(std::mem::take(&mut active.now));
            out.workload(*workload, def, attributes, clock.wall(active.since), now);
        }
    }

    /// The index of the series of a request.
    fn find(&mut self, finished: &Finished) -> u32 {
        let kind = Kind::of(finished);
        let group = (finished.workload, kind);
        let groups = &self.groups;
        let all = self.series.len();
        let room = || all < ALL_SERIES && groups.get(&group).is_none_or(|g| g.series < SERIES);
        let Some(key) = key::key(finished, kind, &mut self.names, room) else {
            return self.overflow(finished, kind);
        };
        if let Some(index) = self.index.get(&key) {
            return *index;
        }
        if !room() {
            return self.overflow(finished, kind);
        }
        let attributes = labels::labels(finished, &self.redactor);
        let index = self.add(finished, kind, attributes);
        self.index.insert(key, index);
        self.groups.entry(group).or_default().series += 1;
        index
    }

    fn overflow(&mut self, finished: &Finished, kind: Kind) -> u32 {
        let group = (finished.workload, kind);
        if let Some(Group {
            overflow: Some(index),
            ..
        }) = self.groups.get(&group)
        {
            return *index;
        }
        let index = self.add(finished, kind, labels::overflow());
        self.groups.entry(group).or_default().overflow = Some(index);
        index
    }

    fn add(&mut self, finished: &Finished, kind: Kind, attributes: Vec<Attribute>) -> u32 {
        self.series.push(Series {
            workload: finished.workload,
            kind,
            attributes: attributes.into(),
            since: finished.begun,
            durations: Durations::default(),
            exemplars: Exemplars::default(),
            times: 0,
            _route: finished.route.clone(),
        });
        // There are 2^15 and a few for each workload.
        (self.series.len() - 1) as u32
    }
}

impl Series {
    /// Finds which times it shares with other series of its route, and notes
    /// their index among all `times`.
    fn find_times(
        &mut self,
        finished: &Finished,
        group: &mut Group,
        times: &mut Vec<Times>,
        redactor: &Redactor,
    ) -> u32 {
        let attributes = match labels::is_overflow(&self.attributes) || group.series >= SERIES {
            true => labels::overflow(),
            false => labels::of_times(finished, redactor),
        };
        let same =
            |times: &Times| times.workload == finished.workload && times.attributes == attributes;
        let known = times.iter().position(same);
        let index = known.unwrap_or(times.len());
        if known.is_none() {
            group.series += 1;
            times.push(Times {
                workload: finished.workload,
                attributes,
                since: finished.begun,
                parts: Default::default(),
            });
        }
        // Fewer than there are series.
        self.times = index as u32 + 1;
        index as u32
    }
}

#[cfg(test)]
mod tests;
