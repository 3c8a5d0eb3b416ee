//! Who a workload is, once it is known what its container is called.

use super::Container;
use crate::{ProgramIdentity, Source};

/// What is taken of a container where the process declares nothing else.
const TOLD: &[&str] = &[
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
    "container.name",
    "container.image.name",
    "container.runtime.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
];

impl ProgramIdentity {
    /// The same in its container: with the container's attributes beside its own, and
    /// called after it, where only the executable, a name that could be anybody's or the
    /// host's name in the container named it before.
    #[must_use]
    pub fn in_container(&self, container: &Container) -> Self {
        let mut found = self.clone();
        let is_better =
            self.is_weak || matches!(self.source, Source::Executable | Source::Container);
        // A name in the cgroup's path is the container's own (LXC, Nomad).
        let is_known = self.source == Source::Container && self.get("container.name").is_some();
        if let Some(name) = container.service_name().filter(|_| is_better && !is_known) {
            found.service_name = name.to_owned();
            found.source = Source::Container;
            found.is_weak = false;
        }
        for key in TOLD {
            if let Some(value) = container.get(key).filter(|_| self.get(key).is_none()) {
                found.attributes.push(((*key).into(), value.to_owned()));
            }
        }
        found
    }
}
