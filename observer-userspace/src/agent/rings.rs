//! All ring buffers: waiting for any, emptying each.

use std::future::poll_fn;
use std::task::Poll;

use anyhow::Result;
use observer_common::family::Part;
use observer_common::names::maps;
use observer_common::workload::NewWorkload;

use super::workloads::Workloads;
use super::workloads::refusals::Shares;
use crate::kernel::Kernel;
use crate::kernel::ring::{Ring, record};
use crate::probes::losses::{self, Cause};
use crate::probes::{Probe, SpanCollector};
use observer_export::self_stats::Fill;

/// The ring buffers of the identity and of the probes that have one.
pub struct Rings {
    workloads: Announced,
    probes: ProbeRings,
    /// Who found no room in them.
    shares: Shares,
}

/// The ring buffer in which new workloads are announced.
pub struct Announced(Ring);

/// The ring buffers of probes.
pub struct ProbeRings {
    rings: Vec<ProbeRing>,
}

/// The ring buffer of a probe.
struct ProbeRing {
    /// Index of the probe.
    probe: usize,
    part: Part,
    ring: Ring,
    /// Records that were left in it when the daemon ended.
    left: u64,
}

impl Rings {
    /// Takes them out of the kernel object.
    ///
    /// # Errors
    /// See [`Ring::take`].
    pub fn take(kernel: &mut Kernel, probes: &[Box<dyn Probe>]) -> Result<Self> {
        let workloads = Ring::take(kernel, maps::WORKLOAD_RING)?;
        let mut rings = Vec::new();
        for (index, probe) in probes.iter().enumerate() {
            if let Some(name) = probe.ring() {
                rings.push(ProbeRing {
                    probe: index,
                    part: probe.spec().family,
                    ring: Ring::take(kernel, name)?,
                    left: 0,
                });
            }
        }
        Ok(Self {
            workloads: Announced(workloads),
            probes: ProbeRings { rings },
            shares: Shares::map(kernel)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Ring> {
        let probes = self.probes.rings.iter().map(|one| &one.ring);
        std::iter::once(&self.workloads.0).chain(probes)
    }

    /// Resolves when the kernel announces a record.
    ///
    /// # Errors
    /// The runtime can't wait for one of them.
    pub async fn ready(&self) -> Result<()> {
        poll_fn(|context| {
            // All are polled, so that all wake us.
            let mut ready = Poll::Pending;
            for ring in self.all() {
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
        self.all()
            .map(|ring| Fill {
                name: ring.name().to_string(),
                ratio: ring.fill(),
            })
            .collect()
    }

    /// Records that were left in rings when the daemon ended.
    pub fn losses(&self) -> impl Iterator<Item = (Cause, u64)> {
        let probes = self.probes.rings.iter();
        probes.map(|one| (losses::left_at_end(one.part), one.left))
    }

    /// Who found no room in what the kernel half shares.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Both kinds, to be emptied one in the midst of the other.
    pub fn parts(&mut self) -> (&mut Announced, &mut ProbeRings) {
        (&mut self.workloads, &mut self.probes)
    }
}

impl Announced {
    /// Learns of new workloads, of at most `limit`; returns of how many.
    pub fn drain(&mut self, limit: usize, to: &mut Workloads) -> usize {
        self.0.drain(limit, |bytes| {
            if let Some(new) = record::<NewWorkload>(bytes) {
                to.learn(&new);
            }
        })
    }
}

impl ProbeRings {
    /// Hands the probes their records, of each ring at most `limit`; returns how
    /// many most had.
    pub fn drain(
        &mut self,
        limit: usize,
        probes: &mut [Box<dyn Probe>],
        out: &mut SpanCollector<'_>,
    ) -> usize {
        let mut most = 0;
        for one in &mut self.rings {
            if let Some(probe) = probes.get_mut(one.probe) {
                let found = one.ring.drain(limit, |bytes| probe.record(bytes, out));
                most = most.max(found);
            }
        }
        most
    }

    /// Takes what is still there without looking at it, and counts it.
    pub fn count_left(&mut self) {
        for one in &mut self.rings {
            one.left += one.ring.drain(usize::MAX, |_| {}) as u64;
        }
    }
}
