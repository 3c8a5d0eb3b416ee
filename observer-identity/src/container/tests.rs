//! Checks what is taken of answers as runtimes and kubelets give them, and of hostile ones.

use observer_signals::outside::LONGEST_NAME;
use prost::Message as _;

use super::*;
use crate::cgroup::CgroupIdentity;
use crate::{Facts, Place, Program, ProgramIdentity, Source};

const ID: &str = "3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const OTHER: &str = "ffffffff2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";
const UID: &str = "a3d1bf5e-4c2f-4f0b-9c2e-0c6b1e6f2d11";

/// What Docker 24 says of a container of Compose, cut to some of its fields.
fn inspected(id: &str) -> String {
    format!(
        r#"{{"Id": "{id}", "Created": "2024-03-01T10:00:00.0Z", "Path": "nginx",
        "State": {{"Status": "running", "Pid": 4711}},
        "Image": "sha256:a8758716bb6aa4d90071160d27028fe4eaee7ce8166221a97d30440c8eac2be6",
        "Name": "/shop-web-1", "RestartCount": 0, "Mounts": [],
        "Config": {{"Hostname": "3f4a0c7c2cb2", "Env": ["PATH=/bin"], "Cmd": null,
            "Image": "registry.example:5000/shop/web:1.4",
            "Labels": {{"com.docker.compose.project": "shop",
                "com.docker.compose.service": "web", "maintainer": "x"}}}},
        "NetworkSettings": {{"Ports": {{}}}}}}"#
    )
}

/// A pod as the kubelet of Kubernetes 1.29 lists it, cut to some of its fields.
fn listed(owner: &str, labels: &str) -> String {
    format!(
        r#"{{"kind": "PodList", "apiVersion": "v1", "metadata": {{}}, "items": [{{
        "metadata": {{"name": "shop-7d9f8c6b5-x7k2p", "generateName": "shop-7d9f8c6b5-",
            "namespace": "store", "uid": "{UID}", "labels": {labels},
            "annotations": {{"kubernetes.io/config.source": "api",
                "resource.opentelemetry.io/service.version": "1.4.2"}},
            "ownerReferences": [{{"apiVersion": "v1", "kind": "Other", "name": "x"}},
                {{"apiVersion": "apps/v1", {owner}, "uid": "1", "controller": true}}]}},
        "spec": {{"nodeName": "node-7", "containers": [{{"name": "web"}}]}},
        "status": {{"phase": "Running", "initContainerStatuses": [
                {{"name": "setup", "image": "busybox", "containerID": "containerd://{OTHER}"}}],
            "containerStatuses": [{{"name": "web", "ready": true,
                "image": "registry.example:5000/shop/web:1.4", "imageID": "sha256:1",
                "containerID": "containerd://{ID}"}}, {{"name": "waiting"}}]}}}}]}}"#
    )
}

/// The container `web` of a pod with this owner and these labels.
fn of_kubelet(owner: &str, labels: &str) -> Container {
    let pods = kubelet::pods(listed(owner, labels).as_bytes()).expect("a list");
    assert_eq!(pods.len(), 1);
    let found = pods[0].containers.iter().find(|(id, _)| id == ID);
    found.expect("it is in it").1.clone()
}

