//! The cgroups of workloads: which there are, read in turn, each for those whose it is.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_common::workload::WorkloadId;
use observer_signals::Attribute;
use rustc_hash::{FxHashMap, FxHashSet};

use super::cgroup::{Directories, Directory, Reading};
use super::descriptors::Descriptors;
use super::directories::{CgroupId, Finder};
use super::figures::{Counters, Level};
use super::limits::{Limit, Trends};
use super::metrics::CGROUP;
use super::owner::Owner;
use super::told::Told;
use crate::foreign::Foreign;
use crate::kernel::clock;
use crate::kernel::workload_ids::Listed;

/// So many are read in a round in any case, if there are so many.
const LEAST: usize = 16;

/// How often files that aren't there are looked for again.
const LOOKS: u8 = 2;

/// A cgroup of workloads.
#[derive(Debug)]
pub(super) struct Place {
    pub path: Attribute,
    /// Its files, and those of them that are no other's.
    found: Directories,
    directories: Directories,
    /// So often its files are looked for again.
    looks: u8,
    /// Those that are in it.
    pub workloads: Vec<WorkloadId>,
    /// What was read last, and when (kernel time, ns).
    pub reading: Option<Reading>,
    read: u64,
    /// The counts from which on it is counted.
    pub base: Counters,
    pub owner: Owner,
    /// What runs out.
    pub limits: Vec<Told>,
    trends: Trends,
    descriptors: Descriptors,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Places {
    finder: Finder,
    places: BTreeMap<CgroupId, Place>,
    /// Those among whom it is settled who has which files.
    claimed: Vec<CgroupId>,
    /// Who is read next.
    turns: VecDeque<CgroupId>,
    /// Those that were gone before they were found, and whose workloads are there still.
    gone: FxHashSet<CgroupId>,
    /// Cgroups that were there before the daemon.
    old: FxHashSet<u64>,
    /// The daemon's begin (kernel time, ns).
    began: u64,
}

impl Places {
    /// Knows which cgroups are older than the daemon.
    pub(super) fn new() -> Self {
        let finder = Finder::new();
        Self {
            old: finder.all(),
            finder,
            places: BTreeMap::new(),
            claimed: Vec::new(),
            turns: VecDeque::new(),
            gone: FxHashSet::default(),
            began: clock::monotonic(),
        }
    }

    /// Takes the workloads that are there, and reads some of their cgroups: for so long,
    /// but never so few that none is.
    pub(super) fn round(&mut self, foreign: &Foreign, listed: &[Listed], limit: Duration) {
        let begin = Instant::now();
        let mut workloads: FxHashMap<CgroupId, Vec<WorkloadId>> = FxHashMap::default();
        for one in listed {
            let (v2, v1) = (one.key.cgroup_v2, one.key.cgroup_v1);
            workloads
                .entry(CgroupId { v2, v1 })
                .or_default()
                .push(one.id);
        }
        self.places.retain(|id, place| match workloads.remove(id) {
            Some(mut ids) => {
                ids.sort_unstable();
                place.workloads = ids;
                true
            }
            None => false,
        });
        let is_less = !self.places.keys().eq(&self.claimed);
        self.gone.retain(|id| workloads.contains_key(id));
        let is_time = |done: usize| done < LEAST || begin.elapsed() < limit;
        let mut added = 0;
        for (id, ids) in workloads {
            // The others come at the next round.
            if is_time(added) && !self.gone.contains(&id) {
                self.add(foreign, id, ids);
                added += 1;
            }
        }
        if self.complete() || is_less || added > 0 {
            self.claim();
        }
        let mut done = 0;
        for _ in 0..self.turns.len() {
            if !is_time(done) {
                break;
            }
            let Some(id) = self.turns.pop_front() else {
                break;
            };
            let Some(place) = self.places.get_mut(&id) else {
                continue;
            };
            self.turns.push_back(id);
            // Those that came just now were read.
            if clock::monotonic().saturating_sub(place.read) > limit.as_nanos() as u64 {
                place.read(foreign, &self.finder);
                done += 1;
            }
        }
    }

