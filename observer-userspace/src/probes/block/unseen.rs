//! Operations whose end the kernel showed to no program.
//!
//! The kernel half counts them when the request is used again. Until then they
//! are found here: a disk that has nothing under way has no request that is
//! issued and not done.

use std::collections::HashMap;

use anyhow::Result;
use aya::maps::{HashMap as BpfHashMap, MapData};
use observer_common::block::Request;
use observer_common::workload::TRACED;

use super::devices::Devices;
use crate::kernel::Kernel;
use crate::kernel::object::Bytes;

/// Looks for them when a disk's figures differ from the kernel's own.
#[derive(Default)]
pub struct Unseen {
    requests: Option<BpfHashMap<MapData, u64, Bytes<Request>>>,
    /// By disk: by how much the kernel's count of operations is ahead of ours,
    /// because it is older.
    ahead: HashMap<u32, i64>,
    wanted: bool,
    found: Vec<Request>,
}

impl Unseen {
    /// Takes the table of requests, when the programs are attached.
    ///
    /// # Errors
    ///
    /// When somebody else took it.
    pub fn start(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.requests = Some(BpfHashMap::try_from(kernel.take_map("REQUESTS")?)?);
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
        self.found.extend(
            requests
                .iter()
                .filter_map(Result::ok)
                .map(|(_, request)| request.0)
                .filter(|request| {
                    request.started != 0
                        && request.issued != 0
                        && request.started < idle_at
                        && request.owner.flags & TRACED != 0
                        && devices.is_idle(request.device)
                }),
        );
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
