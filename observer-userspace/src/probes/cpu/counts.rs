//! The kernel half's tables of counts: one is counted in while the other is
//! emptied.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aya::maps::{Array, Map, MapData};
use observer_common::cpu::{COUNT_OFF_CPU, SampleKey};
use observer_common::names::maps;

use crate::kernel::shares::SampleShares;
use crate::kernel::{Kernel, batch};

/// Both tables, and the epoch that says which of them is counted in.
pub(super) struct Counts {
    tables: [MapData; 2],
    epoch_map: Array<MapData, u32>,
    epoch: u32,
    /// Whose part of the tables is how large.
    shares: SampleShares,
}

impl Counts {
    /// Takes the tables out of the kernel object.
    ///
    /// # Errors
    /// When a map is missing or of another kind.
    pub(super) fn take(kernel: &mut Kernel) -> anyhow::Result<Self> {
        Ok(Self {
            shares: SampleShares::map(kernel)?,
            tables: [
                hash_map(kernel.take_map(maps::SAMPLES_0)?)?,
                hash_map(kernel.take_map(maps::SAMPLES_1)?)?,
            ],
            epoch_map: Array::try_from(kernel.take_map(maps::SAMPLE_EPOCH)?)?,
            epoch: 0,
        })
    }

    /// Whether time off CPU is being counted.
    pub(super) fn counts_off_cpu(&self) -> bool {
        self.epoch & COUNT_OFF_CPU != 0
    }

    /// Counts time off CPU from now on, or no more.
    ///
    /// # Errors
    /// When the kernel half can't be told.
    pub(super) fn count_off_cpu(&mut self, on: bool) -> anyhow::Result<()> {
        self.set_epoch(match on {
            true => self.epoch | COUNT_OFF_CPU,
            false => self.epoch & !COUNT_OFF_CPU,
        })
    }

    /// Has the kernel half count in the other table, and returns the one it
    /// leaves, when no program can be at work in it any more: after some
    /// milliseconds.
    ///
    /// # Errors
    /// When the kernel half can't be told.
    pub(super) fn flip(&mut self) -> anyhow::Result<u32> {
        let left = self.epoch & 1;
        self.set_epoch(self.epoch ^ 1)?;
        wait_for_programs();
        Ok(left)
    }

    /// Empties a table that was left: `each` gets every key with what was
    /// counted.
    ///
    /// # Errors
    /// When the table can't be read.
    pub(super) fn empty(
        &mut self,
        table: u32,
        each: impl FnMut(SampleKey, u64),
    ) -> anyhow::Result<()> {
        let [even, odd] = &self.tables;
        let map = if table & 1 == 0 { even } else { odd };
        batch::take_all(map.fd().as_fd(), each).context("cannot read the samples")?;
        self.shares.emptied(table);
        Ok(())
    }

    fn set_epoch(&mut self, epoch: u32) -> anyhow::Result<()> {
        self.epoch_map
            .set(0, epoch, 0)
            .context("cannot flip the epoch of samples")?;
        self.epoch = epoch;
        Ok(())
    }
}

fn hash_map(map: Map) -> anyhow::Result<MapData> {
    match map {
        Map::HashMap(data) => Ok(data),
        _ => bail!("not a hash map"),
    }
}

/// Returns when every program that ran at the call has ended.
fn wait_for_programs() {
    /// `MEMBARRIER_CMD_GLOBAL`: waits for an RCU grace period, and programs run
    /// inside of RCU read-side critical sections.
    const GLOBAL: libc::c_int = 1;
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result != 0 {
        // Refused with nohz_full CPUs: a program takes microseconds.
        std::thread::sleep(Duration::from_millis(10));
    }
}
