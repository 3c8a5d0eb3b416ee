//! The resolver: a workload's integer becomes its resource, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use observer_common::workload::{
    FOLDED, NO_PROGRAM, NewWorkload, OTHER, ProgramId, WorkloadId, WorkloadKey,
};

use super::hierarchy::Hierarchies;
use super::host::Host;
use super::names::Names;
use super::process::comm_from_bytes;
use super::programs::Programs;
use super::resources::Resources;
use observer_containers::Containers;
use observer_identity::ProgramIdentity;
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Resource};

/// Resolves workloads at first sight and remembers them.
///
/// Workloads whose attributes are equal (a service that was restarted in a new
/// cgroup, the kernel's workers) share one [`Resource`], by pointer: whoever
/// exports must add up their series, so that no stream appears twice.
#[derive(Debug)]
pub struct Resolver {
    pub(super) host: Vec<Attribute>,
    pub(super) hierarchies: Hierarchies,
    /// See [`v1_controller`](super::v1_controller).
    pub(super) controller: Option<&'static str>,
    known: HashMap<WorkloadId, Known>,
    resources: Resources,
    pub(super) programs: Programs,
    /// All processes that are older than the daemon were looked at.
    pub(super) is_settled: bool,
    pub(super) names: Names,
    other: SharedResource,
}

/// A resource, and the identity that it is made of.
#[derive(Debug)]
struct Known {
    resource: SharedResource,
    identity: Option<Arc<ProgramIdentity>>,
}

/// What is known of a workload that was just resolved.
#[derive(Debug, Default)]
pub struct Resolved {
    /// It is one program's, which tells it from others of its name and cgroups: a process
    /// of it, when that was read (kernel time, ns), and the program's number. Who comes by
    /// that name is to be another workload.
    pub program: Option<(u32, u64, ProgramId)>,
    /// Processes of it that are different programs.
    pub different: Vec<u32>,
    /// A process of it, and its arguments.
    pub command: Option<(u32, Vec<String>)>,
}

impl Resolver {
    /// A resolver that knows no workload yet.
    pub fn new(host: &Host) -> Self {
        let mut other = host.attributes.clone();
        other.push(Attribute::new("service.name", "other"));
        other.push(Attribute::new("otel.metric.overflow", true));
        let mut resources = Resources::default();
        let known = [OTHER, FOLDED].map(|id| {
            let resource = resources.take(Resource {
                attributes: other.clone(),
            });
            let identity = None;
            (id, Known { resource, identity })
        });
        let other = resources.take(Resource { attributes: other });
        Self {
            host: host.attributes.clone(),
            hierarchies: Hierarchies::open(),
            controller: super::v1_controller(),
            known: known.into(),
            resources,
            programs: Programs::default(),
            is_settled: false,
            names: Names::default(),
            other,
        }
    }

    /// The same, and asks about containers. What is said of them comes later, with
    /// [`Self::hear`].
    pub(crate) fn asking(host: &Host, containers: Option<Containers>) -> Self {
        Self {
            names: Names::new(containers),
            ..Self::new(host)
        }
    }

    /// Learns of a workload at first sight, with the process that the kernel half names
    /// to represent it, dead or alive. From then on [`Self::get`] has its resource.
    pub fn resolve(&mut self, new: &NewWorkload) -> Resolved {
        if self.known.contains_key(&new.id) {
            return Resolved::default();
        }
        let found = self.identify(new);
        let identity = Arc::new(found.identity);
        self.learn(new.id, &identity, &[], Some(Arc::clone(&identity)));
        self.names.ask(new.id, &identity);
        let program = found.process;
        let program =
            program.map(|(process, time)| (process, time, self.programs.number(&identity)));
        let program = program.filter(|(.., number)| *number != NO_PROGRAM);
        Resolved {
            program,
            different: found.different,
            command: found.command,
        }
    }

    /// Gives a workload its resource: as it is `called`, with what it is compared by.
    pub(super) fn learn(
        &mut self,
        id: WorkloadId,
        called: &ProgramIdentity,
        image_tags: &[String],
        identity: Option<Arc<ProgramIdentity>>,
    ) {
        let mut own = workload_attributes(called);
        if !image_tags.is_empty() {
            own.push(Attribute::new("container.image.tags", image_tags.to_vec()));
        }
        // What it says of itself is closer than what is said of all (its node, say).
        let of_host = self.host.iter();
        let of_host = of_host.filter(|it| own.iter().all(|own| own.key != it.key));
        let attributes = of_host.cloned().chain(own.iter().cloned()).collect();
        let resource = self.resources.take(Resource { attributes });
        let before = self.known.insert(id, Known { resource, identity });
        if let Some(before) = before {
            self.resources.let_go(&before.resource);
        }
    }

