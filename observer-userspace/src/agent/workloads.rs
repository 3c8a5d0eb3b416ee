//! What the daemon knows of the kernel half's workloads.

use std::sync::Arc;

use observer_common::workload::NewWorkload;

use crate::identity::{Host, Resolver};
use crate::kernel::Kernel;
use crate::signals::attribute::SharedResource;

/// Resolves workloads when the kernel announces them.
pub struct Workloads {
    resolver: Resolver,
    host: SharedResource,
    /// A workload was asked for that was never announced.
    unknown: bool,
}

impl Workloads {
    /// Knows only the host.
    pub fn new(host: &Host) -> Self {
        Self {
            resolver: Resolver::new(host),
            host: Arc::clone(&host.daemon),
            unknown: false,
        }
    }

    /// Takes an announcement.
    pub fn learn(&mut self, new: &NewWorkload) {
        self.resolver.resolve(new);
    }

    /// The resource of a workload; that of `other` for one that was never
    /// announced (see [`Workloads::catch_up`]).
    pub fn resource(&mut self, id: u16) -> SharedResource {
        self.resolver.get(id.into()).unwrap_or_else(|| {
            self.unknown = true;
            self.resolver.other()
        })
    }

    /// Number of workloads that are known.
    pub fn count(&self) -> usize {
        self.resolver.count()
    }

    /// The host's own resource.
    pub fn host(&self) -> SharedResource {
        Arc::clone(&self.host)
    }

    /// Reads the kernel's table if an announcement was lost: cgroup and comm
    /// are known there, only the process isn't.
    pub fn catch_up(&mut self, kernel: &mut Kernel) {
        if !std::mem::take(&mut self.unknown) {
            return;
        }
        match kernel.workloads() {
            Ok(workloads) => {
                for (key, id) in workloads {
                    self.resolver.resolve(&NewWorkload { key, id, tgid: 0 });
                }
            }
            Err(error) => tracing::warn!("the table of workloads can't be read: {error:#}"),
        }
    }
}
