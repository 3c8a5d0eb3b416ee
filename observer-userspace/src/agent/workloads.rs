//! What the daemon knows of the kernel half's workloads.

pub mod refusals;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use observer_common::workload::{KERNEL, NewWorkload, WorkloadId};
use observer_containers::Containers;

use self::refusals::{Known, Shares};
use super::looks::Look;
use super::programs::Discovery;
use crate::foreign::{self, Tenant};
use crate::identity::{Host, Resolver};
use crate::kernel::workload_ids::Listed;
use crate::kernel::{Kernel, clock};
use observer_signals::attribute::SharedResource;
use observer_signals::metric::ResourceMetrics;
use observer_signals::{Resource, WallClock};

/// Resolves workloads when the kernel announces them.
pub struct Workloads {
    resolver: Resolver,
    discovery: Discovery,
    host: SharedResource,
    tenants: HashMap<u32, Known>,
    /// Kernel time (ns) of the beginning.
    began: u64,
}

impl Workloads {
    /// Knows only the host.
    pub fn new(host: &Host, containers: Option<Containers>) -> Self {
        Self {
            resolver: Resolver::asking(host, containers),
            discovery: Discovery::default(),
            host: Arc::clone(&host.daemon),
            tenants: HashMap::new(),
            began: clock::monotonic(),
        }
    }

    /// Takes an announcement.
    pub fn learn(&mut self, new: &NewWorkload) {
        if new.is_overflow() {
            self.refuse(new);
        } else if new.is_process() {
            self.discovery.first(Look {
                process: new.tgid,
                of: Some((new.key, new.id)),
                given: None,
                is_again: false,
            });
        } else {
            self.meet(new);
            self.resolve(new);
        }
    }

    /// Learns who a tenant is.
    fn meet(&mut self, new: &NewWorkload) {
        if self.tenants.contains_key(&new.tenant) {
            return;
        }
        let name = match new.uid {
            // Root is a tenant in each cgroup.
            0 | KERNEL => format!("cgroup {}", self.resolver.place(&new.key).1),
            user => Tenant::User(user).to_string(),
        };
        self.tenants.insert(new.tenant, Known::new(name));
    }

    /// Says who found no room in what the kernel half shares.
    pub fn refuse_all(&mut self, shares: &Shares) {
        refusals::tell(&mut self.tenants, shares);
    }

    fn resolve(&mut self, new: &NewWorkload) {
        let resolved = self.resolver.resolve(new);
        if let Some((process, command)) = resolved.command {
            self.discovery.seen(process, command, (new.key, new.id));
        }
        if let Some((process, time, program)) = resolved.program {
            let of = (new.key, new.id);
            self.discovery.bind(of, process, time, program);
        }
        for process in resolved.different {
            self.discovery.first(Look {
                process,
                of: Some((new.key, new.id)),
                given: None,
                is_again: false,
            });
        }
    }

    /// Processes that were not looked at, since too many were new.
    pub fn overlooked(&self) -> u64 {
        self.discovery.overlooked() + self.resolver.unnumbered()
    }

    /// Chooses some of all processes, each with its workload, to be looked at again.
    pub fn audit(&mut self, processes: Vec<(u32, WorkloadId)>) {
        self.discovery.audit().choose(processes);
    }

    /// Processes that were under another name than what they run.
    pub fn corrected(&mut self) -> u64 {
        self.discovery.audit().corrected()
    }

    /// When a process is to be looked at.
    pub fn due(&self) -> Option<Instant> {
        self.discovery.due()
    }

    /// What knows workloads, and what finds out about processes.
    pub fn parts(&mut self) -> (&mut Resolver, &mut Discovery) {
        (&mut self.resolver, &mut self.discovery)
    }

    /// Takes what the kernel half's table says: all but a process.
    pub fn learn_listed(&mut self, listed: &Listed) {
        if !self.knows(listed.id) {
            self.resolve(&NewWorkload {
                key: listed.key,
                id: listed.id,
                tgid: 0,
                tenant: listed.tenant,
                uid: 0,
            });
        }
    }

    /// Says who found no room.
    fn refuse(&mut self, new: &NewWorkload) {
        let (comm, cgroup) = self.resolver.place(&new.key);
        self.meet(new);
        let tenant = self.tenants.get(&new.tenant);
        if !tenant.is_some_and(|tenant| foreign::refused("workloads", &tenant.name)) {
            return;
        }
        tracing::warn!(
            comm,
            cgroup,
            pid = new.tgid,
            "no room for more workloads of {cgroup}: new ones, as {comm}, are counted as `other` until some end; a larger --table-workloads has more room"
        );
    }

    /// Whether a workload was announced.
    pub fn knows(&self, id: WorkloadId) -> bool {
        self.resolver.get(id).is_some()
    }

    /// The resource of a workload; that of `other` for one that was never
    /// announced (see [`Workloads::catch_up`]) or is over.
    pub fn resource(&self, id: WorkloadId) -> SharedResource {
        self.resolver
            .get(id)
            .unwrap_or_else(|| self.resolver.other())
    }

    /// The resource of a workload that was announced.
    pub fn known(&self, id: WorkloadId) -> Option<SharedResource> {
        self.resolver.get(id)
    }

    /// Has all series of `other` begin with the daemon. Who becomes `other` may have begun
    /// before the rest of it: its series would begin earlier than was said, be another one
    /// to who reads it, and count twice.
    pub fn begin_other(&self, resources: &mut [ResourceMetrics], clock: WallClock) {
        let (other, start) = (self.resolver.other(), clock.wall(self.began));
        let others = resources.iter_mut();
        let others = others.filter(|group| Arc::ptr_eq(&group.resource, &other));
        for metric in others.flat_map(|group| &mut group.metrics) {
            for point in metric.points.iter_mut().filter(|point| point.start != 0) {
                point.start = start;
            }
        }
    }

    /// Whether others than `id` are of this resource.
    pub fn is_shared(&self, id: WorkloadId, resource: &Arc<Resource>) -> bool {
        self.resolver.others_of(id, resource)
    }

    /// What was asked of containers, and for which workloads that is.
    pub fn names(&mut self) -> &mut Resolver {
        &mut self.resolver
    }

    /// Forgets a workload that is over.
    pub fn forget(&mut self, id: WorkloadId) {
        self.resolver.forget(id);
    }

    /// The host's own resource.
    pub fn host(&self) -> SharedResource {
        Arc::clone(&self.host)
    }

    /// Reads the kernel's table if one of `ids` was not announced: cgroup and
    /// comm are known there, only the process isn't.
    pub fn catch_up(&mut self, mut ids: impl Iterator<Item = WorkloadId>, kernel: &mut Kernel) {
        if ids.all(|id| self.knows(id)) {
            return;
        }
        self.learn_all(kernel);
    }

    /// Reads the kernel's table: also of those that nothing was counted for yet.
    pub fn learn_all(&mut self, kernel: &mut Kernel) {
        match kernel.workloads() {
            Ok(workloads) => workloads
                .iter()
                .for_each(|listed| self.learn_listed(listed)),
            Err(error) => tracing::warn!("the table of workloads can't be read: {error:#}"),
        }
    }
}
