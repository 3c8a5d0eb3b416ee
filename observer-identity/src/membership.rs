//! Where a process stands in the cgroup hierarchies, as `/proc/PID/cgroup` says.

/// v1 controllers in the order in which their hierarchy identifies workloads
/// best: every container runtime creates a memory cgroup, fewer a blkio one.
pub const V1_PREFERENCE: [&str; 9] = [
    "memory", "cpu", "pids", "cpuacct", "blkio", "devices", "freezer", "cpuset", "net_cls",
];

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a process's memberships are read and that the best comes first.
    #[test]
    fn memberships_are_ordered() {
        let text = "9:name=systemd:/a.service\n5:devices:/d\n4:memory:/m:x\n3:cpu,cpuacct:/c (deleted)\n0::/u\n";
        let found = parse_proc_cgroup(text);
        let paths: Vec<&str> = found.iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["/u", "/a.service", "/m:x", "/c", "/d"]);
    }
}
