//! Which cgroup hierarchies are mounted, and which of v1 tells workloads apart.

use std::fs;
use std::path::PathBuf;

use observer_identity::text::unescaped;

use observer_identity::membership::{Membership, V1_PREFERENCE, parse_proc_cgroup};

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
    unescaped::<3>(s, "\\", 8)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

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
