//! Cgroup ids and paths: from the one to the other, and to the members.
//!
//! A cgroup's id is the inode number of its directory (kernfs), so it can be
//! opened directly by file handle, in constant time; where that isn't allowed
//! the hierarchy is walked once and remembered.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::mounts::{Mount, parse_mountinfo, v1_controller};

/// A walk stops after this many directories: a host with more must be looked
/// up by handle, and the daemon must not spend seconds of CPU on names.
const WALK_LIMIT: usize = 65_536;

/// `FILEID_KERNFS` of the kernel's `include/linux/exportfs.h`: the handle is
/// the 64-bit kernfs id.
const FILEID_KERNFS: i32 = 0xfe;

/// `struct file_handle` of open_by_handle_at(2) with kernfs's 8 bytes.
#[repr(C)]
struct KernfsHandle {
    handle_bytes: u32,
    handle_type: i32,
    id: u64,
}

/// Turns cgroup ids into paths, for one hierarchy.
#[derive(Debug)]
struct Hierarchy {
    mount: Mount,
    /// Open on the mount point; what handles are resolved against.
    directory: Option<File>,
    /// What a walk found; only filled where handles are refused.
    walked: HashMap<u64, String>,
    handles_work: bool,
}

impl Hierarchy {
    fn open(mount: Mount) -> Self {
        let directory = File::open(&mount.point).ok();
        Self {
            handles_work: directory.is_some(),
            mount,
            directory,
            walked: HashMap::new(),
        }
    }

    fn path_of(&mut self, id: u64) -> Option<String> {
        if self.handles_work {
            match self.by_handle(id) {
                Ok(path) => return path,
                Err(errno) => {
                    tracing::debug!(
                        "cgroups in {} are found by walking: open_by_handle_at: {errno}",
                        self.mount.point.display()
                    );
                    self.handles_work = false;
                }
            }
        }
        if !self.walked.contains_key(&id) {
            self.walked = walk(&self.mount.point);
        }
        self.walked.get(&id).cloned()
    }

    /// `Ok(None)`: no such cgroup (any more); `Err`: handles don't work here.
    fn by_handle(&self, id: u64) -> Result<Option<String>, Errno> {
        let Some(directory) = &self.directory else {
            return Err(Errno::EBADF);
        };
        let mut handle = KernfsHandle {
            handle_bytes: size_of::<u64>() as u32,
            handle_type: FILEID_KERNFS,
            id,
        };
        // SAFETY: `handle` has the layout of `struct file_handle` followed by
        // the 8 bytes that `handle_bytes` announces, and outlives the call.
        let fd = unsafe {
            libc::open_by_handle_at(
                directory.as_raw_fd(),
                (&raw mut handle).cast(),
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        if fd < 0 {
            return match Errno::last() {
                Errno::ESTALE | Errno::ENOENT => Ok(None),
                other => Err(other),
            };
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        let opened = unsafe { File::from_raw_fd(fd) };
        let Ok(target) = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())) else {
            return Ok(None);
        };
        Ok(below(&self.mount.point, &target))
    }
}

/// `path` relative to `mount`, with a leading slash.
fn below(mount: &Path, path: &Path) -> Option<String> {
    let relative = path.strip_prefix(mount).ok()?;
    Some(format!("/{}", relative.to_string_lossy()))
}

fn walk(root: &Path) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        if found.len() >= WALK_LIMIT {
            break;
        }
        if let (Ok(meta), Some(path)) = (fs::metadata(&directory), below(root, &directory)) {
            found.insert(meta.ino(), path);
        }
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        pending.extend(
            entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
    found
}

/// All hierarchies that workloads are identified by.
#[derive(Debug)]
pub struct Hierarchies {
    v2: Option<Hierarchy>,
    v1: Option<Hierarchy>,
}

impl Hierarchies {
    /// Opens the v2 hierarchy and the v1 hierarchy of [`v1_controller`], as far
    /// as they are mounted.
    pub fn open() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map(|text| parse_mountinfo(&text))
            .unwrap_or_default();
        let controller = v1_controller();
        let find = |wanted: &dyn Fn(&Mount) -> bool| {
            // The whole hierarchy rather than a bind mount of a part of it.
            mounts
                .iter()
                .filter(|m| wanted(m))
                .min_by_key(|m| m.root.len())
                .cloned()
                .map(Hierarchy::open)
        };
        Self {
            v2: find(&Mount::is_v2),
            v1: controller.and_then(|c| find(&|m| m.controllers.iter().any(|o| o == c))),
        }
    }

    /// Where v2 is mounted.
    pub fn v2_mount(&self) -> Option<&Path> {
        self.v2.as_ref().map(|h| h.mount.point.as_path())
    }

    /// Where the v1 hierarchy of [`v1_controller`] is mounted.
    pub fn v1_mount(&self) -> Option<&Path> {
        self.v1.as_ref().map(|h| h.mount.point.as_path())
    }

    /// The path in the v2 hierarchy of the cgroup with this id; `None` when it
    /// is gone, unknown or v2 isn't mounted.
    pub fn v2_path(&mut self, id: u64) -> Option<String> {
        self.v2.as_mut()?.path_of(id)
    }

    /// The same for the v1 hierarchy of [`v1_controller`].
    pub fn v1_path(&mut self, id: u64) -> Option<String> {
        self.v1.as_mut()?.path_of(id)
    }

