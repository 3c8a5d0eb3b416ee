//! What the kernel itself counts for a disk.

use std::fs;

use anyhow::{Context, Result};

/// One line of `/proc/diskstats`, as far as tests need it: see
/// Documentation/admin-guide/iostats.rst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Reads, writes, discards, flushes that are done.
    pub operations: [u64; 4],
    /// Bytes of reads, writes, discards; flushes have none.
    pub bytes: [u64; 4],
    /// Operations that were merged into others before they reached the device.
    pub merged: [u64; 4],
    /// Operations under way.
    pub in_flight: u64,
}

/// Directions in the order of [`DiskStats`]' arrays.
pub const DIRECTIONS: [&str; 4] = ["read", "write", "discard", "flush"];

impl DiskStats {
    /// Reads the line of a disk.
    pub fn read(name: &str) -> Result<Self> {
        let text = fs::read_to_string("/proc/diskstats")?;
        let line = text
            .lines()
            .find(|line| line.split_ascii_whitespace().nth(2) == Some(name))
            .with_context(|| format!("/proc/diskstats has no {name}"))?;
        let n: Vec<u64> = line
            .split_ascii_whitespace()
            .skip(3)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let field = |index: usize| n.get(index).copied().unwrap_or(0);
        Ok(Self {
            operations: [field(0), field(4), field(11), field(15)],
            // Sectors are 512 bytes, whatever the device's are.
            bytes: [field(2) * 512, field(6) * 512, field(13) * 512, 0],
            merged: [field(1), field(5), field(12), 0],
            in_flight: field(8),
        })
    }

    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        let minus = |a: [u64; 4], b: [u64; 4]| std::array::from_fn(|i| a[i] - b[i]);
        Self {
            operations: minus(self.operations, before.operations),
            bytes: minus(self.bytes, before.bytes),
            merged: minus(self.merged, before.merged),
            in_flight: self.in_flight,
        }
    }
}
