//! `[tables]`.

use nix::unistd::{SysconfVar, sysconf};
use observer_common::tally::{HISTOGRAM_CELLS, RESERVED_CELLS};
use observer_common::workload::DEFAULT_WORKLOADS;

use super::layer::TableLayer;
use super::units::Size;
use crate::stacks::DEFAULT_TABLE_BYTES;

/// A workload's number has 16 bits where it is part of a key.
const MAX_WORKLOADS: u32 = 1 << 16;

/// Some cells are set aside for `other`, and that many for the rest.
const MIN_CELLS: u32 = 2 * RESERVED_CELLS;

/// About a gigabyte of kernel memory.
const MAX_CELLS: u32 = 1 << 20;

/// Sizes of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Workloads to tell apart.
    pub workloads: u32,
    /// Series of one probe family.
    pub cells: u32,
    /// Bytes of one family's ring buffer: a power of two, whole pages.
    pub ring_bytes: u32,
    /// Bytes that unwinding tables may take in the kernel.
    pub unwind_bytes: u64,
}

impl Tables {
    pub(super) fn resolve(layer: &TableLayer) -> anyhow::Result<Self> {
        let ring_bytes = ring_bytes(layer.ring, 256 << 10)?;
        let workloads = layer.workloads.map_or(DEFAULT_WORKLOADS, |n| n.0);
        anyhow::ensure!(
            workloads <= MAX_WORKLOADS,
            "the table of workloads has at most {MAX_WORKLOADS} entries, not {workloads}"
        );
        let cells = layer.cells.map_or_else(default_cells, |n| n.0);
        anyhow::ensure!(
            (MIN_CELLS..=MAX_CELLS).contains(&cells),
            "the table of cells has from {MIN_CELLS} to {MAX_CELLS} entries, not {cells}"
        );
        Ok(Self {
            workloads,
            cells,
            ring_bytes,
            unwind_bytes: layer.unwind.map_or(DEFAULT_TABLE_BYTES, |n| n.0),
        })
    }
}

/// The size of a ring buffer.
pub(super) fn ring_bytes(size: Option<Size>, default: u64) -> anyhow::Result<u32> {
    let ring = size.map_or(default, |size| size.0);
    u32::try_from(ring)
        .ok()
        .filter(|bytes| bytes.is_power_of_two() && (4096..=1 << 30).contains(bytes))
        .ok_or_else(|| {
            anyhow::anyhow!(
                "ring buffers have a power of two of bytes, from 4KiB to 1GiB, not {ring}"
            )
        })
}

/// Cells belong to CPUs, so more CPUs need more of them: 1,024 for each, from
/// 8,192 (12 MiB of kernel memory) to 65,536 (94 MiB). All CPUs that are online count,
/// not those that a cgroup's limit leaves to the daemon: others are counted on them.
fn default_cells() -> u32 {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    let cpus = online
        .and_then(|cpus| u32::try_from(cpus).ok())
        .unwrap_or(1);
    cpus.saturating_mul(1024)
        .clamp(HISTOGRAM_CELLS, 8 * HISTOGRAM_CELLS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::Layer;

    fn resolve(text: &str) -> anyhow::Result<Tables> {
        let layer: Layer = toml::from_str(&format!("[tables]\n{text}"))?;
        Tables::resolve(&layer.tables)
    }

    /// Checks that impossible sizes are refused.
    #[test]
    fn impossible_sizes_are_refused() {
        for ring in ["3000", "1KiB", "5000000", "8GiB"] {
            assert!(resolve(&format!("ring='{ring}'")).is_err(), "{ring}");
        }
        for size in ["workloads=65537", "cells=1000", "cells=2000000"] {
            let error = resolve(size).expect_err(size);
            assert!(error.to_string().contains("entries, not"), "{error}");
        }
        let largest = resolve("workloads=65536\ncells=1048576\nring='1GiB'").expect("possible");
        assert_eq!((largest.workloads, largest.cells), (1 << 16, 1 << 20));
    }
}
