//! What the agent does about workloads that are over: hands what [`super::retire`]
//! needs to it.

use std::time::Instant;

use super::Agent;
use super::retire::Keepers;
use observer_signals::metric::MetricBatch;

impl Agent {
    /// Sees to workloads that are over, if it is time for that.
    pub(super) fn sweep_if_due(&mut self) {
        if self.retirement.is_due() {
            self.occasionally(Self::sweep);
        }
    }

    /// Sees to workloads that are over.
    fn sweep(&mut self) {
        let Self {
            kernel,
            cells,
            workloads,
            retirement,
            probes,
            limiter,
            ..
        } = self;
        let mut keepers = Keepers { probes, limiter };
        if let Err(error) = retirement.sweep(kernel, cells, workloads, &mut keepers) {
            tracing::warn!("workloads that are over keep their place: {error:#}");
        }
        if self.teller.is_some() {
            self.audit();
        }
    }

    /// What is over goes on as its heir's.
    pub(super) fn inherit(&mut self) {
        let before = match &self.profiler {
            Some(_) => self.profiled,
            None => Instant::now(),
        };
        let mut keepers = Keepers {
            probes: &mut self.probes,
            limiter: &mut self.limiter,
        };
        let (cells, workloads) = (&mut self.cells, &mut self.workloads);
        self.retirement
            .inherit(cells, workloads, &mut keepers, before);
    }

    /// Has the series of a batch end that have had their last values.
    pub(super) fn end_series(&mut self, batch: &mut MetricBatch) {
        let mut keepers = Keepers {
            probes: &mut self.probes,
            limiter: &mut self.limiter,
        };
        let (cells, workloads) = (&mut self.cells, &mut self.workloads);
        let had_all = |at| self.sinks.had_metrics_since(at);
        let ended = self
            .retirement
            .end(batch, cells, workloads, &mut keepers, had_all);
        if !ended.is_empty() {
            self.sinks.end(ended);
        }
    }
}
