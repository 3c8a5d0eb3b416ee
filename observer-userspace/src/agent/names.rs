//! What containers are called, before the first figures are told.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Agent;
use crate::probes::MetricBuilder;

/// So long the first intervals wait at most for what the containers that are there already
/// are called. Who doesn't answer is given up sooner.
const FIRST: Duration = Duration::from_millis(1500);

/// How often it is looked whether all are there.
const LOOK: Duration = Duration::from_millis(10);

impl Agent {
    /// With `may_wait`, leaves out workloads whose container's name is on its way, for a
    /// later batch. All others are told of now.
    pub(super) fn hold_back(&mut self, out: &mut MetricBuilder, may_wait: bool) {
        let names = self.workloads.names();
        out.retain(|id| !(may_wait && names.waits(id)));
        out.workloads().for_each(|id| names.told(id));
    }

    /// Waits shortly for what the containers are called that are there already: their
    /// series begin with the next batch, and keep the resource that they have then.
    pub(super) async fn hear_first(&mut self) {
        let until = Instant::now() + FIRST;
        let (announced, _) = self.rings.parts();
        announced.drain(usize::MAX, &mut self.workloads);
        self.workloads.learn_all(&mut self.kernel);
        loop {
            self.workloads.names().hear();
            if !self.workloads.names().is_waiting() || Instant::now() >= until {
                return;
            }
            sleep(LOOK).await;
        }
    }
}
