//! What the daemon knows of the kernel half's workloads.

use std::sync::Arc;

use observer_common::workload::NewWorkload;

use crate::identity::{Host, Resolver};
use crate::kernel::Kernel;
use observer_signals::attribute::SharedResource;

/// Resolves workloads when the kernel announces them.
pub struct Workloads {
    resolver: Resolver,
    host: SharedResource,
}

impl Workloads {
    /// Knows only the host.
    pub fn new(host: &Host) -> Self {
        Self {
            resolver: Resolver::new(host),
            host: Arc::clone(&host.daemon),
        }
    }

    /// Takes an announcement.
    pub fn learn(&mut self, new: &NewWorkload) {
        self.resolver.resolve(new);
    }

    /// Whether a workload was announced.
    pub fn knows(&self, id: u16) -> bool {
        self.resolver.get(id.into()).is_some()
    }

    /// The resource of a workload; that of `other` for one that was never
    /// announced (see [`Workloads::catch_up`]).
    pub fn resource(&self, id: u16) -> SharedResource {
        self.resolver
            .get(id.into())
            .unwrap_or_else(|| self.resolver.other())
    }

    /// Number of workloads that are known.
    pub fn count(&self) -> usize {
        self.resolver.count()
    }

    /// The host's own resource.
    pub fn host(&self) -> SharedResource {
        Arc::clone(&self.host)
    }

    /// Reads the kernel's table if one of `ids` was not announced: cgroup and
    /// comm are known there, only the process isn't.
    pub fn catch_up(&mut self, mut ids: impl Iterator<Item = u16>, kernel: &mut Kernel) {
        if ids.all(|id| self.knows(id)) {
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
