//! Operations whose end the kernel showed to no program.
//!
//! The kernel half counts them when the request is used again. Until then they
//! are found here: a disk that has nothing under way has no request that is
//! issued and not done.

use std::collections::HashMap;

use anyhow::Result;
use aya::maps::{HashMap as BpfHashMap, MapData};
use observer_common::block::{Request, SETS, Set};
use observer_common::names::maps;
use observer_common::workload::TRACED;

use super::devices::Devices;
use crate::kernel::Kernel;
use crate::kernel::mapped::Mapped;
use crate::kernel::object::{Bytes, array_fd};

/// Looks for them when a disk's figures differ from the kernel's own.
#[derive(Default)]
pub struct Unseen {
    requests: Option<Table>,
    /// By disk: by how much the kernel's count of operations is ahead of ours,
    /// because it is older.
    ahead: HashMap<u32, i64>,
    wanted: bool,
    found: Vec<Request>,
}

/// The requests under way: in sets, and, where one was full, in a hash.
struct Table {
    sets: Mapped<Set>,
    spilled: BpfHashMap<MapData, u64, Bytes<Request>>,
}

impl Table {
    fn iter(&self) -> impl Iterator<Item = Request> {
        let sets = (0..self.sets.len()).filter_map(|index| self.sets.get(index));
        let ways = sets.flat_map(|set| set.ways);
        let in_sets = ways.filter(|way| way.key != 0).map(|way| way.request);
        let spilled = self.spilled.iter().filter_map(Result::ok);
        in_sets.chain(spilled.map(|(_, request)| request.0))
    }
}

impl Unseen {
    /// Takes the table of requests, when the programs are attached.
    ///
    /// # Errors
    ///
    /// When somebody else took it, or it can't be mapped.
    pub fn start(&mut self, kernel: &mut Kernel) -> Result<()> {
        let sets = array_fd(kernel.map_mut(maps::REQUEST_SETS)?)?;
        self.requests = Some(Table {
            sets: Mapped::map(sets, SETS)?,
            spilled: BpfHashMap::try_from(kernel.take_map(maps::REQUESTS)?)?,
        });
        Ok(())
    }

    /// Looks through the table, if there is reason to. `idle_at` is the kernel
    /// time before `devices` was read.
    pub fn look(&mut self, devices: &Devices, idle_at: u64) {
        // What was found is looked for again: it may have been counted since.
        if !self.wanted && self.found.is_empty() {
            return;
        }
        self.wanted = false;
        self.found.clear();
        let Some(requests) = &self.requests else {
            return;
        };
        self.found.extend(requests.iter().filter(|request| {
            request.started != 0
                && request.issued != 0
                && request.started < idle_at
                && request.owner.flags & TRACED != 0
                && devices.is_idle(request.device)
        }));
    }

    /// What was found.
    pub fn found(&self) -> &[Request] {
        &self.found
    }

    /// Compares our count of a disk's operations, those found included, with
    /// the kernel's.
    pub fn compare(&mut self, device: u32, ours: u64, devices: &Devices) {
        let Some(kernels) = devices.idle_operations(device) else {
            return;
        };
        let ahead = kernels as i64 - ours as i64;
        // When it can't be explained, it isn't looked for again and again.
        if self.ahead.insert(device, ahead) != Some(ahead) {
            self.wanted = true;
        }
    }
}
