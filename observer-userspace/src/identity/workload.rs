//! The resolver: a workload's integer becomes its resource, once.

use std::collections::HashMap;
use std::sync::Arc;

use observer_common::workload::{FOLDED, NewWorkload, OTHER, WorkloadId, WorkloadKey};

use super::hierarchy::Hierarchies;
use super::host::Host;
use super::process::{Process, comm_from_bytes};
use observer_identity::cgroup::CgroupIdentity;
use observer_identity::{Place, ProgramIdentity};
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Resource};

/// How many processes of one name and cgroup are asked whether they are the same program.
const PROGRAMS: usize = 16;

/// Resolves workloads at first sight and remembers them.
///
/// Workloads whose attributes are equal (a service that was restarted in a new
/// cgroup, the kernel's workers) share one [`Resource`], by pointer: whoever
/// exports must add up their series, so that no stream appears twice.
#[derive(Debug)]
pub struct Resolver {
    host: Vec<Attribute>,
    hierarchies: Hierarchies,
    /// See [`v1_controller`](super::v1_controller).
    controller: Option<&'static str>,
    known: HashMap<WorkloadId, Known>,
    other: SharedResource,
}

/// A resource, with a number to find it by.
#[derive(Debug)]
struct Known {
    digest: u64,
    resource: SharedResource,
}

impl Known {
    fn of(resource: &SharedResource) -> Self {
        Self {
            digest: resource.digest(),
            resource: Arc::clone(resource),
        }
    }
}

impl Resolver {
    /// A resolver that knows no workload yet.
    pub fn new(host: &Host) -> Self {
        let mut other = host.attributes.clone();
        other.push(Attribute::new("service.name", "other"));
        other.push(Attribute::new("otel.metric.overflow", true));
        let other = Arc::new(Resource { attributes: other });
        Self {
            host: host.attributes.clone(),
            hierarchies: Hierarchies::open(),
            controller: super::v1_controller(),
            known: [OTHER, FOLDED].map(|id| (id, Known::of(&other))).into(),
            other,
        }
    }

    /// The resource of a workload; looks it up at first sight, with the process
    /// that the kernel half names to represent it, dead or alive.
    pub fn resolve(&mut self, new: &NewWorkload) -> SharedResource {
        if let Some(known) = self.known.get(&new.id) {
            return Arc::clone(&known.resource);
        }
        let identity = self.identify(new);
        let mut attributes = self.host.clone();
        attributes.extend(workload_attributes(identity));
        let resource = self.interned(Resource { attributes });
        self.known.insert(new.id, Known::of(&resource));
        resource
    }

    /// Who a workload is now. If several processes have its name and cgroup and are called
    /// differently, what holds for all of them.
    pub fn identify(&mut self, new: &NewWorkload) -> ProgramIdentity {
        let comm = comm_from_bytes(&new.key.comm);
        let v2_path = self.hierarchies.v2_path(new.key.cgroup_v2);
        let v1_path = self.hierarchies.v1_path(new.key.cgroup_v1);
        let (v2, v1) = (v2_path.as_deref(), v1_path.as_deref());
        let belongs = |process: &Process| {
            process.is_named(&comm) && stands_in(process, v2, v1, self.controller)
        };
        let siblings = || self.hierarchies.members(v2, v1);
        // The pid may be another program's by now; if so, any other process of
        // the same name and cgroup is as good.
        let process = Process::read(new.tgid)
            .filter(&belongs)
            .or_else(|| Process::find(&siblings(), &comm).find(&belongs));
        let of_process = process.iter().flat_map(|process| &process.cgroups);
        let paths = [v2, v1].into_iter().flatten();
        let paths = paths.chain(of_process.map(|membership| membership.path.as_str()));
        let cgroup = CgroupIdentity::of_paths(paths);
        let place = Place {
            comm: &comm,
            cgroup: &cgroup,
            host_name: self.host_name(),
        };
        let program = process.map(|process| process.program);
        let identity = ProgramIdentity::new(program.as_ref(), &place);
        let Some(program) = program.filter(|_| identity.is_of_process()) else {
            return identity;
        };
        let mut programs = vec![program];
        let siblings = siblings();
        let others = Process::find(&siblings, &comm).filter(&belongs);
        programs.extend(others.take(PROGRAMS).map(|process| process.program));
        ProgramIdentity::of_several(&programs, &place)
    }

    fn host_name(&self) -> Option<&str> {
        let name = self.host.iter().find(|it| it.key == "host.name")?;
        match &name.value {
            observer_signals::Value::String(name) => Some(name),
            _ => None,
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
        (comm_from_bytes(&key.comm), path)
    }

    /// Whether others than `id` have this very resource.
    pub fn others_of(&self, id: WorkloadId, resource: &SharedResource) -> bool {
        let mut known = self.known.iter();
        known.any(|(other, its)| *other != id && Arc::ptr_eq(&its.resource, resource))
    }

    /// The resource of all workloads that had no place in the table.
    pub fn other(&self) -> SharedResource {
        Arc::clone(&self.other)
    }

    /// Forgets a workload that is over.
    pub fn forget(&mut self, id: WorkloadId) {
        if id != OTHER && id != FOLDED {
            self.known.remove(&id);
        }
    }

    /// An equal resource that is already known, or this one.
    fn interned(&self, resource: Resource) -> SharedResource {
        let digest = resource.digest();
        let mut alike = self.known.values().filter(|known| known.digest == digest);
        alike
            .find(|known| *known.resource == resource)
            .map_or_else(|| Arc::new(resource), |known| Arc::clone(&known.resource))
    }
}

/// Whether the process is (still) in the cgroups of the key, as far as that
/// can be compared: paths seen through a cgroup namespace can't.
fn stands_in(
    process: &Process,
    v2: Option<&str>,
    v1: Option<&str>,
    controller: Option<&str>,
) -> bool {
    process.cgroups.iter().all(|membership| {
        let expected = if membership.controllers.is_empty() {
            v2
        } else if membership
            .controllers
            .iter()
            .any(|c| Some(c.as_str()) == controller)
        {
            v1
        } else {
            None
        };
        expected.is_none_or(|path| membership.path.starts_with("/..") || membership.path == path)
    })
}

/// What tells this workload from the others of the host.
fn workload_attributes(identity: ProgramIdentity) -> Vec<Attribute> {
    let source = identity.source.as_str();
    let mut found = vec![
        Attribute::new("service.name", identity.service_name),
        Attribute::new("observer.service.name.source", source),
    ];
    let others = identity.attributes.into_iter();
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
                padding: 0,
            }
        };
        let a = resolver.resolve(&gone(WorkloadId(1), b'a'));
        let b = resolver.resolve(&gone(WorkloadId(2), b'b'));
        let again = resolver.resolve(&gone(WorkloadId(3), b'a'));
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