    fn add(&mut self, foreign: &Foreign, id: CgroupId, workloads: Vec<WorkloadId>) {
        let Some(found) = self.finder.find(id) else {
            self.gone.insert(id);
            return;
        };
        let is_whole = found.directories.all().all(|one| one.is_some());
        let mut place = Place {
            path: Attribute::new(CGROUP, found.path),
            directories: found.directories.clone(),
            looks: if is_whole { 0 } else { LOOKS },
            found: found.directories,
            workloads,
            reading: None,
            read: 0,
            base: Counters::default(),
            owner: Owner::new(self.began),
            limits: Vec::new(),
            trends: Trends::default(),
            descriptors: Descriptors::default(),
        };
        place.read(foreign, &self.finder);
        // What happened in one that is new happened since the daemon began.
        if [id.v2, id.v1].iter().any(|id| self.old.contains(id))
            && let Some(reading) = &place.reading
        {
            place.base = reading.counters.clone();
            place.owner = Owner::new(place.read);
        }
        self.places.insert(id, place);
        self.turns.push_back(id);
    }

    /// Looks again for files of those that were new: who makes a cgroup goes into one
    /// hierarchy after the other. Whether something was found.
    fn complete(&mut self) -> bool {
        let mut is_more = false;
        for (id, place) in self.places.iter_mut().filter(|(_, place)| place.looks > 0) {
            place.looks -= 1;
            if let Some(found) = self.finder.find(*id)
                && found.directories != place.found
            {
                place.found = found.directories;
                is_more = true;
            }
        }
        is_more
    }

    /// Each directory is read for one only. Where hierarchies differ several may be in it:
    /// one that is on its way into all of them, which is nobody's for that time; or several
    /// that are apart in another, so that what is said there is no single one's.
    fn claim(&mut self) {
        let mut claims: FxHashMap<PathBuf, (usize, CgroupId, bool)> = FxHashMap::default();
        for (id, place) in &self.places {
            let complete = place.found.all().flatten().count();
            for directory in place.found.all().flatten() {
                let claim = claims.entry(directory.path.clone());
                let claim = claim.or_insert((complete, *id, true));
                if claim.1 != *id && claim.0 <= complete {
                    *claim = (complete, *id, claim.0 < complete);
                }
            }
        }
        for (id, place) in &mut self.places {
            let is_its = |directory: &Directory| {
                let claim = claims.get(&directory.path);
                claim.is_some_and(|(_, whose, is_clear)| whose == id && *is_clear)
            };
            place.directories = place.found.only(is_its);
        }
        self.claimed = self.places.keys().copied().collect();
    }

    /// All.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.values_mut()
    }

    /// How long ago the one was read that waits longest.
    pub(super) fn age(&self) -> Option<Duration> {
        let oldest = self.places.values().map(|place| place.read).min()?;
        let age = clock::monotonic().saturating_sub(oldest);
        Some(Duration::from_nanos(age))
    }
}

impl Place {
    fn read(&mut self, foreign: &Foreign, finder: &Finder) {
        self.read = clock::monotonic();
        let now = self.read as f64 / 1e9;
        let reading = match self.directories.is_empty() {
            true => Some(Reading::default()),
            false => self.directories.read(foreign),
        };
        // It is gone: what was read last stays.
        let Some(mut reading) = reading else { return };
        self.limits.clear();
        let attributes = std::slice::from_ref(&self.path);
        let worst = self
            .descriptors
            .look(foreign, &finder.members(&self.directories));
        reading
            .levels
            .set(Level::Descriptors, worst.map(|it| it.used));
        for (name, found) in [
            ("memory", reading.memory),
            ("threads", reading.threads),
            ("process_file_descriptors", worst),
        ] {
            if let Some(found) = found {
                let limit = Limit {
                    name,
                    attributes,
                    used: found.used as f64,
                    most: found.most as f64,
                };
                self.trends.tell(&limit, now, &mut self.limits);
            }
        }
        self.trends.prune();
        self.reading = Some(reading);
    }
}

/// What is shared between who reads and who exports.
pub(super) type Shared = Arc<std::sync::Mutex<Option<Places>>>;
