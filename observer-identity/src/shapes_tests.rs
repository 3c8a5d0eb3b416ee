//! What init systems, container runtimes and orchestrators write into `/proc/PID/cgroup`,
//! and what it means.

use crate::cgroup::CgroupIdentity;
use crate::membership::parse_proc_cgroup;
use crate::unit;

/// `<id>`, `<inner>`: ids of containers; `<uid>`, `<uid_>`: a pod's; `<task>`: a task of
/// ECS, or a static pod.
const ID: &str = "3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const INNER: &str = "aaaa0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const UID: &str = "a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11";
const UID_SLICE: &str = "a3d1bf5e_4c2f_4f0b_9c2e_0c6b1e6f2d11";
const TASK: &str = "34dc0b5e626f2c5c4c5170e34b10e765";

fn fill(text: &str) -> String {
    text.replace("<id>", ID)
        .replace("<inner>", INNER)
        .replace("<uid>", UID)
        .replace("<uid_>", UID_SLICE)
        .replace("<task>", TASK)
}

/// What a shape means.
#[derive(Clone, Copy, Default)]
struct Means {
    container: Option<&'static str>,
    pod: Option<&'static str>,
    unit: Option<&'static str>,
    /// What the unit or the container is called where that is the same at each start.
    name: Option<&'static str>,
}

const NOTHING: Means = Means {
    container: None,
    pod: None,
    unit: None,
    name: None,
};

const fn unit_called(unit: &'static str, name: &'static str) -> Means {
    Means {
        unit: Some(unit),
        name: Some(name),
        ..NOTHING
    }
}

/// A unit that is another one at each login or start.
const fn nameless(unit: &'static str) -> Means {
    Means {
        unit: Some(unit),
        ..NOTHING
    }
}

const fn container(id: &'static str) -> Means {
    Means {
        container: Some(id),
        ..NOTHING
    }
}

const fn machine(name: &'static str) -> Means {
    Means {
        name: Some(name),
        ..NOTHING
    }
}

const fn in_pod(id: &'static str) -> Means {
    Means {
        pod: Some("<uid>"),
        ..container(id)
    }
}

