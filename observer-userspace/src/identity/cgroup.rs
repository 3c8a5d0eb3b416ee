//! What a cgroup's path says: container, pod, systemd unit.
//!
//! Container runtimes and service managers name cgroups after what they run;
//! this file reads those names and nothing else: no I/O.

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
}

impl CgroupIdentity {
    /// What is known from either; `self` is believed first. A container seen
    /// in one hierarchy hides units seen in another one, as those would be the
    /// runtime's and not the container's.
    pub fn or(self, other: Self) -> Self {
        let unit = match (&self.container_id, &other.container_id) {
            (Some(_), None) => self.unit,
            (None, Some(_)) => other.unit,
            _ => self.unit.or(other.unit),
        };
        Self {
            container_id: self.container_id.or(other.container_id),
            pod_uid: self.pod_uid.or(other.pod_uid),
            unit,
        }
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
        } else if let Some(id) = container_id(segment, in_ecs) {
            found.container_id = Some(id.to_owned());
            // What encloses a container is its runtime's business, except
            // where a service *is* the container (`podman --cgroups=split`).
            let is_payload = segment.starts_with("libpod-payload-");
            if !(is_payload && i > 0 && segments[i - 1].ends_with(".service")) {
                found.unit = None;
            }
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
mod tests {
    use super::*;

    const ID: &str = "3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
    const INNER: &str = "aaaa0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
    const UID: &str = "a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11";
    const UID_SLICE: &str = "a3d1bf5e_4c2f_4f0b_9c2e_0c6b1e6f2d11";
    const TASK: &str = "34dc0b5e626f2c5c4c5170e34b10e765";

    /// Checks that the path forms of the common runtimes are understood. `<id>`,
    /// `<inner>`, `<uid>`, `<uid_>` and `<task>` stand for the constants above.
    #[test]
    fn containers_pods_and_units_are_found_in_paths() {
        // path, container, pod, unit
        let table: &[(&str, Option<&str>, bool, Option<&str>)] = &[
            ("/", None, false, None),
            ("/user.slice", None, false, None),
            (
                "/system.slice/nginx.service",
                None,
                false,
                Some("nginx.service"),
            ),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                None,
                false,
                Some("getty@tty1.service"),
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                None,
                false,
                Some("session-3.scope"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service",
                None,
                false,
                Some("app-foo.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/init.scope",
                None,
                false,
                Some("init.scope"),
            ),
            (
                "/system.slice/delegated.service/workers/3",
                None,
                false,
                Some("delegated.service"),
            ),
            ("/init.scope", None, false, Some("init.scope")),
            // Docker
            ("/docker/<id>", Some("<id>"), false, None),
            ("/system.slice/docker-<id>.scope", Some("<id>"), false, None),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<id>.scope",
                Some("<id>"),
                false,
                None,
            ),
            ("/docker/<id>/docker/<inner>", Some("<inner>"), false, None),
            (
                "/docker/<id>/system.slice/nginx.service",
                Some("<id>"),
                false,
                Some("nginx.service"),
            ),
            (
                "/docker/<id>/init.scope",
                Some("<id>"),
                false,
                Some("init.scope"),
            ),
            ("/actions_job/<id>", Some("<id>"), false, None),
            // Kubernetes, cgroupfs driver
            (
                "/kubepods/burstable/pod<uid>/<id>",
                Some("<id>"),
                true,
                None,
            ),
            (
                "/kubepods/besteffort/pod<uid>/<id>",
                Some("<id>"),
                true,
                None,
            ),
            ("/kubepods/pod<uid>/<id>", Some("<id>"), true, None),
            (
                "/kubepods/burstable/pod<uid>/crio-<id>",
                Some("<id>"),
                true,
                None,
            ),
            ("/kubepods/burstable/pod<uid>", None, true, None),
            // Kubernetes, systemd driver
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope",
                Some("<id>"),
                true,
                None,
            ),
            (
                "/kubepods.slice/kubepods-pod<uid_>.slice/docker-<id>.scope",
                Some("<id>"),
                true,
                None,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid_>.slice/crio-<id>.scope",
                Some("<id>"),
                true,
                None,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid_>.slice/crio-<id>.scope/container",
                Some("<id>"),
                true,
                None,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/crio-conmon-<id>.scope",
                None,
                true,
                None,
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod<uid_>.slice:cri-containerd:<id>",
                Some("<id>"),
                true,
                None,
            ),
            // kind: Kubernetes in docker
            (
                "/docker/<id>/kubelet/kubepods/burstable/pod<uid>/<inner>",
                Some("<inner>"),
                true,
                None,
            ),
            (
                "/system.slice/docker-<id>.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod<uid_>.slice/cri-containerd-<inner>.scope",
                Some("<inner>"),
                true,
                None,
            ),
            // podman
            (
                "/machine.slice/libpod-<id>.scope",
                Some("<id>"),
                false,
                None,
            ),
            (
                "/machine.slice/libpod-<id>.scope/container",
                Some("<id>"),
                false,
                None,
            ),
            ("/libpod_parent/libpod-<id>", Some("<id>"), false, None),
            ("/machine.slice/libpod-conmon-<id>.scope", None, false, None),
            (
                "/machine.slice/machine-libpod_pod_<inner>.slice/libpod-<id>.scope",
                Some("<id>"),
                false,
                None,
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
                Some("<id>"),
                false,
                None,
            ),
            (
                "/system.slice/web.service/libpod-payload-<id>",
                Some("<id>"),
                false,
                Some("web.service"),
            ),
            // containerd without Kubernetes
            ("/default/<id>", Some("<id>"), false, None),
            (
                "/system.slice/nerdctl-<id>.scope",
                Some("<id>"),
                false,
                None,
            ),
            ("/k8s.io/<id>", Some("<id>"), false, None),
            // ECS
            ("/ecs/<task>/<id>", Some("<id>"), false, None),
            ("/ecs/prod/<task>/<id>", Some("<id>"), false, None),
            (
                "/ecs/<task>/<task>-3057940393",
                Some("<task>-3057940393"),
                false,
                None,
            ),
            // seen from inside another cgroup namespace
            ("/../<id>", Some("<id>"), false, None),
            ("/../../burstable/pod<uid>/<id>", Some("<id>"), true, None),
            // not containers
            ("/<task>", None, false, None),
            ("/process_api/<task>", None, false, None),
            ("/<task>-12", None, false, None),
            ("/podcast/pod-server", None, false, None),
            (
                "/system.slice/pod<task>.service",
                None,
                false,
                Some("pod<task>.service"),
            ),
            ("/.service", None, false, None),
        ];
        let fill = |s: &str| {
            s.replace("<id>", ID)
                .replace("<inner>", INNER)
                .replace("<uid>", UID)
                .replace("<uid_>", UID_SLICE)
                .replace("<task>", TASK)
        };
        for (path, container, pod, unit) in table {
            let expected = CgroupIdentity {
                container_id: container.map(fill),
                pod_uid: pod.then(|| UID.to_owned()),
                unit: unit.map(fill),
            };
            assert_eq!(parse_path(&fill(path)), expected, "{path}");
        }
    }

    /// Checks that a static pod's hash, which has no dashes, is a pod uid too.
    #[test]
    fn static_pods_have_a_hash_for_uid() {
        let path = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{TASK}.slice/crio-{ID}.scope"
        );
        assert_eq!(parse_path(&path).pod_uid.as_deref(), Some(TASK));
    }

    /// Checks that what one hierarchy knows completes what another one knows,
    /// and that a runtime's unit doesn't become its container's.
    #[test]
    fn hierarchies_complete_each_other() {
        let container = parse_path(&format!("/docker/{ID}"));
        let unit = parse_path("/system.slice/docker.service");
        assert_eq!(unit.clone().or(container.clone()), container);
        assert_eq!(container.clone().or(unit.clone()), container);
        assert_eq!(CgroupIdentity::default().or(unit.clone()), unit);
        assert_eq!(unit.clone().or(CgroupIdentity::default()), unit);
    }
}