    /// The resource of a workload that was resolved before;
    /// of [`OTHER`] always.
    pub fn get(&self, id: WorkloadId) -> Option<SharedResource> {
        self.known.get(&id).map(|known| Arc::clone(&known.resource))
    }

    /// Comm and cgroup of a workload, to name it where it isn't resolved.
    pub fn place(&mut self, key: &WorkloadKey) -> (String, String) {
        let path = self
            .hierarchies
            .v2_path(key.cgroup_v2)
            .or_else(|| self.hierarchies.v1_path(key.cgroup_v1));
        let path = path.unwrap_or_else(|| "a cgroup that is gone".to_owned());
        let program = self.programs.identity(key.program());
        let name = program.map(|identity| identity.service_name.clone());
        (name.unwrap_or_else(|| comm_from_bytes(&key.comm)), path)
    }

    /// Whether others than `id` have this very resource.
    pub fn others_of(&self, id: WorkloadId, resource: &SharedResource) -> bool {
        let known = self.known.get(&id);
        let is_its = known.is_some_and(|known| Arc::ptr_eq(&known.resource, resource));
        self.resources.users(resource) > usize::from(is_its)
    }

    /// The resource of all workloads that had no place in the table.
    pub fn other(&self) -> SharedResource {
        Arc::clone(&self.other)
    }

    /// What a workload was resolved to.
    pub(super) fn identity(&self, id: WorkloadId) -> Option<Arc<ProgramIdentity>> {
        self.known.get(&id)?.identity.clone()
    }

    /// From now on, who is new is no more than that.
    pub fn settle(&mut self) {
        self.is_settled = true;
    }

    /// How often a program got no number, since too many were told apart.
    pub fn unnumbered(&self) -> u64 {
        self.programs.refused()
    }

    /// Forgets numbers of programs that nobody runs any more.
    pub fn prune(&mut self) {
        self.programs.prune(Instant::now());
    }

    /// Forgets a workload that is over.
    pub fn forget(&mut self, id: WorkloadId) {
        if id != OTHER && id != FOLDED {
            if let Some(known) = self.known.remove(&id) {
                self.resources.let_go(&known.resource);
            }
            self.names.forget(id);
        }
    }
}

/// What tells this workload from the others of the host.
fn workload_attributes(identity: &ProgramIdentity) -> Vec<Attribute> {
    let source = identity.source.as_str();
    let mut found = vec![
        Attribute::new("service.name", identity.service_name.clone()),
        Attribute::new("observer.service.name.source", source),
    ];
    let others = identity.attributes.iter().cloned();
    found.extend(others.map(|(key, value)| Attribute::new(key, value)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that equal workloads share one resource, different ones don't, and
    /// that an integer can be given anew.
    #[test]
    fn equal_resources_are_one() {
        let mut resolver = Resolver::new(&Host::detect());
        let gone = |id, name: u8| {
            let mut key = WorkloadKey::default();
            key.comm[0] = name;
            NewWorkload {
                key,
                id,
                tgid: 1 << 30,
                tenant: 0,
                uid: 0,
            }
        };
        let mut resolve = |id, name| {
            resolver.resolve(&gone(WorkloadId(id), name));
            resolver.get(WorkloadId(id)).expect("was resolved")
        };
        let a = resolve(1, b'a');
        let b = resolve(2, b'b');
        let again = resolve(3, b'a');
        assert!(Arc::ptr_eq(&a, &again));
        assert!(!Arc::ptr_eq(&a, &b));
        assert_eq!(resolver.get(WorkloadId(2)), Some(b));
        resolver.forget(WorkloadId(2));
        assert_eq!(resolver.get(WorkloadId(2)), None);
        resolver.forget(OTHER);
        let overflow = resolver.get(OTHER).expect("always there");
        assert_eq!(overflow.get("otel.metric.overflow"), Some(&true.into()));
    }
}