    /// The processes in the cgroup with these paths, as far as they are known:
    /// of the v2 hierarchy unless that tells nothing (`/`).
    pub fn members(&self, v2_path: Option<&str>, v1_path: Option<&str>) -> Vec<u32> {
        let narrow = |path: &Option<&str>| path.is_some_and(|path| path != "/");
        let both = [(&self.v2, v2_path), (&self.v1, v1_path)];
        let chosen = both
            .iter()
            .find(|(_, path)| narrow(path))
            .or_else(|| both.iter().find(|(_, path)| path.is_some()));
        let Some((Some(hierarchy), Some(path))) = chosen else {
            return Vec::new();
        };
        let directory = hierarchy.mount.point.join(path.trim_start_matches('/'));
        fs::read_to_string(directory.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }
}

/// A cgroup that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCgroup {
    /// Whether it is in the v2 hierarchy, else in that of [`v1_controller`].
    /// Ids of different hierarchies may be equal.
    pub is_v2: bool,
    /// The kernel's id.
    pub id: u64,
    /// Directory in the mounted hierarchy.
    pub directory: PathBuf,
}

/// The cgroup that a user means by `path`: a directory of a cgroup file
/// system, or a path as `/proc/PID/cgroup` shows it, which may then exist in
/// both hierarchies.
///
/// # Errors
/// There is no such cgroup, or it is in a hierarchy that doesn't identify
/// workloads.
pub fn find_cgroup(path: &Path) -> anyhow::Result<Vec<FoundCgroup>> {
    let hierarchies = Hierarchies::open();
    let mounts = [
        (true, hierarchies.v2_mount()),
        (false, hierarchies.v1_mount()),
    ];
    let mounts = || {
        mounts
            .iter()
            .filter_map(|(is_v2, point)| Some((*is_v2, (*point)?)))
    };
    let found = |is_v2, directory: PathBuf| {
        let id = cgroup_id(&directory)?;
        anyhow::Ok(FoundCgroup {
            is_v2,
            id,
            directory,
        })
    };
    if let Ok(directory) = path.canonicalize()
        && cgroup_id(&directory).is_ok()
    {
        let (is_v2, _) = mounts()
            .find(|(_, point)| directory.starts_with(point))
            .ok_or_else(|| {
                let names: Vec<String> =
                    mounts().map(|(_, point)| point.display().to_string()).collect();
                anyhow::anyhow!(
                    "cgroup {} is in a hierarchy that isn't used to tell workloads apart; use one below {}",
                    path.display(),
                    names.join(" or ")
                )
            })?;
        return Ok(vec![found(is_v2, directory)?]);
    }
    let relative = path.strip_prefix("/").unwrap_or(path);
    let all: Vec<FoundCgroup> = mounts()
        .map(|(is_v2, point)| (is_v2, point.join(relative)))
        .filter(|(_, directory)| directory.is_dir())
        .map(|(is_v2, directory)| found(is_v2, directory))
        .collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(
        !all.is_empty(),
        "there is no cgroup {}; give a directory below /sys/fs/cgroup or a path as in /proc/PID/cgroup",
        path.display()
    );
    Ok(all)
}

/// The kernel's id of the cgroup directory at `path` (v1 or v2).
///
/// # Errors
/// The path doesn't exist, or isn't a directory of a cgroup hierarchy.
pub fn cgroup_id(path: &Path) -> anyhow::Result<u64> {
    use anyhow::Context;
    use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

    let kind = statfs(path)
        .with_context(|| format!("cgroup {}", path.display()))?
        .filesystem_type();
    anyhow::ensure!(
        kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC,
        "{} is not in a cgroup file system (they are usually below /sys/fs/cgroup)",
        path.display()
    );
    anyhow::ensure!(path.is_dir(), "{} is not a directory", path.display());
    kernfs_id(path).with_context(|| format!("cgroup {}", path.display()))
}

/// By `name_to_handle_at`, as inode numbers are truncated on 32-bit systems
/// and some container sandboxes fake them; by inode number where refused.
fn kernfs_id(path: &Path) -> std::io::Result<u64> {
    let name = CString::new(OsStr::as_bytes(path.as_os_str()))?;
    let mut handle = KernfsHandle {
        handle_bytes: size_of::<u64>() as u32,
        handle_type: 0,
        id: 0,
    };
    let mut mount_id = 0;
    // SAFETY: `name` is NUL-terminated; `handle` has the layout of `struct
    // file_handle` with room for the 8 bytes that it announces.
    let status = unsafe {
        libc::name_to_handle_at(
            libc::AT_FDCWD,
            name.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount_id,
            0,
        )
    };
    if status == 0 && handle.handle_type == FILEID_KERNFS {
        return Ok(handle.id);
    }
    Ok(fs::metadata(path)?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_identity::membership::parse_proc_cgroup;

    /// Checks that our own cgroup is found by its inode number, by handle (where
    /// we may) and by walking, at the path that the kernel reports.
    #[test]
    fn handles_and_walking_agree() {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
        let own = fs::read_to_string("/proc/self/cgroup").expect("procfs");
        let own = parse_proc_cgroup(&own);
        let mut compared = 0;
        for mount in parse_mountinfo(&mountinfo) {
            let Some(membership) = own.iter().find(|m| m.controllers == mount.controllers) else {
                continue;
            };
            let path = membership.path.trim_start_matches('/');
            // A namespace or bind mount may hide where we really are.
            let Ok(meta) = fs::metadata(mount.point.join(path)) else {
                continue;
            };
            let mut hierarchy = Hierarchy::open(mount);
            let expected = Some(membership.path.clone());
            assert_eq!(hierarchy.path_of(meta.ino()), expected);
            hierarchy.handles_work = false;
            assert_eq!(hierarchy.path_of(meta.ino()), expected);
            assert_eq!(hierarchy.path_of(u64::MAX), None);
            compared += 1;
        }
        assert!(compared > 0, "no cgroup hierarchy is mounted");
    }
}
