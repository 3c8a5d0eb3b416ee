//! The mounted cgroup hierarchies: from the kernel's cgroup ids to paths.
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

/// v1 controllers in the order in which their hierarchy identifies workloads
/// best: every container runtime creates a memory cgroup, fewer a blkio one.
const V1_PREFERENCE: [&str; 9] = [
    "memory", "cpu", "pids", "cpuacct", "blkio", "devices", "freezer", "cpuset", "net_cls",
];

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The path, inside the hierarchy, of the directory mounted there
    /// (`/` except inside cgroup namespaces and bind mounts).
    pub root: String,
    /// v1 controllers (`memory`, `name=systemd`, …); empty for v2.
    pub controllers: Vec<String>,
}

impl Mount {
    /// Whether it is the unified (v2) hierarchy.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// Every cgroup hierarchy in a `/proc/PID/mountinfo`, in its order.
pub fn parse_mountinfo(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    // proc(5): id parent major:minor root point options [optional…] - type source super-options
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let controllers = match kind {
        "cgroup2" => Vec::new(),
        "cgroup" => right
            .nth(1)?
            .split(',')
            .filter(|o| V1_PREFERENCE.contains(o) || o.starts_with("name="))
            .map(str::to_owned)
            .collect(),
        _ => return None,
    };
    if kind == "cgroup" && controllers.is_empty() {
        return None;
    }
    Some(Mount {
        point: PathBuf::from(unescape_octal(point)),
        root: unescape_octal(root),
        controllers,
    })
}

/// mountinfo writes blanks and the like as `\040`.
fn unescape_octal(s: &str) -> String {
    let mut out = Vec::with_capacity(s.len());
    let bytes = s.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let code = (bytes[i] == b'\\')
            .then(|| s.get(i + 1..i + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(bytes[i]));
        i += if code.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One line of `/proc/PID/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The hierarchy's v1 controllers; empty for v2.
    pub controllers: Vec<String>,
    /// The cgroup's path in that hierarchy.
    pub path: String,
}

/// The lines of a `/proc/PID/cgroup`, those that identify best first: v2,
/// then systemd's own, then v1 controllers.
pub fn parse_proc_cgroup(text: &str) -> Vec<Membership> {
    let mut found: Vec<Membership> = text
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            // The kernel marks a removed cgroup that still has a dying process.
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            Some(Membership {
                controllers: controllers
                    .split(',')
                    .filter(|c| !c.is_empty())
                    .map(str::to_owned)
                    .collect(),
                path: path.to_owned(),
            })
        })
        .collect();
    found.sort_by_key(|m| rank(&m.controllers));
    found
}

fn rank(controllers: &[String]) -> usize {
    if controllers.is_empty() {
        return 0;
    }
    if controllers.iter().any(|c| c == "name=systemd") {
        return 1;
    }
    V1_PREFERENCE
        .iter()
        .position(|p| controllers.iter().any(|c| c == p))
        .map_or(usize::MAX, |i| i + 2)
}

/// The v1 controller whose hierarchy identifies workloads best on this host,
/// `None` where all controllers are on v2. The kernel half reads a task's
/// cgroup there through `task->cgroups->subsys[X]`, `X` being `<name>_cgrp_id`
/// of BTF's `enum cgroup_subsys_id`; see [`subsys_enum_name`].
pub fn v1_controller() -> Option<&'static str> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    best_v1_controller(&parse_proc_cgroup(&text))
}

fn best_v1_controller(memberships: &[Membership]) -> Option<&'static str> {
    V1_PREFERENCE.into_iter().find(|preferred| {
        memberships
            .iter()
            .any(|m| m.controllers.iter().any(|c| c == preferred))
    })
}

/// The enumerator of BTF's `enum cgroup_subsys_id` for a v1 controller's name.
pub fn subsys_enum_name(controller: &str) -> String {
    // The kernel's names differ from the mount options' in one case.
    let subsys = if controller == "blkio" {
        "io"
    } else {
        controller
    };
    format!("{subsys}_cgrp_id")
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
}

/// A cgroup that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCgroup {
    /// Whether it is in the v2 hierarchy, else in that of [`v1_controller`].
    /// Ids of different hierarchies may be equal.
    pub is_v2: bool,
    /// The kernel's id.
    pub id: u64,
    /// Its directory.
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

    const HYBRID: &str = "\
22 1 0:21 / /sys rw shared:7 - sysfs sysfs rw
30 22 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:33 /docker/x /mnt/with\\040blank rw - cgroup cgroup rw,memory
";

    /// Checks that cgroup mounts are found among others, with v1 controllers.
    #[test]
    fn mounts_are_read_from_mountinfo() {
        let mounts = parse_mountinfo(HYBRID);
        assert_eq!(mounts.len(), 4);
        assert!(mounts[0].is_v2());
        assert_eq!(mounts[0].point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mounts[1].controllers, ["name=systemd"]);
        assert_eq!(mounts[2].controllers, ["cpu", "cpuacct"]);
        assert_eq!(mounts[3].point, Path::new("/mnt/with blank"));
        assert_eq!(mounts[3].root, "/docker/x");
    }

    /// Checks that a process's memberships are read and that the best comes first.
    #[test]
    fn memberships_are_ordered() {
        let text = "9:name=systemd:/a.service\n5:devices:/d\n4:memory:/m:x\n3:cpu,cpuacct:/c (deleted)\n0::/u\n";
        let found = parse_proc_cgroup(text);
        let paths: Vec<&str> = found.iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["/u", "/a.service", "/m:x", "/c", "/d"]);
    }

    /// Checks the choice of the v1 controller, and its name in BTF.
    #[test]
    fn memory_is_the_preferred_v1_controller() {
        let choose = |text| best_v1_controller(&parse_proc_cgroup(text));
        assert_eq!(choose("0::/"), None);
        assert_eq!(choose("1:name=systemd:/\n0::/"), None);
        assert_eq!(choose("2:pids:/\n1:cpu,cpuacct:/\n0::/"), Some("cpu"));
        assert_eq!(choose("2:pids:/\n1:memory:/\n0::/"), Some("memory"));
        assert_eq!(subsys_enum_name("memory"), "memory_cgrp_id");
        assert_eq!(subsys_enum_name("blkio"), "io_cgrp_id");
    }
}
