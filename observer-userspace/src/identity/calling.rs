//! What becomes of a workload when it is known what its container is called.

use observer_common::workload::WorkloadId;
use observer_containers::Answer;
use observer_identity::container::Container;

use super::workload::Resolver;

impl Resolver {
    /// Takes what was said of containers: those of their workloads that weren't told of yet
    /// are called by it.
    pub fn hear(&mut self) {
        for (id, answer) in self.names.heard() {
            match answer {
                Answer::Known(container) => self.call(id, &container),
                Answer::Unknown => {}
                Answer::Unanswered => self.names.miss(),
            }
        }
    }

    /// Calls a workload after its container. Its identity stays what it was, as others are
    /// compared with that.
    fn call(&mut self, id: WorkloadId, container: &Container) {
        if let Some(identity) = self.identity(id) {
            let called = identity.in_container(container);
            self.learn(id, &called, &container.image.tags, Some(identity));
        }
    }

    /// Whether any workload waits for what its container is called.
    pub fn is_waiting(&self) -> bool {
        self.names.is_waiting()
    }

    /// Whether a workload's first export waits for that; not for long.
    pub fn waits(&self, id: WorkloadId) -> bool {
        self.names.waits(id)
    }

    /// A workload is told of: its resource stays what it is, or its series would be two.
    pub fn told(&mut self, id: WorkloadId) {
        self.names.told(id);
    }

    /// Workloads whose container's name came too late or not at all.
    pub fn unnamed(&self) -> u64 {
        self.names.unnamed()
    }
}
