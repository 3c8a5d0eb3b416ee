//! All ring buffers: waiting for any, emptying each.

use std::future::poll_fn;
use std::task::Poll;

use anyhow::Result;
use observer_common::workload::NewWorkload;

use super::workloads::Workloads;
use crate::export::self_stats::Fill;
use crate::kernel::Kernel;
use crate::kernel::ring::{Ring, record};
use crate::probes::{Probe, Sink};

/// The ring buffers of the identity and of the probes that have one.
pub struct Rings {
    workloads: Ring,
    /// With the index of the probe that each belongs to.
    probes: Vec<(usize, Ring)>,
}

impl Rings {
    /// Takes them out of the kernel object.
    pub fn take(kernel: &mut Kernel, probes: &[Box<dyn Probe>]) -> Result<Self> {
        let workloads = Ring::take(kernel, "WORKLOAD_RING")?;
        let mut rings = Vec::new();
        for (index, probe) in probes.iter().enumerate() {
            if let Some(name) = probe.ring() {
                rings.push((index, Ring::take(kernel, name)?));
            }
        }
        Ok(Self {
            workloads,
            probes: rings,
        })
    }

    /// Resolves when the kernel announces a record.
    pub async fn ready(&self) -> Result<()> {
        poll_fn(|context| {
            // All are polled, so that all wake us.
            let mut ready = Poll::Pending;
            for ring in std::iter::once(&self.workloads).chain(self.probes.iter().map(|(_, r)| r)) {
                if let Poll::Ready(result) = ring.poll_ready(context) {
                    if result.is_err() {
                        return Poll::Ready(result);
                    }
                    ready = Poll::Ready(result);
                }
            }
            ready
        })
        .await
    }

    /// How full each is.
    pub fn fills(&self) -> Vec<Fill> {
        std::iter::once(&self.workloads)
            .chain(self.probes.iter().map(|(_, ring)| ring))
            .map(|ring| Fill {
                name: ring.name().to_string(),
                ratio: ring.fill(),
            })
            .collect()
    }

    /// Learns of new workloads.
    pub fn drain_workloads(&mut self, limit: usize, to: &mut Workloads) -> usize {
        self.workloads.drain(limit, |bytes| {
            if let Some(new) = record::<NewWorkload>(bytes) {
                to.learn(&new);
            }
        })
    }

    /// Hands the probes their records.
    pub fn drain_probes(
        &mut self,
        limit: usize,
        probes: &mut [Box<dyn Probe>],
        sink: &mut Sink<'_>,
    ) -> usize {
        let mut most = 0;
        for (index, ring) in &mut self.probes {
            if let Some(probe) = probes.get_mut(*index) {
                most = most.max(ring.drain(limit, |bytes| probe.record(bytes, sink)));
            }
        }
        most
    }
}
