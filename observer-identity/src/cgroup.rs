//! What a cgroup's path says: container, pod, systemd unit.
//!
//! Container runtimes and service managers name cgroups after what they run;
//! this file reads those names and nothing else: no I/O.

use crate::machine;

/// What the name of a cgroup reveals about the processes in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupIdentity {
    /// The innermost container's id (`container.id`).
    pub container_id: Option<String>,
    /// The Kubernetes pod's uid (`k8s.pod.uid`), with dashes.
    pub pod_uid: Option<String>,
    /// The innermost systemd unit, with its suffix (`.service`, `.scope`).
    /// Inside a container: only units of the container's own systemd.
    pub unit: Option<String>,
    /// What the innermost container is called where its cgroup says so: systemd's and
    /// libvirt's machines, LXC, LXD, tasks of Nomad.
    pub container_name: Option<String>,
}

impl CgroupIdentity {
    /// What is known from either; `self` is believed first. A container seen
    /// in one hierarchy hides units seen in another one, as those would be the
    /// runtime's and not the container's.
    pub fn or(self, other: Self) -> Self {
        let unit = match (self.is_container(), other.is_container()) {
            (true, false) => self.unit,
            (false, true) => other.unit,
            _ => self.unit.or(other.unit),
        };
        Self {
            container_id: self.container_id.or(other.container_id),
            pod_uid: self.pod_uid.or(other.pod_uid),
            unit,
            container_name: self.container_name.or(other.container_name),
        }
    }

    /// What the paths of one process say together, best first.
    pub fn of_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let paths = paths.into_iter();
        paths.fold(Self::default(), |known, path| known.or(parse_path(path)))
    }

    /// Whether it is a container's.
    pub fn is_container(&self) -> bool {
        self.container_id.is_some() || self.container_name.is_some()
    }
}

/// Reads a cgroup path as `/proc/PID/cgroup` shows it, e.g.
/// `/kubepods/burstable/pod<uid>/<id>` or `/system.slice/nginx.service`.
pub fn parse_path(path: &str) -> CgroupIdentity {
    let mut found = CgroupIdentity::default();
    // systemd's cgroupfs-style notation `slice:runtime:id` is one directory
    // name that holds two levels.
    let segments: Vec<&str> = path
        .split('/')
        .flat_map(split_runtime_notation)
        .filter(|s| !s.is_empty() && *s != "..")
        .collect();
    let in_ecs = segments.first() == Some(&"ecs");
    for (i, segment) in segments.iter().enumerate() {
        if let Some(uid) = pod_uid(segment) {
            found.pod_uid = Some(uid);
            // The pod's own units: whatever encloses it is the node's.
            found.unit = None;
            found.container_name = None;
        } else if let Some(id) = container_id(segment, in_ecs) {
            found.container_id = Some(id.to_owned());
            // What encloses it may be one with a name (docker in LXC, in Nomad).
            found.container_name = None;
            // What encloses a container is its runtime's business, except
            // where a service *is* the container (`podman --cgroups=split`).
            let is_payload = segment.starts_with("libpod-payload-");
            let around = i.checked_sub(1).and_then(|before| segments.get(before));
            if !(is_payload && around.is_some_and(|around| around.ends_with(".service"))) {
                found.unit = None;
            }
        } else if let Some(name) = machine::name(segments.get(..i).unwrap_or_default(), segment) {
            found.container_name = Some(name);
            found.container_id = None;
            found.unit = None;
        } else if is_unit(segment) {
            found.unit = Some(unescape_directory(segment).to_owned());
        }
    }
    found
}

/// Splits `kubepods-pod<uid>.slice:cri-containerd:<id>` into slice and id.
fn split_runtime_notation(segment: &str) -> impl Iterator<Item = &str> {
    let parts: Vec<&str> = match segment.split(':').collect::<Vec<_>>()[..] {
        [slice, _runtime, id] if is_hex_id(id) => vec![slice, id],
        _ => vec![segment],
    };
    parts.into_iter()
}

/// systemd prefixes names that would clash with cgroup attribute files with `_`.
fn unescape_directory(segment: &str) -> &str {
    segment.strip_prefix('_').unwrap_or(segment)
}

fn is_unit(segment: &str) -> bool {
    let named = |suffix| {
        segment
            .strip_suffix(suffix)
            .is_some_and(|n: &str| !n.is_empty())
    };
    (named(".service") || named(".scope")) && !is_helper(segment)
}

/// Monitors that runtimes start beside a container: neither in it nor a unit
/// that a person would look for.
fn is_helper(segment: &str) -> bool {
    segment.starts_with("crio-conmon-") || segment.starts_with("libpod-conmon-")
}

/// The container id in a path segment, when it names a container.
fn container_id(segment: &str, in_ecs: bool) -> Option<&str> {
    if is_helper(segment) {
        return None;
    }
    // docker-<id>.scope, cri-containerd-<id>.scope, crio-<id>.scope,
    // libpod-<id>.scope, nerdctl-<id>.scope; the bare id under cgroupfs.
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
    if is_hex_id(id) {
        return Some(id);
    }
    // Fargate: /ecs/<task>/<task>-<number>; the whole is the container's id.
    let fargate = in_ecs
        && segment.rsplit_once('-').is_some_and(|(task, number)| {
            task.len() == 32
                && is_lower_hex(task)
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        });
    fargate.then_some(segment)
}

/// The pod uid in a path segment: `pod<uid>` under cgroupfs,
/// `kubepods-burstable-pod<uid>.slice` (dashes as `_`) under systemd.
fn pod_uid(segment: &str) -> Option<String> {
    let uid = match segment.strip_suffix(".slice") {
        Some(slice) if slice.contains("kubepods") => slice.rsplit_once("-pod")?.1,
        Some(_) => return None,
        None => segment.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    // Static pods have a bare hash; others an RFC 4122 UUID.
    let is_hash = uid.len() == 32 && is_lower_hex(&uid);
    let is_uuid = uid.len() == 36
        && uid
            .split('-')
            .map(|part| is_lower_hex(part).then_some(part.len()))
            .eq([8, 4, 4, 4, 12].map(Some));
    (is_hash || is_uuid).then_some(uid)
}

/// Runtimes use 256-bit ids in lower-case hex.
fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && is_lower_hex(id)
}

fn is_lower_hex(s: &str) -> bool {
    s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
