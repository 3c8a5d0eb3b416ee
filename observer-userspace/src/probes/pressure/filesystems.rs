//! Space and inodes of mounted file systems. Each is asked by a reader of its own, since
//! one that is broken may never answer; those on a network are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use observer_identity::text::unescaped;
use observer_signals::attribute::SharedAttributes;
use observer_signals::{Attribute, PointValue};

use super::limits::{Limit, Trends};
use super::metrics::{FILESYSTEM_LIMIT, FILESYSTEM_USAGE};
use super::told::Told;
use crate::foreign::{SHORTLY, Subject, ask};

/// File systems that are asked, at most.
const MOST: usize = 64;

/// Those that have room to run out of though they aren't on a device.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Those that others' servers answer for.
const NETWORK: [&str; 12] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "9p",
    "virtiofs",
    "ncpfs",
];

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    device: (u32, u32),
    point: PathBuf,
    kind: String,
    source: String,
}

/// All, and how full they become.
#[derive(Debug, Default)]
pub(super) struct FileSystems {
    trends: Trends,
    /// On a network, by where they are mounted: was said.
    skipped: Vec<PathBuf>,
}

/// Whether it is on a network, or answered for by a program.
fn is_remote(kind: &str) -> bool {
    NETWORK.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.")
}

/// See proc_pid_mountinfo(5).
fn parse(line: &str) -> Option<Mounted> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device = left.next()?.split_once(':')?;
    let (_, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    Some(Mounted {
        device: (device.0.parse().ok()?, device.1.parse().ok()?),
        point: PathBuf::from(unescaped::<3>(point, "\\", 8)),
        kind: right.next()?.to_owned(),
        source: unescaped::<3>(right.next()?, "\\", 8),
    })
}

/// Those that can run out, each once: where it is mounted first, unless something else is
/// mounted over that.
fn mounted(mountinfo: &str) -> (Vec<Mounted>, Vec<Mounted>) {
    let mut by_device = BTreeMap::new();
    let mut remote = Vec::new();
    let all: Vec<Mounted> = mountinfo.lines().filter_map(parse).collect();
    for (at, found) in all.iter().enumerate() {
        let is_over = |other: &Mounted| other.point == found.point && other.device != found.device;
        if all.iter().skip(at + 1).any(is_over) {
            continue;
        }
        if is_remote(&found.kind) {
            remote.push(found.clone());
        } else if found.source.starts_with("/dev/")
            || IN_MEMORY.contains(&found.kind.as_str())
            || found.kind == "zfs"
            || found.kind == "btrfs"
        {
            by_device
                .entry(found.device)
                .or_insert_with(|| found.clone());
        }
    }
    (by_device.into_values().take(MOST).collect(), remote)
}

/// Blocks and inodes.
struct Room {
    block: u64,
    blocks: u64,
    free: u64,
    available: u64,
    inodes: u64,
    inodes_available: u64,
}

fn room(point: &Path) -> Option<Room> {
    let found = statvfs(point).ok()?;
    Some(Room {
        block: found.fragment_size(),
        blocks: found.blocks(),
        free: found.blocks_free(),
        available: found.blocks_available(),
        inodes: found.files(),
        inodes_available: found.files_available(),
    })
}