/// Checks name, service and image of Docker's answer, and that one about another
/// container is refused.
#[test]
fn docker_says_names() {
    let answer = inspected(ID);
    let found = docker::container(ID, "docker", answer.as_bytes()).expect("an answer");
    assert_eq!(found.get("container.name"), Some("shop-web-1"));
    assert_eq!(found.get("container.runtime.name"), Some("docker"));
    assert_eq!(
        found.get("container.image.name"),
        Some("registry.example:5000/shop/web")
    );
    assert_eq!(found.image.tags, ["1.4"]);
    assert_eq!(found.service_name(), Some("web"));
    let another = docker::container(OTHER, "docker", answer.as_bytes());
    assert_eq!(another, Err(Unusable::Another));
    let bare = format!(r#"{{"Id":"{ID}","Config":{{"Labels":null}}}}"#);
    let bare = docker::container(ID, "docker", bare.as_bytes()).expect("an answer");
    assert_eq!((bare.service_name(), &bare.pod), (None, &None));
}

/// Checks that names which runtimes make up name no service.
#[test]
fn made_up_names_name_nothing() {
    let named = |name: &str| {
        let name = Some(name.to_owned());
        let container = Container {
            name,
            ..Container::default()
        };
        container.service_name().map(str::to_owned)
    };
    for made_up in ["determined_lamarr", "quirky_mclean7"] {
        assert_eq!(named(made_up), None);
    }
    for given in [
        "shop",
        "shop-web_1",
        "shop_2",
        "Shop_web",
        "a_b_c",
        "web_11x",
    ] {
        assert_eq!(named(given).as_deref(), Some(given));
    }
}

/// Checks the pod of a list, its containers of each kind, and what controls it.
#[test]
fn the_kubelet_says_owners() {
    let found = of_kubelet(
        r#""kind": "ReplicaSet", "name": "shop-7d9f8c6b5""#,
        r#"{"app": "shop", "pod-template-hash": "7d9f8c6b5"}"#,
    );
    for (key, value) in [
        ("k8s.pod.name", "shop-7d9f8c6b5-x7k2p"),
        ("k8s.pod.uid", UID),
        ("k8s.namespace.name", "store"),
        ("k8s.node.name", "node-7"),
        ("k8s.container.name", "web"),
        ("k8s.replicaset.name", "shop-7d9f8c6b5"),
        ("k8s.deployment.name", "shop"),
        ("service.version", "1.4.2"),
        ("container.image.name", "registry.example:5000/shop/web"),
    ] {
        assert_eq!(found.get(key), Some(value), "{key}");
    }
    let owned = |owner: &str, key: &str| {
        let found = of_kubelet(owner, "null");
        let owner = found.get(key).map(str::to_owned);
        (owner, found.service_name().map(str::to_owned))
    };
    let both = |owner: &str, name: &str| (Some(owner.to_owned()), Some(name.to_owned()));
    let table = [
        (
            r#""kind": "ReplicaSet", "name": "solo""#,
            "k8s.replicaset.name",
            "solo",
        ),
        (
            r#""kind": "StatefulSet", "name": "db""#,
            "k8s.statefulset.name",
            "db",
        ),
        (
            r#""kind": "DaemonSet", "name": "agent""#,
            "k8s.daemonset.name",
            "agent",
        ),
        (
            r#""kind": "Job", "name": "load-2024""#,
            "k8s.job.name",
            "load-2024",
        ),
        (
            r#""kind": "Job", "name": "night-28490125""#,
            "k8s.cronjob.name",
            "night",
        ),
    ];
    for (owner, key, name) in table {
        assert_eq!(owned(owner, key), both(name, name), "{owner}");
    }
    let rollout = owned(r#""kind": "Rollout", "name": "x""#, "k8s.deployment.name");
    assert_eq!(rollout, (None, Some("web".to_owned())));
}

/// Checks what labels say of owners where nobody asks the kubelet.
#[test]
fn labels_say_owners() {
    let owner = |pod: &str, labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Owner::of_labels(pod, &Labels::of(labels.collect()))
    };
    let hash = ("pod-template-hash", "7d9f8c6b5");
    let found = owner("shop-7d9f8c6b5-x7k2p", &[hash]);
    assert_eq!(found.deployment.as_deref(), Some("shop"));
    assert_eq!(found.replica_set.as_deref(), Some("shop-7d9f8c6b5"));
    assert_eq!(
        owner("a-name-that-was-cut-x7k2p", &[hash]),
        Owner::default()
    );
    let revision = ("controller-revision-hash", "86b8");
    let found = owner("agent-x7k2p", &[revision, ("pod-template-generation", "3")]);
    assert_eq!(found.daemon_set.as_deref(), Some("agent"));
    let found = owner(
        "db-0",
        &[revision, ("statefulset.kubernetes.io/pod-name", "db-0")],
    );
    assert_eq!(found.stateful_set.as_deref(), Some("db"));
    let found = owner("night-28490125-x7k2p", &[("job-name", "night-28490125")]);
    assert_eq!(found.cron_job.as_deref(), Some("night"));
    assert_eq!(owner("alone", &[]), Owner::default());
}

fn container_of_cri(id: &str, image: &str) -> Vec<u8> {
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let labels = [
        ("io.kubernetes.container.name", "web"),
        ("io.kubernetes.pod.name", "shop-7d9f8c6b5-x7k2p"),
        ("io.kubernetes.pod.namespace", "store"),
        ("io.kubernetes.pod.uid", UID),
    ];
    let container = cri::wire::Container {
        id: id.to_owned(),
        pod_sandbox_id: OTHER.to_owned(),
        metadata: Some(cri::wire::ContainerMetadata {
            name: "web".to_owned(),
        }),
        image: Some(cri::wire::ImageSpec {
            image: image.to_owned(),
            user_specified: String::new(),
        }),
        labels: labels.into_iter().map(label).collect(),
    };
    let containers = vec![container.encode_to_vec()];
    cri::wire::ListContainersResponse { containers }.encode_to_vec()
}

/// Checks what the CRI says of a container, and where it says to ask on.
#[test]
fn the_cri_says_pods() {
    let answer = container_of_cri(ID, "sha256:a8758716");
    let found = cri::container(ID, "cri-o", &answer).expect("an answer");
    let found = found.expect("a container");
    assert_eq!(found.sandbox, OTHER);
    assert_eq!(found.image_id.as_deref(), Some("sha256:a8758716"));
    assert_eq!(found.container.get("k8s.container.name"), Some("web"));
    assert_eq!(found.container.get("k8s.namespace.name"), Some("store"));
    assert_eq!(found.container.get("container.name"), None);
    let answer = container_of_cri(ID, "docker.io/library/nginx:1.25");
    let found = cri::container(ID, "cri-o", &answer).expect("an answer");
    let found = found.expect("a container");
    assert_eq!(found.image_id, None);
    assert_eq!(found.container.image.tags, ["1.25"]);
    let another = cri::container(OTHER, "cri-o", &answer);
    assert_eq!(another, Err(Unusable::Another));
    assert_eq!(cri::container(ID, "cri-o", &[]), Ok(None));
}

/// Checks that any bytes are an answer or none, whole or cut, and that long ones are
/// bounded.
#[test]
fn hostile_answers_are_bounded() {
    let pods = listed(r#""kind": "Job", "name": "x""#, "{}");
    let cri = container_of_cri(ID, "nginx");
    let docker = inspected(ID);
    for answer in [pods.as_bytes(), docker.as_bytes(), &cri] {
        for end in 0..answer.len() {
            let cut = &answer[..end];
            let _ = (kubelet::pods(cut), docker::container(ID, "docker", cut));
            let _ = (cri::container(ID, "x", cut), cri::pod(ID, cut));
            let _ = (containerd::container(ID, cut), cri::image(cut));
        }
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let labels = format!(r#"{{"a":{deep},"com.docker.compose.service":"web"}}"#);
    let deep = format!(r#"{{"Id":"{ID}","Mounts":{deep},"Config":{{"Labels":{labels}}}}}"#);
    let deep = docker::container(ID, "docker", deep.as_bytes()).expect("an answer");
    assert_eq!(deep.service_name(), Some("web"));
    let many = format!(
        r#"{{"items":[{}]}}"#,
        vec![r#"{"metadata":{"name":"x"}}"#; 10_000].join(",")
    );
    let many = kubelet::pods(many.as_bytes()).expect("a list");
    assert!(many.len() < 10_000, "{}", many.len());
    let labels: Vec<String> = (0..10_000)
        .map(|n| format!(r#""resource.opentelemetry.io/{n}":"x""#))
        .collect();
    let long = format!(
        r#"{{"Id":"{ID}","Name":"/{}","Config":{{"Labels":{{{},"a":[1]}}}}}}"#,
        "n".repeat(1 << 16),
        labels.join(",")
    );
    let long = docker::container(ID, "docker", long.as_bytes()).expect("an answer");
    assert!(long.name.expect("a name").len() <= LONGEST_NAME);
    let clean = format!(r#"{{"Id":"{ID}","Name":"/a\u001b[2Jb"}}"#);
    let clean = docker::container(ID, "docker", clean.as_bytes()).expect("an answer");
    assert_eq!(clean.name.as_deref(), Some("a[2Jb"));
}

/// Checks that a container names a service behind the environment, the script and the unit,
/// and before the executable and a script that could be anybody's; and that attributes which
/// the process declares stay.
#[test]
fn containers_name_services() {
    let answer = inspected(ID);
    let container = docker::container(ID, "docker", answer.as_bytes()).expect("an answer");
    let named = |facts: &Facts<'_>, path: &str| {
        let cgroup = CgroupIdentity::of_paths([path]);
        let place = Place {
            comm: facts.comm,
            cgroup: &cgroup,
            host_name: None,
        };
        ProgramIdentity::new(Some(&Program::of(facts)), &place).in_container(&container)
    };
    let nginx = Facts {
        comm: "nginx",
        executable: Some("/usr/sbin/nginx"),
        ..Facts::default()
    };
    let path = format!("/docker/{ID}");
    let found = named(&nginx, &path);
    assert_eq!(
        (&*found.service_name, found.source),
        ("web", Source::Container)
    );
    assert_eq!(found.get("container.name"), Some("shop-web-1"));
    assert_eq!(found.get("container.id"), Some(ID));
    let declared = Facts {
        environ: b"OTEL_SERVICE_NAME=cart\0OTEL_RESOURCE_ATTRIBUTES=k8s.pod.name=mine\0",
        ..nginx
    };
    let found = named(&declared, &path);
    assert_eq!(found.source, Source::Environment);
    assert_eq!(found.get("k8s.pod.name"), Some("mine"));
    let python = Facts {
        comm: "python3",
        executable: Some("/usr/bin/python3.11"),
        ..nginx
    };
    let script = Facts {
        cmdline: b"python3\0/srv/till.py\0",
        ..python
    };
    assert_eq!(named(&script, &path).source, Source::Script);
    let anybodys = Facts {
        cmdline: b"python3\0/app/main.py\0",
        ..python
    };
    assert_eq!(named(&anybodys, &path).service_name, "web");
    let unit = format!("{path}/system.slice/till.service");
    assert_eq!(named(&nginx, &unit).source, Source::Unit);
}
