//! The resolver: a workload's integer becomes its resource, once.

use std::collections::HashMap;
use std::sync::Arc;

use observer_common::workload::{FOLDED, NewWorkload, OTHER, WorkloadId, WorkloadKey};

use super::cgroup::{CgroupIdentity, parse_path};
use super::hierarchy::Hierarchies;
use super::host::Host;
use super::process::{COMM_LIMIT, Process, comm_from_bytes, worker_pool};
use observer_signals::attribute::SharedResource;
use observer_signals::{Attribute, Resource};

/// How many hex digits of a container's id name a service that has no other
/// name: as `docker ps` shows them.
const SHORT_ID: usize = 12;

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
        let comm = comm_from_bytes(&new.key.comm);
        let v2_path = self.hierarchies.v2_path(new.key.cgroup_v2);
        let v1_path = self.hierarchies.v1_path(new.key.cgroup_v1);
        let belongs = |process: &Process| {
            let (v2, v1) = (v2_path.as_deref(), v1_path.as_deref());
            process.is_named(&comm) && stands_in(process, v2, v1, self.controller)
        };
        // The pid may be another program's by now; if so, any other process of
        // the same name and cgroup is as good.
        let process = Process::read(new.tgid).filter(&belongs).or_else(|| {
            let siblings = self
                .hierarchies
                .members(v2_path.as_deref(), v1_path.as_deref());
            Process::find(&siblings, &comm).filter(&belongs)
        });
        let cgroup = [v2_path, v1_path]
            .into_iter()
            .flatten()
            .chain(
                process
                    .iter()
                    .flat_map(|p| p.cgroups.iter().map(|c| c.path.clone())),
            )
            .fold(CgroupIdentity::default(), |known, path| {
                known.or(parse_path(&path))
            });
        let mut attributes = self.host.clone();
        attributes.extend(workload_attributes(&comm, process.as_ref(), &cgroup));
        let resource = self.interned(Resource { attributes });
        self.known.insert(new.id, Known::of(&resource));
        resource
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
fn workload_attributes(
    comm: &str,
    process: Option<&Process>,
    cgroup: &CgroupIdentity,
) -> Vec<Attribute> {
    let is_kernel_thread = match process {
        Some(process) => process.is_kernel_thread,
        // Workers come and go; their names are their own kind.
        None => comm == "kworker" || comm.starts_with("kworker/"),
    };
    let name = if is_kernel_thread {
        worker_pool(comm)
    } else {
        comm
    };
    let executable = process
        .and_then(|p| p.executable.as_deref())
        .unwrap_or(name);
    let declared = process.map(|p| &p.declared);
    let service = declared
        .and_then(|d| d.service_name.clone())
        .or_else(|| cgroup.unit.as_deref().map(without_suffix))
        .or_else(|| cgroup.container_id.as_deref().map(short_id))
        .unwrap_or_else(|| executable.to_owned());

    let mut found = vec![Attribute::new("service.name", service)];
    if let Some(namespace) = declared.and_then(|d| d.get("service.namespace")) {
        found.push(Attribute::new("service.namespace", namespace.to_owned()));
    }
    if let Some(id) = &cgroup.container_id {
        found.push(Attribute::new("container.id", id.clone()));
    }
    if let Some(uid) = &cgroup.pod_uid {
        found.push(Attribute::new("k8s.pod.uid", uid.clone()));
    }
    if let Some(unit) = &cgroup.unit {
        // As the Collector's systemd receiver calls it.
        found.push(Attribute::new("systemd.unit.name", unit.clone()));
    }
    found.push(Attribute::new(
        "process.executable.name",
        executable.to_owned(),
    ));
    if !is_same_name(name, executable) {
        // A script, a renamed process, a busybox: one executable, many programs.
        found.push(Attribute::new("observer.workload.comm", name.to_owned()));
    }
    found
}

/// Whether the comm is just the executable's name, cut to its limit.
fn is_same_name(comm: &str, executable: &str) -> bool {
    // A character that didn't fit whole isn't there.
    let next = executable
        .strip_prefix(comm)
        .and_then(|rest| rest.chars().next());
    comm == executable || next.is_some_and(|next| comm.len() + next.len_utf8() > COMM_LIMIT)
}

fn without_suffix(unit: &str) -> String {
    let name = unit.rsplit_once('.').map_or(unit, |(name, _)| name);
    name.to_owned()
}

fn short_id(id: &str) -> String {
    id.get(..SHORT_ID).unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::environment::Declared;
    use super::*;

    fn get<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a observer_signals::Value> {
        attributes.iter().find(|a| a.key == key).map(|a| &a.value)
    }

    fn process(executable: &str, service: Option<&str>) -> Process {
        Process {
            executable: Some(executable.to_owned()),
            declared: Declared::new(service, None),
            ..Process::default()
        }
    }

    /// Checks the order of precedence of `service.name`: declared, unit,
    /// container, executable, comm.
    #[test]
    fn service_name_follows_precedence() {
        let unit = parse_path("/system.slice/nginx.service");
        let id = "ab".repeat(32);
        let container = parse_path(&format!("/docker/{id}"));
        let none = CgroupIdentity::default();
        let nginx = process("nginx", None);
        let shop = process("nginx", Some("shop"));
        let table = [
            (Some(&shop), &unit, "shop"),
            (Some(&nginx), &unit, "nginx"),
            (Some(&nginx), &container, "abababababab"),
            (Some(&nginx), &none, "nginx"),
            (None, &none, "worker"),
        ];
        for (process, cgroup, expected) in table {
            let found = workload_attributes("worker", process, cgroup);
            assert_eq!(
                get(&found, "service.name"),
                Some(&expected.to_owned().into())
            );
        }
    }

    /// Checks that a comm is shown only where it says more than the executable.
    #[test]
    fn comm_is_kept_where_it_differs() {
        let none = CgroupIdentity::default();
        let long = process("a-long-executable-name", None);
        let bash = process("bash", None);
        let shown = |comm, p: &Process| {
            get(
                &workload_attributes(comm, Some(p), &none),
                "observer.workload.comm",
            )
            .is_some()
        };
        assert!(!shown("a-long-executab", &long));
        assert!(!shown("обработ", &process("обработчик", None)));
        assert!(shown("a-long", &long));
        assert!(shown("backup.sh", &bash));
        assert!(!shown("bash", &bash));
    }

    /// Checks that the kernel's numbered workers are one thing.
    #[test]
    fn kernel_workers_are_one() {
        let none = CgroupIdentity::default();
        let alive = Process {
            is_kernel_thread: true,
            comm: "kworker/1:2-events".to_owned(),
            ..Process::default()
        };
        let a = workload_attributes("kworker/0:1H", None, &none);
        let b = workload_attributes("kworker/1:2", Some(&alive), &none);
        assert_eq!(a, b);
        assert_eq!(get(&a, "process.executable.name"), Some(&"kworker".into()));
    }

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
