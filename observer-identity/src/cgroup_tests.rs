//! Checks what is read from the paths of cgroups.

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
            container_name: None,
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
