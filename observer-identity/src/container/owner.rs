//! What a pod belongs to: the controller that its `ownerReferences` name, or, without
//! those, what the controller's labels and the pod's name say.

use super::labels::Labels;
use crate::text;

/// A CronJob names its jobs after the minute for which they are, in minutes since 1970
/// (pkg/controller/cronjob/utils.go): so many digits at least.
const MINUTES: usize = 8;

/// The controllers of a pod, innermost and above. At most one chain is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `k8s.deployment.name`.
    pub deployment: Option<String>,
    /// `k8s.replicaset.name`.
    pub replica_set: Option<String>,
    /// `k8s.statefulset.name`.
    pub stateful_set: Option<String>,
    /// `k8s.daemonset.name`.
    pub daemon_set: Option<String>,
    /// `k8s.job.name`.
    pub job: Option<String>,
    /// `k8s.cronjob.name`.
    pub cron_job: Option<String>,
}

impl Owner {
    /// By a reference to the owner (`ownerReferences` with `controller: true`). A
    /// Deployment's ReplicaSet is called after it and the pods' `pod-template-hash`.
    pub fn of_reference(kind: &str, name: &str, labels: &Labels) -> Self {
        let mut owner = Self::default();
        let Some(name) = text::name(name) else {
            return owner;
        };
        match kind {
            "ReplicaSet" => owner = Self::of_replica_set(name, labels),
            "StatefulSet" => owner.stateful_set = Some(name),
            "DaemonSet" => owner.daemon_set = Some(name),
            "Job" => owner = Self::of_job(name),
            // Of Argo's rollouts and of whoever else makes pods there is no attribute.
            _ => {}
        }
        owner
    }

    /// By what controllers write on the pods that they make, and how they name them.
    pub fn of_labels(pod: &str, labels: &Labels) -> Self {
        let job = labels
            .get("batch.kubernetes.io/job-name")
            .or_else(|| labels.get("job-name"));
        if let Some(job) = job {
            return Self::of_job(job.to_owned());
        }
        let mut owner = Self::default();
        let above = pod.rsplit_once('-').map(|(above, _)| above.to_owned());
        if let Some(hash) = labels.get("pod-template-hash") {
            // Names that are too long are cut before the hash; then nobody knows.
            if let Some(set) = above.filter(|set| set.ends_with(hash)) {
                owner = Self::of_replica_set(set, labels);
            }
        } else if labels.get("statefulset.kubernetes.io/pod-name") == Some(pod) {
            owner.stateful_set = above;
        } else if labels.get("pod-template-generation").is_some()
            && labels.get("controller-revision-hash").is_some()
        {
            owner.daemon_set = above;
        }
        owner
    }

    fn of_replica_set(name: String, labels: &Labels) -> Self {
        let hash = labels.get("pod-template-hash");
        let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
        Self {
            deployment: deployment.and_then(text::name),
            replica_set: Some(name),
            ..Self::default()
        }
    }

    fn of_job(name: String) -> Self {
        let of_minute = name.rsplit_once('-').filter(|(_, minute)| {
            minute.len() >= MINUTES && minute.bytes().all(|b| b.is_ascii_digit())
        });
        Self {
            cron_job: of_minute.and_then(|(cron_job, _)| text::name(cron_job)),
            job: Some(name),
            ..Self::default()
        }
    }

    /// What is known from either, as a whole; `self` is believed first.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::default() { other } else { self }
    }
}
