//! What containers are called: asked when a workload is resolved, and known later.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use observer_common::workload::WorkloadId;
use observer_containers::{Answer, Containers, Question};
use observer_identity::ProgramIdentity;

/// So long the first export of a workload waits for what its container is called.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was asked, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Names {
    containers: Option<Containers>,
    /// Whose workloads wait for what is said of a container.
    asked: HashMap<String, Vec<WorkloadId>>,
    /// Workloads that aren't told of yet, since when.
    waiting: HashMap<WorkloadId, Instant>,
    unnamed: u64,
}

impl Names {
    pub(super) fn new(containers: Option<Containers>) -> Self {
        Self {
            containers,
            ..Self::default()
        }
    }

    /// Asks about the container of a workload, once for all that are in it.
    pub(super) fn ask(&mut self, id: WorkloadId, identity: &ProgramIdentity) {
        let (Some(containers), Some(container)) = (&self.containers, identity.get("container.id"))
        else {
            return;
        };
        let question = Question {
            container: container.to_owned(),
            pod: identity.get("k8s.pod.uid").map(str::to_owned),
        };
        if !self.asked.contains_key(container) && !containers.ask(question) {
            self.unnamed += 1;
            return;
        }
        let all = self.asked.entry(container.to_owned()).or_default();
        all.push(id);
        self.waiting.insert(id, Instant::now());
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, id: WorkloadId) {
        self.waiting.remove(&id);
    }

    /// What was said since the last time: of whom, and what is known.
    pub(super) fn heard(&mut self) -> Vec<(WorkloadId, Answer)> {
        let said = self.containers.iter().flat_map(Containers::answers);
        let said: Vec<(String, Answer)> = said.collect();
        let mut heard = Vec::new();
        for (container, answer) in said {
            let all = self.asked.remove(&container).unwrap_or_default();
            let waiting = all
                .into_iter()
                .filter(|id| self.waiting.remove(id).is_some());
            heard.extend(waiting.map(|id| (id, answer.clone())));
        }
        heard
    }

    /// Somebody didn't answer for a workload, or not in time.
    pub(super) fn miss(&mut self) {
        self.unnamed += 1;
    }

    /// See `Resolver::is_waiting`.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// See `Resolver::waits`.
    pub(super) fn waits(&self, id: WorkloadId) -> bool {
        let since = self.waiting.get(&id);
        since.is_some_and(|since| since.elapsed() < PATIENCE)
    }

    /// See `Resolver::told`.
    pub(super) fn told(&mut self, id: WorkloadId) {
        if self.waiting.remove(&id).is_some() {
            self.miss();
        }
    }

    /// See `Resolver::unnamed`.
    pub(super) fn unnamed(&self) -> u64 {
        self.unnamed
    }
}