/// The whole files, their lines separated by blanks.
const SHAPES: &[(&str, Means)] = &[
    // systemd, v2
    (
        "0::/system.slice/nginx.service",
        unit_called("nginx.service", "nginx"),
    ),
    (
        "0::/system.slice/system-postgresql.slice/postgresql@16-main.service",
        unit_called("postgresql@16-main.service", "postgresql@16-main"),
    ),
    (
        "0::/system.slice/system-getty.slice/getty@tty1.service",
        unit_called("getty@tty1.service", "getty@tty1"),
    ),
    (
        "0::/system.slice/system-sshd.slice/sshd@3-10.0.0.1:22-10.0.0.2:40000.service",
        unit_called("sshd@3-10.0.0.1:22-10.0.0.2:40000.service", "sshd"),
    ),
    (
        "0::/system.slice/cron.service",
        unit_called("cron.service", "cron"),
    ),
    (
        "0::/system.slice/crond.service",
        unit_called("crond.service", "crond"),
    ),
    (
        "0::/system.slice/docker.service",
        unit_called("docker.service", "docker"),
    ),
    (
        "0::/shop.slice/shop-web.slice/web.service",
        unit_called("web.service", "web"),
    ),
    (
        "0::/system.slice/delegated.service/workers/3",
        unit_called("delegated.service", "delegated"),
    ),
    (
        "0::/system.slice/_cpu.service",
        unit_called("cpu.service", "cpu"),
    ),
    ("0::/init.scope", nameless("init.scope")),
    (
        "0::/system.slice/run-u17.service",
        nameless("run-u17.service"),
    ),
    (
        "0::/system.slice/run-rb0c1d2e3f40516273849a0b1c2d3e4f5.scope",
        nameless("run-rb0c1d2e3f40516273849a0b1c2d3e4f5.scope"),
    ),
    (
        "0::/system.slice/run-p1234-i5678.service",
        nameless("run-p1234-i5678.service"),
    ),
    (
        "0::/system.slice/nightly.service",
        unit_called("nightly.service", "nightly"),
    ),
    ("0::/", NOTHING),
    ("0::/user.slice", NOTHING),
    // logins and users' own managers
    (
        "0::/user.slice/user-1000.slice/session-3.scope",
        nameless("session-3.scope"),
    ),
    (
        "0::/user.slice/user-0.slice/session-c2.scope",
        nameless("session-c2.scope"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/init.scope",
        nameless("init.scope"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service",
        unit_called("shop.service", "shop"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service",
        unit_called("pipewire.service", "pipewire"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-org.mozilla.firefox-1234.scope",
        unit_called(
            "app-gnome-org.mozilla.firefox-1234.scope",
            "org.mozilla.firefox",
        ),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-<uid>.scope",
        nameless("vte-spawn-<uid>.scope"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r0123456789abcdef0123456789abcdef.scope",
        nameless("run-r0123456789abcdef0123456789abcdef.scope"),
    ),
    // flatpak, snap
    (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-flatpak-org.example.Shop-77.scope",
        unit_called("app-flatpak-org.example.Shop-77.scope", "org.example.Shop"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/snap.firefox.firefox-<uid>.scope",
        unit_called("snap.firefox.firefox-<uid>.scope", "snap.firefox.firefox"),
    ),
    (
        "0::/system.slice/snap.lxd.daemon.service",
        unit_called("snap.lxd.daemon.service", "snap.lxd.daemon"),
    ),
    // docker: cgroupfs and systemd drivers, rootless, in itself
    ("0::/docker/<id>", container("<id>")),
    ("0::/system.slice/docker-<id>.scope", container("<id>")),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<id>.scope",
        container("<id>"),
    ),
    ("0::/docker/<id>/docker/<inner>", container("<inner>")),
    (
        "0::/docker/<id>/system.slice/nginx.service",
        Means {
            container: Some("<id>"),
            ..unit_called("nginx.service", "nginx")
        },
    ),
    (
        "0::/docker/<id>/init.scope",
        Means {
            container: Some("<id>"),
            ..nameless("init.scope")
        },
    ),
    ("0::/actions_job/<id>", container("<id>")),
    // podman: rootful, rootless, pods, as a unit
    (
        "0::/machine.slice/libpod-<id>.scope/container",
        container("<id>"),
    ),
    (
        "0::/machine.slice/machine-libpod_pod_<inner>.slice/libpod-<id>.scope",
        container("<id>"),
    ),
    (
        "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
        container("<id>"),
    ),
    (
        "0::/system.slice/web.service/libpod-payload-<id>",
        Means {
            container: Some("<id>"),
            ..unit_called("web.service", "web")
        },
    ),
    ("0::/libpod_parent/libpod-<id>", container("<id>")),
    ("0::/machine.slice/libpod-conmon-<id>.scope", NOTHING),
    // containerd and CRI-O without Kubernetes
    ("0::/default/<id>", container("<id>")),
    ("0::/system.slice/nerdctl-<id>.scope", container("<id>")),
    ("0::/system.slice/crio-<id>.scope", container("<id>")),
    (
        "0::/system.slice/containerd.service",
        unit_called("containerd.service", "containerd"),
    ),
    // Kubernetes: three classes, two drivers, runtimes
    ("0::/kubepods/pod<uid>/<id>", in_pod("<id>")),
    ("0::/kubepods/burstable/pod<uid>/<id>", in_pod("<id>")),
    ("0::/kubepods/besteffort/pod<uid>/<id>", in_pod("<id>")),
    ("0::/kubepods/burstable/pod<uid>/crio-<id>", in_pod("<id>")),
    (
        "0::/kubepods.slice/kubepods-pod<uid_>.slice/cri-containerd-<id>.scope",
        in_pod("<id>"),
    ),
    (
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope",
        in_pod("<id>"),
    ),
    (
        "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<uid_>.slice/crio-<id>.scope/container",
        in_pod("<id>"),
    ),
    (
        "0::/system.slice/containerd.service/kubepods-burstable-pod<uid_>.slice:cri-containerd:<id>",
        in_pod("<id>"),
    ),
    (
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<task>.slice/crio-<id>.scope",
        Means {
            pod: Some("<task>"),
            ..container("<id>")
        },
    ),
    (
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/crio-conmon-<id>.scope",
        Means {
            container: None,
            ..in_pod("")
        },
    ),
    // kind, k3d: Kubernetes in docker
    (
        "0::/system.slice/docker-<id>.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod<uid_>.slice/cri-containerd-<inner>.scope",
        in_pod("<inner>"),
    ),
    (
        "0::/docker/<id>/kubelet/kubepods/burstable/pod<uid>/<inner>",
        in_pod("<inner>"),
    ),
    (
        "0::/docker/<id>/kubepods/besteffort/pod<uid>/<inner>",
        in_pod("<inner>"),
    ),
    ("0::/../../burstable/pod<uid>/<id>", in_pod("<id>")),
    // systemd-nspawn, libvirt
    (
        "0::/machine.slice/machine-web.scope/payload",
        machine("web"),
    ),
    (
        r"0::/machine.slice/machine-my\x2dweb.scope/payload/system.slice/nginx.service",
        unit_called("nginx.service", "nginx"),
    ),
    (
        "0::/machine.slice/systemd-nspawn@web.service/payload",
        machine("web"),
    ),
    (
        "0::/machine.slice/systemd-nspawn@web.service/payload/init.scope",
        Means {
            name: Some("web"),
            ..nameless("init.scope")
        },
    ),
    (
        "0::/machine.slice/systemd-nspawn@web.service/supervisor",
        unit_called("systemd-nspawn@web.service", "systemd-nspawn@web"),
    ),
    (
        r"0::/machine.slice/machine-qemu\x2d2\x2dweb.scope/libvirt/emulator",
        machine("web"),
    ),
    // LXC, LXD, Incus
    ("0::/lxc.payload.web", machine("web")),
    (
        "0::/lxc.payload.web/system.slice/cron.service",
        unit_called("cron.service", "cron"),
    ),
    (
        "0::/lxc.payload.user-1000_web/init.scope",
        Means {
            name: Some("user-1000_web"),
            ..nameless("init.scope")
        },
    ),
    ("0::/lxc.payload.web/docker/<id>", container("<id>")),
    ("0::/lxc.monitor.web", NOTHING),
    // Nomad, ECS
    (
        "0::/nomad.slice/share.slice/<uid>.till.scope",
        machine("till"),
    ),
    (
        "0::/nomad.slice/reserve.slice/<uid>.till.scope",
        machine("till"),
    ),
    ("0::/nomad.slice/docker-<id>.scope", container("<id>")),
    ("0::/ecs/<task>/<id>", container("<id>")),
    (
        "0::/ecs/<task>/<task>-3057940393",
        container("<task>-3057940393"),
    ),
    // v1
    (
        "12:memory:/docker/<id> 11:cpu,cpuacct:/docker/<id> 1:name=systemd:/docker/<id>",
        container("<id>"),
    ),
    (
        "12:memory:/kubepods/burstable/pod<uid>/<id> 1:name=systemd:/kubepods/burstable/pod<uid>/<id>",
        in_pod("<id>"),
    ),
    ("5:memory:/lxc/web 1:name=systemd:/lxc/web", machine("web")),
    (
        "5:memory:/system.slice/nginx.service 1:name=systemd:/system.slice/nginx.service",
        unit_called("nginx.service", "nginx"),
    ),
    (
        "4:freezer:/nomad/<uid>.till 1:name=systemd:/",
        machine("till"),
    ),
    (
        "12:memory:/ecs/<task>/<id> 1:name=systemd:/",
        container("<id>"),
    ),
    // hybrid: one hierarchy knows what the other doesn't
    (
        "5:memory:/docker/<id> 1:name=systemd:/docker/<id> 0::/system.slice/containerd.service",
        container("<id>"),
    ),
    (
        "5:memory:/system.slice/nginx.service 1:name=systemd:/system.slice/nginx.service 0::/system.slice/nginx.service",
        unit_called("nginx.service", "nginx"),
    ),
    (
        "5:memory:/user.slice 1:name=systemd:/user.slice/user-1000.slice/session-3.scope 0::/user.slice/user-1000.slice/session-3.scope",
        nameless("session-3.scope"),
    ),
    (
        "5:memory:/ 1:name=systemd:/system.slice/shop.service 0::/",
        unit_called("shop.service", "shop"),
    ),
    // a cgroup that was removed
    (
        "0::/system.slice/nginx.service|(deleted)",
        unit_called("nginx.service", "nginx"),
    ),
];

/// Checks each shape: container, pod, unit, and the name that is the same at each start.
#[test]
fn shapes_of_cgroups_are_known() {
    assert!(SHAPES.len() >= 60);
    for (file, means) in SHAPES {
        let text = fill(file).replace(' ', "\n").replace('|', " ");
        let memberships = parse_proc_cgroup(&text);
        let found = CgroupIdentity::of_paths(memberships.iter().map(|it| it.path.as_str()));
        assert_eq!(found.container_id, means.container.map(fill), "{file}");
        assert_eq!(found.pod_uid, means.pod.map(fill), "{file}");
        assert_eq!(found.unit, means.unit.map(fill), "{file}");
        let name = found.unit.as_deref().and_then(unit::service_name);
        let name = name.or(found.container_name);
        assert_eq!(name, means.name.map(fill), "{file}");
    }
}
