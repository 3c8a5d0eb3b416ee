//! A snapshot by metric family: expositions have all series of a name together, batches
//! all of a resource.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use observer_signals::metric::Metric;
use observer_signals::{Instrument, MetricDef, MetricPoint, UnixNanos};

use super::Snapshot;
use super::labels::{self, Labels};
use super::names::{self, FamilyName};
use super::targets::{Target, Targets};

/// All series of one name.
pub(super) struct Family<'a> {
    pub(super) def: &'static MetricDef,
    pub(super) unit: Option<String>,
    /// By resource.
    groups: Vec<(&'a Target, &'a [MetricPoint])>,
}

impl<'a> Family<'a> {
    /// Its points with their labels.
    pub(super) fn points(&self) -> impl Iterator<Item = (Labels<'a>, &'a MetricPoint)> {
        self.groups.iter().flat_map(|(target, points)| {
            let of = |point: &'a MetricPoint| {
                let labels = labels::of_point(target, &point.attributes);
                (labels, point)
            };
            points.iter().map(of)
        })
    }

    /// The points' type to Prometheus: sums that can fall are gauges ("Sums").
    pub(super) fn kind(&self) -> Kind {
        match self.def.instrument {
            Instrument::Counter => Kind::Counter,
            Instrument::Gauge | Instrument::UpDownCounter => Kind::Gauge,
            Instrument::Histogram => Kind::Histogram,
        }
    }
}

/// Types of families that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A snapshot as expositions need it.
pub struct Families<'a> {
    /// By name without the type's suffix.
    pub(super) all: BTreeMap<String, Family<'a>>,
    /// The labels of `target_info`, of each resource.
    pub(super) infos: Vec<Labels<'a>>,
    /// When the points were made.
    pub(super) time: UnixNanos,
}

/// Whose each resource of a snapshot is.
pub fn targets(snapshot: &Snapshot, known: &mut Targets) -> Vec<Target> {
    known.of(snapshot)
}

impl<'a> Families<'a> {
    /// Those of a snapshot, whose resources have these targets.
    pub fn of(snapshot: &'a Snapshot, targets: &'a [Target]) -> Self {
        let mut families = Self {
            all: BTreeMap::new(),
            infos: Vec::new(),
            time: snapshot.batch.time,
        };
        let mut told = HashSet::new();
        let mut known: Vec<(&'static MetricDef, FamilyName)> = Vec::new();
        for (group, target) in snapshot.resources().zip(targets) {
            let attributes = &group.resource.attributes;
            // The daemon's figures and the host's may be of one resource, in two groups.
            if told.insert(target) {
                families.infos.push(labels::of_info(target, attributes));
            }
            for metric in group.metrics.iter().filter(|m| !m.points.is_empty()) {
                let found = known
                    .iter()
                    .position(|(def, _)| std::ptr::eq(*def, metric.def));
                let place = found.unwrap_or_else(|| {
                    known.push((metric.def, names::family(metric.def)));
                    known.len() - 1
                });
                if let Some((_, name)) = known.get(place) {
                    families.add(name, metric, target);
                }
            }
        }
        families
    }

    fn add(&mut self, name: &FamilyName, metric: &'a Metric, target: &'a Target) {
        let family = match self.all.entry(name.name.clone()) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => free.insert(Family {
                def: metric.def,
                unit: name.unit.clone(),
                groups: Vec::new(),
            }),
        };
        // One name has one type ("Metric Metadata"). A test of all metrics sees to it.
        let fits = family.def.instrument == metric.def.instrument;
        debug_assert!(fits, "{} is of two types", name.name);
        if fits {
            family.groups.push((target, &metric.points));
        }
    }
}

/// What all series of these metrics are called without their types' suffixes, and whether
/// two of different types have one name: for the test that none have.
pub fn names_of(defs: &[&'static MetricDef]) -> Result<Vec<String>, String> {
    let mut names: BTreeMap<String, &MetricDef> = BTreeMap::new();
    for def in defs {
        let name = names::family(def).name;
        let before = names.insert(name.clone(), def);
        if before
            .is_some_and(|before| before.name != def.name || before.instrument != def.instrument)
        {
            return Err(name);
        }
    }
    Ok(names.into_keys().collect())
}
