//! Who found no room in what the kernel half shares: counted, and said in the log.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use observer_common::ring::SharedRing;

use crate::foreign;
use crate::kernel::Kernel;
use crate::kernel::shares::{RingShares, SampleShares};
use crate::kernel::workload_ids::WorkloadIds;

/// A tenant of the kernel half's tables.
pub struct Known {
    /// As people know it.
    pub name: String,
    /// By table, how often it found no room as far as that was counted here.
    told: BTreeMap<&'static str, u64>,
}

impl Known {
    /// One that has found room so far.
    pub fn new(name: String) -> Self {
        Self {
            name,
            told: BTreeMap::new(),
        }
    }
}

/// What the kernel half shares out.
pub struct Shares {
    rings: Vec<(SharedRing, RingShares)>,
    samples: SampleShares,
    ids: WorkloadIds,
}

impl Shares {
    /// Maps all of it.
    ///
    /// # Errors
    /// The kernel half has none, or it can't be mapped.
    pub fn map(kernel: &mut Kernel) -> Result<Self> {
        let mut rings = Vec::new();
        for ring in SharedRing::ALL {
            rings.push((*ring, RingShares::map(kernel, *ring)?));
        }
        Ok(Self {
            rings,
            samples: SampleShares::map(kernel)?,
            ids: WorkloadIds::map(kernel)?,
        })
    }
}

/// What became of records that found no room in a ring.
fn of_ring(ring: SharedRing, name: &str, more: u64) -> String {
    match ring {
        SharedRing::Requests => format!(
            "{name} makes more requests than are followed in time: {more} messages of them were left out, so that others' are not; a larger --requests-ring has more room"
        ),
        SharedRing::Stacks => format!(
            "{name} has more new stacks than are read in time: {more} of them were not counted, so that others' are"
        ),
        SharedRing::Block => format!(
            "{name} has more slow disk operations than are read in time: {more} of them are not told of one by one, so that others' are; a larger --table-ring has more room"
        ),
        SharedRing::Tcp => format!(
            "{name} ends more connections than are read in time: {more} of them have no span, so that others' have; a larger --table-ring has more room"
        ),
        SharedRing::Workloads => format!(
            "{name} starts more programs than are looked at in time: {more} of them stay what their cgroup and their name say, so that others don't"
        ),
    }
}

/// Tells of all tables; `tenants` by their numbers.
pub fn tell(tenants: &mut HashMap<u32, Known>, shares: &Shares) {
    for (ring, of_it) in &shares.rings {
        let say = |name: &str, more| of_ring(*ring, name, more);
        tell_more(tenants, ring.table(), of_it.refused(), say);
    }
    tell_more(
        tenants,
        "sampled_stacks",
        shares.samples.refused(),
        |name, more| {
            format!(
                "{name} has more different stacks than its share of the table: {more} samples and waits of it were not counted, so that others' are"
            )
        },
    );
    tell_more(
        tenants,
        "tls_sessions",
        shares.ids.tls_refused(),
        |name, more| {
            format!(
                "{name} has more TLS connections than its share of what is remembered: {more} of them are not followed, so that others' are"
            )
        },
    );
}

/// Counts what found no room in a table since it was last asked, of how often each tenant was
/// `refused` since the start, and has it said where it is time for that.
fn tell_more(
    tenants: &mut HashMap<u32, Known>,
    table: &'static str,
    refused: impl Iterator<Item = (u32, u64)>,
    say: impl Fn(&str, u64) -> String,
) {
    for (tenant, count) in refused {
        // One from before the daemon read the table isn't told apart.
        let known = tenants.entry(tenant);
        let known = known.or_insert_with(|| Known::new("unknown".to_owned()));
        let before = known.told.insert(table, count).unwrap_or(0);
        let more = count.saturating_sub(before);
        if more != 0 && foreign::refused_times(table, &known.name, more) {
            tracing::warn!("{}", say(&known.name, more));
        }
    }
}