impl FileSystems {
    /// Asks all, at `now` (seconds).
    pub(super) fn look(&mut self, now: f64) -> Vec<Told> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (local, remote) = mounted(&mountinfo);
        self.say(&remote);
        let mut out = Vec::new();
        for one in local {
            let (major, minor) = one.device;
            let point = one.point.clone();
            let asked = ask(Subject::Device(major, minor), SHORTLY, move |_| {
                room(&point)
            });
            // What doesn't answer is named there.
            if let Ok(Some(room)) = asked
                && room.blocks > 0
            {
                self.tell(&one, &room, now, &mut out);
            }
        }
        self.trends.prune();
        out
    }

    fn tell(&mut self, one: &Mounted, room: &Room, now: f64, out: &mut Vec<Told>) {
        let point = Attribute::new(
            "system.filesystem.mountpoint",
            one.point.display().to_string(),
        );
        let device = Attribute::new("system.device", one.source.clone());
        let kind = Attribute::new("system.filesystem.type", one.kind.clone());
        let bytes = |blocks: u64| {
            let bytes = blocks.saturating_mul(room.block);
            PointValue::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
        };
        for (state, blocks) in [
            ("used", room.blocks.saturating_sub(room.free)),
            ("free", room.available),
            ("reserved", room.free.saturating_sub(room.available)),
        ] {
            let state = Attribute::new("system.filesystem.state", state);
            let attributes = [&device, &point, &kind, &state].into_iter().cloned();
            out.push(Told {
                def: &FILESYSTEM_USAGE,
                attributes: attributes.collect(),
                value: bytes(blocks),
            });
        }
        let attributes = [&device, &point, &kind].into_iter().cloned();
        out.push(Told {
            def: &FILESYSTEM_LIMIT,
            attributes: attributes.collect::<SharedAttributes>(),
            value: bytes(room.blocks),
        });
        // To everybody but root it is full when what is reserved is left.
        let used = room.blocks.saturating_sub(room.free);
        let inodes = room.inodes.saturating_sub(room.inodes_available);
        for (name, used, most) in [
            ("disk_space", used, used.saturating_add(room.available)),
            ("inodes", inodes, room.inodes),
        ] {
            let limit = Limit {
                name,
                attributes: &[device.clone(), point.clone()],
                used: used as f64,
                most: most as f64,
            };
            self.trends.tell(&limit, now, out);
        }
    }

    /// Names those that aren't asked, once.
    fn say(&mut self, remote: &[Mounted]) {
        let is_new = |one: &&Mounted| !self.skipped.contains(&one.point);
        let new: Vec<PathBuf> = remote
            .iter()
            .filter(is_new)
            .map(|one| one.point.clone())
            .collect();
        if new.is_empty() {
            return;
        }
        let names: Vec<String> = new
            .iter()
            .take(8)
            .map(|it| it.display().to_string())
            .collect();
        tracing::info!(
            probe = "pressure",
            "{} file systems aren't asked how full they are, as they are on a network or a program's: {}",
            new.len(),
            names.join(", ")
        );
        self.skipped.extend(new);
        let is_there = |point: &PathBuf| remote.iter().any(|one| one.point == *point);
        self.skipped.retain(is_there);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 254:0 / / rw,relatime - ext4 /dev/vda rw
26 25 0:5 / /proc rw - proc proc rw
27 25 0:30 / /dev/shm rw - tmpfs tmpfs rw
28 25 254:0 /run /run/netns rw - ext4 /dev/vda rw
29 25 7:1 / /mnt/a\\040b rw shared:1 - ext4 /dev/loop1 rw
30 25 0:40 / /net rw - nfs4 server:/x rw
31 25 0:41 / /home/x/.gvfs rw - fuse.gvfsd gvfsd rw
32 25 7:2 / /dev/shm rw - ext4 /dev/loop2 rw
";

    /// Checks that each file system is asked once where it is first mounted, that what is
    /// hidden below another isn't, and that network file systems aren't.
    #[test]
    fn which_are_asked() {
        let (local, remote) = mounted(MOUNTS);
        let points = |all: &[Mounted]| {
            let points = all.iter().map(|one| one.point.display().to_string());
            points.collect::<Vec<_>>()
        };
        assert_eq!(points(&local), ["/mnt/a b", "/dev/shm", "/"]);
        assert_eq!(points(&remote), ["/net", "/home/x/.gvfs"]);
    }

    /// Checks that the root's size is what statvfs says, and that parts add up to it.
    #[test]
    fn parts_add_up() {
        let told = FileSystems::default().look(1.0);
        let of_root = |told: &&Told| {
            let mut attributes = told.attributes.iter();
            attributes.any(|a| a.key == "system.filesystem.mountpoint" && a.value == "/".into())
        };
        let value = |told: &Told| match told.value {
            PointValue::Int(value) => value,
            _ => 0,
        };
        let sum = |name: &str| -> i64 {
            let points = told.iter().filter(of_root);
            points.filter(|told| told.def.name == name).map(value).sum()
        };
        let size = statvfs("/").map_or(0, |it| it.blocks() * it.fragment_size());
        if told.iter().any(|told| of_root(&told)) {
            assert_eq!(sum("system.filesystem.limit") as u64, size);
            assert_eq!(sum("system.filesystem.usage") as u64, size);
        }
    }
}
