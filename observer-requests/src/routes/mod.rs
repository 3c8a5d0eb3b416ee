//! From the target of an HTTP request to its route: `/users/42/orders/7?x=y` to
//! `/users/{id}/orders/{id}`.
//!
//! No framework tells us its routes, so they are guessed:
//!
//! - Segments that look like one of many (numbers, UUIDs, hashes, tokens, dates,
//!   e-mail addresses, whatever has escapes) are `{id}`; so are hashes within the
//!   names of files (`app.{id}.js`).
//! - Where more than [`tree::CHILDREN`] names turn up beneath one segment, further
//!   ones are `{id}`, too.
//! - A workload has [`tree::ROUTES`] routes; what comes then is [`OTHER`]. Paths
//!   that were answered with 404 take few of them. Whatever lies deeper than
//!   [`DEPTH`] segments is `{other}`.
//! - A route that was given stays, also when later ones of its kind collapse.
//!
//! Patterns of the user win over all that.

mod pattern;
mod segment;
pub(crate) mod tree;

use observer_common::workload::WorkloadId;
use std::hash::Hasher as _;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

pub use pattern::Pattern;

use super::redact::Redactor;
use super::target::Target;
use tree::Tree;

/// The route of all paths that found no place, and of targets that are none.
pub const OTHER: &str = "/{other}";

/// Segments that are told apart.
pub const DEPTH: usize = 10;

/// Paths that are remembered with their routes, of all workloads together.
const REMEMBERED: usize = 4096;

/// Longer paths aren't remembered.
const LONGEST: usize = 256;

/// Finds routes, and gives the same string for the same route of a workload.
pub struct Routes {
    patterns: Vec<Pattern>,
    redactor: Arc<Redactor>,
    trees: FxHashMap<WorkloadId, Tree>,
    /// By hash, and no more than one path at each place: what is asked for
    /// again and again stays, and hostile paths can only displace.
    remembered: Vec<Remembered>,
    other: Arc<str>,
    /// `*`, of `OPTIONS *`.
    server: Arc<str>,
}

struct Remembered {
    hash: u64,
    workload: WorkloadId,
    path: String,
    route: Arc<str>,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// Without patterns or rules of a user.
    pub fn new() -> Self {
        Self::configured(Vec::new(), Arc::default())
    }

    /// The first of `patterns` that matches a path is its route; what the
    /// redactor's rules hide in a path is `{id}` in its route.
    pub fn configured(patterns: Vec<Pattern>, redactor: Arc<Redactor>) -> Self {
        let other: Arc<str> = OTHER.into();
        let nothing = || Remembered {
            hash: 0,
            workload: WorkloadId(0),
            path: String::new(),
            route: Arc::clone(&other),
        };
        Self {
            patterns,
            redactor,
            trees: FxHashMap::default(),
            remembered: (0..REMEMBERED).map(|_| nothing()).collect(),
            server: "*".into(),
            other,
        }
    }

    /// The route of a request's target.
    pub fn route(&mut self, workload: WorkloadId, target: &str) -> Arc<str> {
        self.find(workload, target, tree::ROUTES)
    }

    /// As [`Self::route`], for a request that was answered with 404: what isn't
    /// there takes fewer of the workload's routes.
    pub fn route_not_found(&mut self, workload: WorkloadId, target: &str) -> Arc<str> {
        self.find(workload, target, tree::UNFOUND_ROUTES)
    }

    /// Forgets a workload's routes.
    pub fn retire(&mut self, gone: WorkloadId) {
        self.trees.remove(&gone);
    }

    fn find(&mut self, workload: WorkloadId, target: &str, limit: usize) -> Arc<str> {
        let end = target.bytes().position(|b| b == b'?' || b == b'#');
        let path = end.and_then(|end| target.get(..end)).unwrap_or(target);
        let hash = hash(workload, path);
        let place = hash as usize % REMEMBERED;
        if let Some(here) = self.remembered.get(place)
            && (here.hash, here.workload) == (hash, workload)
            && here.path == path
        {
            return Arc::clone(&here.route);
        }
        let route = self.learn(workload, path, limit);
        // One that found no place may find it when it is there after all.
        let settled = limit == tree::ROUTES || !Arc::ptr_eq(&route, &self.other);
        if path.len() <= LONGEST
            && settled
            && let Some(here) = self.remembered.get_mut(place)
        {
            here.path.clear();
            here.path.push_str(path);
            (here.hash, here.workload) = (hash, workload);
            here.route = Arc::clone(&route);
        }
        route
    }

    fn learn(&mut self, workload: WorkloadId, path: &str, limit: usize) -> Arc<str> {
        let target = Target::split(path);
        let absolute = target.scheme.is_some() && target.path.is_empty();
        let Some(rest) = target.path.strip_prefix('/').or(absolute.then_some("")) else {
            let server = target.path == "*" && target.authority.is_none();
            return Arc::clone(if server { &self.server } else { &self.other });
        };
        // Targets are cut at 2 KiB, so this has an end.
        let segments: Vec<&str> = rest.split('/').filter(|s| !s.is_empty()).collect();
        if let Some(pattern) = self.patterns.iter().find(|p| p.matches(&segments)) {
            return Arc::clone(pattern.route());
        }
        let hidden = self.redactor.hidden(&segments);
        let last = segments.len().saturating_sub(1);
        let mut names: Vec<String> = Vec::with_capacity(segments.len().min(DEPTH + 1));
        for (i, segment) in segments.iter().enumerate() {
            let mut name = String::new();
            if i == DEPTH {
                names.push(OTHER.trim_start_matches('/').to_owned());
                break;
            } else if hidden >> i & 1 != 0 {
                name.push_str(segment::ID);
            } else {
                segment::write(segment, i == last, &mut name);
            }
            names.push(name);
        }
        let tree = self.trees.entry(workload).or_default();
        tree.route(&names, limit)
            .unwrap_or_else(|| Arc::clone(&self.other))
    }
}

fn hash(workload: WorkloadId, path: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(path.as_bytes());
    hasher.write_u32(workload.0);
    hasher.finish()
}

#[cfg(test)]
mod tests;
