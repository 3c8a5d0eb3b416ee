//! What container runtimes and the kubelet say of containers: their answers, as bytes, and
//! what is taken of them.
//!
//! An answer is another program's, and of a cluster's users: of each a bounded number of
//! items is kept, each cut to a name's length, and what an answer is about is compared with
//! what was asked.
//!
//! - [`docker`]: `/containers/{id}/json` of Docker and Podman
//! - [`cri`]: the Container Runtime Interface, of containerd and CRI-O
//! - [`containerd`]: containerd's own interface, where it has no CRI
//! - [`kubelet`]: its `/pods`
//! - [`image`]: references of images
//! - [`labels`]: the labels that say something
//! - [`called`]: what that makes of a workload
//! - [`owner`]: what a pod belongs to

mod bounded;
mod called;
pub mod containerd;
pub mod cri;
pub mod docker;
pub mod image;
pub mod kubelet;
mod labels;
pub mod owner;

use image::Image;
use owner::Owner;

pub use labels::Labels;

/// Why an answer says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It isn't of the form that its interface has.
    Malformed,
    /// It is about another container than the one that was asked for.
    Another,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its answer can't be understood",
            Self::Another => "its answer is about another container",
        })
    }
}

impl std::error::Error for Unusable {}

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Container {
    /// `container.runtime.name`.
    pub runtime: Option<&'static str>,
    /// `container.name`.
    pub name: Option<String>,
    /// What it is a replica of: the service of Compose or Swarm.
    pub service: Option<String>,
    /// `container.image.name` and `container.image.tags`.
    pub image: Image,
    /// Its pod.
    pub pod: Option<Pod>,
}

/// What is known of a pod, and of a container as a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pod {
    /// `k8s.pod.name`.
    pub name: Option<String>,
    /// `k8s.pod.uid`.
    pub uid: Option<String>,
    /// `k8s.namespace.name`.
    pub namespace: Option<String>,
    /// `k8s.node.name`.
    pub node: Option<String>,
    /// `k8s.container.name`: what the pod calls the container.
    pub container: Option<String>,
    /// What controls it.
    pub owner: Owner,
    /// What its annotations (`resource.opentelemetry.io/…`) declare.
    pub declared: Vec<(String, String)>,
}

/// Where pods declare attributes of their resource, by OpenTelemetry's conventions for
/// Kubernetes.
const DECLARES: &str = "resource.opentelemetry.io/";

impl Container {
    /// What is known from either; `self` is believed first.
    pub fn or(self, other: Self) -> Self {
        let pod = match (self.pod, other.pod) {
            (Some(pod), Some(other)) => Some(pod.or(other)),
            (pod, other) => pod.or(other),
        };
        Self {
            runtime: self.runtime.or(other.runtime),
            name: self.name.or(other.name),
            service: self.service.or(other.service),
            image: self.image.or(other.image),
            pod,
        }
    }

    /// What a service in it is called, the same at each start: as OpenTelemetry's
    /// conventions for Kubernetes compute it, what it is a replica of, or its name if
    /// somebody chose that.
    pub fn service_name(&self) -> Option<&str> {
        let of_pod = self.pod.as_ref().and_then(Pod::service_name);
        of_pod.or(self.service.as_deref()).or_else(|| {
            let name = self.name.as_deref()?;
            (self.pod.is_none() && !is_made_up(name)).then_some(name)
        })
    }

    /// The value of one attribute of its resource.
    pub fn get(&self, key: &str) -> Option<&str> {
        match key {
            "container.name" => self.name.as_deref(),
            "container.image.name" => self.image.name.as_deref(),
            "container.runtime.name" => self.runtime,
            key => self.pod.as_ref()?.get(key),
        }
    }
}

impl Pod {
    /// By the labels that the kubelet gives containers; `None` if it gave none.
    fn of_labels(labels: &Labels) -> Option<Self> {
        let name = labels.get("io.kubernetes.pod.name")?;
        Some(Self {
            owner: Owner::of_labels(name, labels),
            name: Some(name.to_owned()),
            uid: labels.text("io.kubernetes.pod.uid"),
            namespace: labels.text("io.kubernetes.pod.namespace"),
            container: labels.text("io.kubernetes.container.name"),
            ..Self::default()
        })
    }

    fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            uid: self.uid.or(other.uid),
            namespace: self.namespace.or(other.namespace),
            node: self.node.or(other.node),
            container: self.container.or(other.container),
            owner: self.owner.or(other.owner),
            declared: if self.declared.is_empty() {
                other.declared
            } else {
                self.declared
            },
        }
    }

    /// The first of what OpenTelemetry's conventions list, but the pod's name, which is
    /// another at each start, and labels, for which they ask for an opt-in.
    fn service_name(&self) -> Option<&str> {
        let owner = &self.owner;
        self.declares("service.name")
            .or(owner.deployment.as_deref())
            .or(owner.replica_set.as_deref())
            .or(owner.stateful_set.as_deref())
            .or(owner.daemon_set.as_deref())
            .or(owner.cron_job.as_deref())
            .or(owner.job.as_deref())
            .or(self.container.as_deref())
    }

    fn declares(&self, key: &str) -> Option<&str> {
        let mut declared = self.declared.iter();
        let found = declared.find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    fn get(&self, key: &str) -> Option<&str> {
        let owner = &self.owner;
        let known = match key {
            "k8s.pod.name" => &self.name,
            "k8s.pod.uid" => &self.uid,
            "k8s.namespace.name" => &self.namespace,
            "k8s.node.name" => &self.node,
            "k8s.container.name" => &self.container,
            "k8s.deployment.name" => &owner.deployment,
            "k8s.replicaset.name" => &owner.replica_set,
            "k8s.statefulset.name" => &owner.stateful_set,
            "k8s.daemonset.name" => &owner.daemon_set,
            "k8s.job.name" => &owner.job,
            "k8s.cronjob.name" => &owner.cron_job,
            key => return self.declares(key),
        };
        known.as_deref()
    }

    /// Takes what annotations declare.
    fn declare(&mut self, annotations: &Labels) {
        self.declared = annotations.below(DECLARES);
    }
}

/// Whether a name is of the form that Docker and Podman make up where nobody gives one
/// (`determined_lamarr`, `determined_lamarr7`): another at each start.
fn is_made_up(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let number = |c: char| c.is_ascii_digit();
    name.split_once('_').is_some_and(|(left, right)| {
        let word = right.strip_suffix(number).unwrap_or(right);
        is_word(left) && is_word(word)
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
