//! The kernel half's table of workloads, and who has which share of it.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aya::maps::HashMap as BpfHashMap;
use observer_common::names::maps;
use observer_common::workload::{Entry, WorkloadId, WorkloadKey, ids};

use super::Kernel;
use super::mapped::Mapped;
use super::object::{Bytes, array_fd};
use super::removal::was_there;

/// The words by which ids are given, see [`ids`].
#[derive(Debug)]
pub struct WorkloadIds(Mapped<u64>);

/// A workload as the kernel half's table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What tells it from others.
    pub key: WorkloadKey,
    /// Its number.
    pub id: WorkloadId,
    /// Whose share of the table it takes.
    pub tenant: u32,
}

impl WorkloadIds {
    /// Maps them.
    ///
    /// # Errors
    /// The kernel half has none, or they can't be mapped.
    pub fn map(kernel: &mut Kernel) -> Result<Self> {
        let map = kernel.map_mut(maps::WORKLOAD_IDS)?;
        Ok(Self(Mapped::map(array_fd(map)?, ids::WORDS as usize)?))
    }

    /// Ids that were taken since the start.
    pub fn taken(&self) -> u64 {
        self.word(ids::TAKEN)
    }

    /// Workloads in the table.
    pub fn live(&self) -> u64 {
        let gone = self.word(ids::VAIN) + self.word(ids::RETIRED);
        self.taken().saturating_sub(gone)
    }

    /// When it was last said that somebody found no room (kernel time, ns).
    pub fn refused(&self) -> u64 {
        self.word(ids::REFUSED)
    }

    /// So many may be in the table.
    pub fn limit(&self) -> u64 {
        self.word(ids::LIMIT)
    }

    /// Says how many cells of histograms and of counters each tenant has; of the others
    /// it is none. What the kernel half takes at the same moment may be missing until
    /// the next time.
    pub fn charge(&mut self, cells: &HashMap<u32, (u64, u64)>) {
        for tenant in 0..ids::MAX_TENANTS {
            let (histograms, counters) = cells.get(&tenant).copied().unwrap_or_default();
            for (table, held) in [(ids::HISTOGRAMS, histograms), (ids::COUNTERS, counters)] {
                if self.word(table + tenant) != held {
                    self.0.set((table + tenant) as usize, held);
                }
            }
        }
    }

    /// Has the kernel half say at once that a process waits for being looked at.
    pub fn hear(&mut self) {
        self.0.set(ids::SAID as usize, 0);
    }

    /// Has each CPU look up again whose thread it runs.
    pub fn changed(&self) {
        self.0.add(ids::CHANGES as usize, 1);
    }

    /// TLS sessions, and sockets with TLS, of all tenants.
    pub fn tls_held(&self) -> [u64; 2] {
        [ids::TLS_ALL, ids::TLS_ALL + 1].map(|word| self.word(word))
    }

    /// Says how many sessions, and sockets, each tenant has. What comes or goes at the
    /// same moment is set right the next time.
    pub fn tls_hold(&mut self, held: &[HashMap<u32, u64>; 2]) {
        let tables = [
            (ids::TLS_SESSIONS, ids::TLS_ALL),
            (ids::TLS_SOCKETS, ids::TLS_ALL + 1),
        ];
        for ((table, all), held) in tables.into_iter().zip(held) {
            for tenant in 0..ids::MAX_TENANTS {
                let its = held.get(&tenant).copied().unwrap_or_default();
                if self.word(table + tenant) != its {
                    self.0.set((table + tenant) as usize, its);
                }
            }
            self.0.set(all as usize, held.values().sum());
        }
    }

    /// Tenants of whom TLS sessions or sockets found no room, and how many since the
    /// start.
    pub fn tls_refused(&self) -> impl Iterator<Item = (u32, u64)> {
        self.tenants(ids::TLS_REFUSED)
    }

    fn tenants(&self, table: u32) -> impl Iterator<Item = (u32, u64)> {
        let all = 0..ids::MAX_TENANTS;
        let all = all.map(move |tenant| (tenant, self.word(table + tenant)));
        all.filter(|(_, count)| *count != 0)
    }

    /// Gives a workload's place in the table back.
    pub(super) fn retired(&self, tenant: u32) {
        self.0.add(ids::RETIRED as usize, 1);
        self.0.add((ids::TENANTS + tenant) as usize, u64::MAX);
    }

    fn word(&self, at: u32) -> u64 {
        self.0.get(at as usize).unwrap_or(0)
    }
}

impl Kernel {
    /// All workloads in the kernel half's table.
    ///
    /// # Errors
    /// The kernel refuses to read the table.
    pub fn workloads(&mut self) -> Result<Vec<Listed>> {
        let map: BpfHashMap<_, Bytes<WorkloadKey>, Bytes<Entry>> =
            BpfHashMap::try_from(self.map_mut(maps::WORKLOADS)?)?;
        let listed = map.iter().filter_map(Result::ok);
        Ok(listed
            .map(|(key, entry)| Listed {
                key: key.0,
                id: entry.0.workload.id,
                tenant: entry.0.tenant,
            })
            .collect())
    }

    /// Takes workloads out of the kernel half's table: who is of the same name in
    /// the same cgroup from now on is a new one.
    ///
    /// # Errors
    /// The kernel refuses to change the table.
    pub fn retire_workloads(&mut self, gone: &[Listed], ids: &WorkloadIds) -> Result<()> {
        let mut map: BpfHashMap<_, Bytes<WorkloadKey>, Bytes<Entry>> =
            BpfHashMap::try_from(self.map_mut(maps::WORKLOADS)?)?;
        for one in gone {
            let removed = was_there(map.remove(&Bytes(one.key)));
            if removed.context("cannot take workloads out of the table")? {
                ids.retired(one.tenant);
            }
        }
        Ok(())
    }
}
