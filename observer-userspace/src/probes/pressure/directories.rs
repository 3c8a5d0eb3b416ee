//! From a cgroup's ids to its files: v2's by the id, those of v1's controllers by what a
//! member says.

use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use observer_identity::membership::{Membership, parse_proc_cgroup};
use rustc_hash::FxHashSet;

use super::cgroup::{Directories, Directory};
use crate::foreign::process;
use crate::identity::hierarchy::Hierarchies;
use crate::identity::mounts::{Mount, parse_mountinfo};

/// Directories that are looked at in the beginning to know which cgroups are older than
/// the daemon, at most.
const WALK_LIMIT: usize = 65_536;

/// Members that are asked where else they are, at most.
const MEMBERS: usize = 16;

/// Which cgroup, by the kernel's ids in both hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CgroupId {
    pub v2: u64,
    pub v1: u64,
}

/// A cgroup that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// As people call it.
    pub path: String,
    pub directories: Directories,
}

/// All hierarchies.
#[derive(Debug)]
pub(super) struct Finder {
    hierarchies: Hierarchies,
    mounts: Vec<Mount>,
}

impl Finder {
    /// Looks where hierarchies are mounted.
    pub(super) fn new() -> Self {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut mounts = parse_mountinfo(&text);
        // The whole hierarchy rather than a bind mount of a part of it.
        mounts.sort_by_key(|mount| mount.root.len());
        Self {
            hierarchies: Hierarchies::open(),
            mounts,
        }
    }

    /// Where the files of a cgroup are; `None` if it is gone.
    pub(super) fn find(&mut self, id: CgroupId) -> Option<Found> {
        let v2 = self.hierarchies.v2_path(id.v2);
        let v1 = self.hierarchies.v1_path(id.v1);
        let narrow = |path: &Option<String>| path.clone().filter(|path| path != "/");
        let path = narrow(&v2).or_else(|| narrow(&v1));
        let path = path.or_else(|| v2.clone()).or_else(|| v1.clone())?;
        let memberships = self.memberships(v2.as_deref(), v1.as_deref());
        let unified = || {
            let mount = self.mounts.iter().find(|mount| mount.is_v2())?;
            directory(mount, v2.as_deref()?)
        };
        let of = |controller: &str| {
            let has = |names: &[String]| names.iter().any(|name| name == controller);
            let mount = self.mounts.iter().find(|mount| has(&mount.controllers));
            let Some(mount) = mount else {
                return unified();
            };
            let is_its = |it: &&Membership| has(&it.controllers);
            let said = memberships.iter().find(is_its).and_then(|it| {
                let within = it.path.strip_prefix(mount.root.trim_end_matches('/'));
                within.map(str::to_owned)
            });
            // The hierarchy by which workloads are told apart is known without members.
            let is_chosen = self.hierarchies.v1_mount() == Some(mount.point.as_path());
            let path = if is_chosen { v1.clone() } else { said };
            directory(mount, &path?)
        };
        Some(Found {
            path,
            directories: Directories {
                unified: unified(),
                cpu: of("cpu"),
                memory: of("memory"),
                pids: of("pids"),
            },
        })
    }

    /// Where a member stands in all hierarchies: one that is in the cgroup of these paths
    /// in both, and not on its way into one of them.
    fn memberships(&self, v2: Option<&str>, v1: Option<&str>) -> Vec<Membership> {
        let chosen = self.hierarchies.v1_mount();
        let is_chosen = |mount: &&Mount| Some(mount.point.as_path()) == chosen;
        let chosen = self.mounts.iter().find(is_chosen);
        let is_at = |found: &[Membership], mount: Option<&Mount>, path: Option<&str>| {
            let (Some(mount), Some(path)) = (mount, path) else {
                return true;
            };
            let same = |it: &&Membership| it.controllers == mount.controllers;
            let said = found.iter().find(same);
            said.is_none_or(|it| {
                it.path.strip_prefix(mount.root.trim_end_matches('/')) == Some(path)
            })
        };
        let unified = self.mounts.iter().find(|mount| mount.is_v2());
        let members = self.hierarchies.members(v2, v1).into_iter();
        let said = members.take(MEMBERS).filter_map(process::cgroup);
        let mut said = said.map(|text| parse_proc_cgroup(&text));
        let found = said.find(|found| is_at(found, unified, v2) && is_at(found, chosen, v1));
        found.unwrap_or_default()
    }

    /// The processes in it.
    pub(super) fn members(&self, directories: &Directories) -> Vec<u32> {
        let all = [&directories.unified, &directories.memory, &directories.pids];
        let Some(first) = all.into_iter().flatten().next() else {
            return Vec::new();
        };
        let text = fs::read_to_string(first.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The ids of all cgroups that are there.
    pub(super) fn all(&self) -> FxHashSet<u64> {
        let points = [self.hierarchies.v2_mount(), self.hierarchies.v1_mount()];
        let mut found = FxHashSet::default();
        for point in points.into_iter().flatten() {
            walk(point, &mut found);
        }
        found
    }
}

/// The cgroup at `path`; `None` of the hierarchy's begin, which is the host.
fn directory(mount: &Mount, path: &str) -> Option<Directory> {
    let within = path.trim_matches('/');
    (!within.is_empty()).then(|| Directory {
        path: mount.point.join(within),
        root: mount.point.clone(),
        is_v2: mount.is_v2(),
    })
}

fn walk(root: &Path, found: &mut FxHashSet<u64>) {
    let mut pending: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if found.len() >= WALK_LIMIT {
                return;
            }
            found.insert(entry.ino());
            pending.push(entry.path());
        }
    }
}
