//! What container runtimes and kubelets answer: any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_identity::container::{Container, containerd, cri, docker, kubelet};
use observer_signals::outside::LONGEST_NAME;

const ID: &str = "3f4a0c7c2cb24aa7a9a4c2a8b1ac1e9dd4c3a1f0e1b2c3d4e5f60718293a4b5c";

const KEYS: &[&str] = &[
    "container.name",
    "container.image.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.cronjob.name",
    "service.name",
];

/// What is kept is short, and nothing that a terminal obeys.
fn check(container: &Container) {
    let is_clean = |text: &str| {
        text.len() <= LONGEST_NAME && !text.is_empty() && !text.chars().any(char::is_control)
    };
    for key in KEYS {
        assert!(container.get(key).is_none_or(is_clean), "{key}");
    }
    assert!(container.service_name().is_none_or(is_clean));
    assert!(container.image.tags.iter().all(|tag| is_clean(tag)));
}

fuzz_target!(|data: &[u8]| {
    let mut found: Vec<Container> = Vec::new();
    found.extend(docker::container(ID, "docker", data));
    found.extend(containerd::container(ID, data));
    if let Ok(Some(listed)) = cri::container(ID, "cri-o", data) {
        found.push(listed.container);
    }
    if let Ok(pod) = cri::pod(ID, data) {
        found.push(Container {
            pod,
            ..Container::default()
        });
    }
    let _ = (cri::image(data), cri::version(data));
    let pods = kubelet::pods(data).unwrap_or_default();
    let of_pods = pods.into_iter().flat_map(|pod| pod.containers);
    found.extend(of_pods.map(|(_, container)| container));
    found.iter().for_each(check);
    if let Some(all) = found.into_iter().reduce(Container::or) {
        check(&all);
    }
});
