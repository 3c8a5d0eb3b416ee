//! Disks: their names, and how many operations each has under way.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use observer_common::block::{device, split_device};

/// What the kernel itself counts; see Documentation/admin-guide/iostats.rst.
const DISKSTATS: &str = "/proc/diskstats";

/// One line of /proc/diskstats.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    device: u32,
    name: &'a str,
    /// Any operation since boot?
    used: bool,
    in_flight: u64,
    /// Reads, writes, discards and flushes since boot.
    operations: u64,
}

/// What a line of /proc/diskstats is about.
#[derive(Clone, Copy)]
struct Disk {
    /// A whole disk, not a partition.
    whole: bool,
    /// One whose driver gets requests: not one that hands on what it gets to others
    /// below it, or that is in memory.
    requests: bool,
}

/// All disks.
#[derive(Default)]
pub struct Devices {
    /// By device number. Disks that went away keep their names: what they did
    /// is still counted.
    names: HashMap<u32, String>,
    /// What is known of each name.
    kinds: HashMap<String, Disk>,
    in_flight: Vec<(String, u64)>,
    /// Operations since boot of disks that have requests.
    operations: Vec<(u32, String, u64)>,
    /// Operations since boot of the disks that have none under way.
    idle: HashMap<u32, u64>,
}

impl Devices {
    /// Reads the names and the operations under way.
    ///
    /// # Errors
    ///
    /// When `/proc/diskstats` can't be read; then the last ones stay.
    pub fn refresh(&mut self) -> Result<()> {
        let text = fs::read_to_string(DISKSTATS)
            .with_context(|| format!("cannot read {DISKSTATS}: is /proc mounted?"))?;
        self.in_flight.clear();
        self.operations.clear();
        self.idle.clear();
        for row in text.lines().filter_map(parse) {
            if self.names.get(&row.device).is_none_or(|n| n != row.name) {
                self.names.insert(row.device, row.name.to_string());
                // A name may come back as something else.
                self.kinds.remove(row.name);
            }
            if row.in_flight == 0 {
                self.idle.insert(row.device, row.operations);
            }
            let disk = self.disk(row.name);
            if row.used && disk.whole {
                self.in_flight.push((row.name.to_string(), row.in_flight));
            }
            if disk.requests {
                let of_disk = (row.device, row.name.to_string(), row.operations);
                self.operations.push(of_disk);
            }
        }
        Ok(())
    }

    /// The name of a disk, as in /proc/diskstats; its numbers when it was gone
    /// before anybody could ask.
    pub fn name(&mut self, device: u32) -> String {
        if !self.names.contains_key(&device) {
            // One that appeared since the last look.
            let _ = self.refresh();
        }
        let (major, minor) = split_device(device);
        self.names
            .entry(device)
            .or_insert_with(|| format!("{major}:{minor}"))
            .clone()
    }

    /// Operations under way, by name of the disk. Disks that were never used
    /// are left out.
    pub fn in_flight(&self) -> impl Iterator<Item = (&str, u64)> {
        self.in_flight.iter().map(|(name, n)| (name.as_str(), *n))
    }

    /// Of disks that have requests the number, the name, and the kernel's own count
    /// of operations since boot.
    pub fn operations(&self) -> impl Iterator<Item = (u32, &str, u64)> {
        let operations = self.operations.iter();
        operations.map(|(device, name, n)| (*device, name.as_str(), *n))
    }

    /// Had the disk nothing under way at the last look?
    pub fn is_idle(&self, device: u32) -> bool {
        self.idle.contains_key(&device)
    }

    /// The kernel's own count of a disk's operations since boot, if it had none
    /// under way.
    pub fn idle_operations(&self, device: u32) -> Option<u64> {
        self.idle.get(&device).copied()
    }

    fn disk(&mut self, name: &str) -> Disk {
        if let Some(known) = self.kinds.get(name) {
            return *known;
        }
        // sysfs can't have slashes in names (drivers/base/core.c).
        let folder = Path::new("/sys/block").join(name.replace('/', "!"));
        let disk = Disk {
            whole: folder.exists(),
            // block/blk-mq-sysfs.c; nothing else has requests since 5.0.
            requests: folder.join("mq").exists(),
        };
        self.kinds.insert(name.to_string(), disk);
        disk
    }
}

fn parse(line: &str) -> Option<Row<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let major = fields.next()?.parse().ok()?;
    let minor = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    let counts: Vec<u64> = fields.map_while(|f| f.parse().ok()).collect();
    Some(Row {
        device: device(major, minor),
        name,
        used: counts.iter().any(|n| *n != 0),
        // The ninth, and the only one that falls.
        in_flight: *counts.get(8)?,
        // Discards came with 4.18, flushes with 5.5.
        operations: [0, 4, 11, 15].iter().filter_map(|i| counts.get(*i)).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a line with the 17 fields of kernels since 5.5.
    #[test]
    fn lines() {
        let line = " 254       0 vda 144843 11221 9338002 180263 31764 82875 24349248 84322 3 14704 266993 17610 30 5750112 2379 933 28";
        let row = parse(line).expect("a line of /proc/diskstats");
        let expected = Row {
            device: device(254, 0),
            name: "vda",
            used: true,
            in_flight: 3,
            operations: 144_843 + 31_764 + 17_610 + 933,
        };
        assert_eq!(row, expected);
        assert_eq!(parse(""), None);
    }

    /// Checks that a device nobody knows is named by its numbers.
    #[test]
    fn unknown() {
        assert_eq!(Devices::default().name(device(4000, 77)), "4000:77");
    }
}
