//! What the kernel counts of disks itself.

use std::collections::HashMap;

use observer_common::block::split_label;
use observer_common::tally::Kind;

use super::devices::Devices;
use crate::blindness::{Unit, Witness};
use crate::kernel::cells::Tallies;

/// Disk operations of which fewer aren't compared.
const LEAST: u64 = 20;

/// One of each disk that has requests. (Others, stacked on those or in memory, are
/// counted by the kernel and not by us.)
pub(super) fn all(devices: &Devices, tallies: &Tallies) -> Vec<Witness> {
    let seen = operations(tallies);
    let disks = devices.operations();
    disks
        .map(|(device, name, counted)| Witness {
            what: format!("ends of disk operations of {name}").into(),
            source: "/proc/diskstats",
            unit: Unit::Events,
            seen: seen.get(&device).copied().unwrap_or(0),
            counted,
            least: LEAST,
        })
        .collect()
}

/// Ours, by disk: those whose begin and end were seen. What is only found out when
/// the request is used again is counted, but that is no seeing.
fn operations(tallies: &Tallies) -> HashMap<u32, u64> {
    let mut operations = HashMap::new();
    for (series, tally) in &tallies.histograms {
        if series.kind == Kind::BlockTotal as u8 {
            *operations.entry(split_label(series.label).0).or_default() += tally.count();
        }
    }
    operations
}
