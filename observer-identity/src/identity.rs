//! Who a workload is: the program's own word, the cgroup's, the executable's.

use std::borrow::Cow;

use crate::candidate::{Candidate, Source};
use crate::cgroup::CgroupIdentity;
use crate::program::Program;
use crate::stable::{is_passing, pod_owner, versionless};
use crate::{text, unit};

/// Linux cuts comms to this many bytes (`TASK_COMM_LEN` without the NUL).
const COMM_LIMIT: usize = 15;

/// Attributes of a resource that are taken from what the process declares.
const DECLARED: &[&str] = &[
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
    "k8s.pod.name",
    "k8s.container.name",
];

/// What `deployment.environment.name` was called before 1.27 of the conventions.
const OLD_ENVIRONMENT: &str = "deployment.environment";

/// Who a workload is. Two processes of one name and cgroup are one program if these are
/// equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProgramIdentity {
    /// `service.name`.
    pub service_name: String,
    /// Where that comes from.
    pub source: Source,
    /// What else a resource says, by the names of OpenTelemetry's conventions.
    pub attributes: Vec<(Cow<'static, str>, String)>,
    /// The name could be anybody's (`server`): what its container is called is better.
    pub is_weak: bool,
}

/// The comm that the kernel knows a workload by, and the name of the host, which isn't any
/// container's.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The thread-group leader's name.
    pub comm: &'a str,
    /// What the cgroups say.
    pub cgroup: &'a CgroupIdentity,
    /// The host's name.
    pub host_name: Option<&'a str>,
}

impl ProgramIdentity {
    /// Of a process in its place; of one that is gone, by its place alone.
    pub fn new(program: Option<&Program>, place: &Place<'_>) -> Self {
        let is_kernel_thread = match program {
            Some(program) => program.is_kernel_thread,
            // Workers come and go; their names are their own kind.
            None => place.comm == "kworker" || place.comm.starts_with("kworker/"),
        };
        let name = if is_kernel_thread {
            worker_pool(place.comm)
        } else {
            place.comm
        };
        let executable = program
            .and_then(|p| p.executable.as_deref())
            .unwrap_or(name);
        let chosen = if is_kernel_thread {
            Candidate::new(name, Source::KernelThread)
        } else {
            choose(program, place, executable)
        };
        let attributes = attributes(program, place, name, executable, &chosen);
        Self {
            service_name: text::name(&chosen.name).unwrap_or_else(|| executable.to_owned()),
            source: chosen.source,
            attributes,
            is_weak: chosen.is_weak,
        }
    }

    /// Of several processes of one place that differ: what holds for all of them.
    pub fn of_several(programs: &[Program], place: &Place<'_>) -> Self {
        let mut all = programs
            .iter()
            .map(|program| Self::new(Some(program), place));
        let Some(first) = all.next() else {
            return Self::new(None, place);
        };
        let rest: Vec<Self> = all.collect();
        let agreed = |other: &Self| other.service_name == first.service_name;
        let mut found = match programs.first() {
            Some(program) if !rest.iter().all(agreed) => {
                Self::new(Some(&program.without_name()), place)
            }
            _ => first,
        };
        found.attributes.retain(|attribute| {
            rest.iter()
                .all(|other| other.attributes.contains(attribute))
        });
        found
    }

    /// Whether it says what another process of the same name and cgroup may say otherwise:
    /// its name, or an attribute that it declares.
    pub fn is_of_process(&self) -> bool {
        self.source.is_of_process() || DECLARED.iter().any(|key| self.get(key).is_some())
    }

    /// The value of an attribute beside the service's name.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }
}

impl Program {
    /// One attribute, by the environment or by what the SDK published.
    fn says(&self, key: &str) -> Option<&str> {
        let published = self.context.as_ref();
        self.declared
            .get(key)
            .or_else(|| published?.get(key))
            .filter(|value| !value.is_empty())
    }

    /// The same without all that names this very process's service.
    pub fn without_name(&self) -> Self {
        let mut declared = self.declared.clone();
        declared.service_name = None;
        Self {
            declared,
            context: None,
            ran: None,
            ..self.clone()
        }
    }
}

/// The first name that is there.
fn choose(program: Option<&Program>, place: &Place<'_>, executable: &str) -> Candidate {
    let declared = program.and_then(|p| p.declared.service_name.as_deref());
    let published = program.and_then(|p| p.context.as_ref()?.get("service.name"));
    let ran = program.and_then(|p| p.ran.as_ref());
    let unit = || place.cgroup.unit.as_deref().and_then(unit::service_name);
    let named = |name: Option<&str>, source| {
        Some(Candidate::new(text::name(name?)?, source)).filter(|it| !is_unknown(&it.name))
    };
    named(declared, Source::Environment)
        .or_else(|| named(published, Source::ProcessContext))
        .or_else(|| ran.filter(|ran| !ran.is_weak).cloned())
        .or_else(|| Some(Candidate::new(unit()?, Source::Unit)))
        .or_else(|| {
            Some(Candidate::new(
                container(program, place)?,
                Source::Container,
            ))
        })
        .or_else(|| ran.cloned())
        .unwrap_or_else(|| {
            let applet = program.and_then(|p| p.applet.as_deref());
            let name = applet.unwrap_or(executable);
            // A file that is called otherwise at each start.
            let name = if is_passing(name) { place.comm } else { name };
            Candidate::new(
                versionless(crate::script::unwrapped(name)),
                Source::Executable,
            )
        })
}

/// What SDKs say if nobody told them: `unknown_service:java`.
fn is_unknown(name: &str) -> bool {
    name.starts_with("unknown_service")
}

/// What a container is called, if that outlives it.
fn container(program: Option<&Program>, place: &Place<'_>) -> Option<String> {
    if let Some(name) = &place.cgroup.container_name {
        return Some(name.clone());
    }
    if !place.cgroup.is_container() && place.cgroup.pod_uid.is_none() {
        return None;
    }
    let hints = &program?.hints;
    if let Some(task) = &hints.nomad_task {
        return Some(task.clone());
    }
    let name = host_name_of_its_own(program, place)?;
    let is_pod = place.cgroup.pod_uid.is_some();
    let name = if is_pod { pod_owner(name) } else { name };
    // Runtimes give a container its own id for a name.
    let id = place.cgroup.container_id.as_deref();
    let is_id = id.is_some_and(|id| name.len() >= 12 && id.starts_with(name));
    (!is_id && !is_passing(name)).then(|| versionless(name).to_owned())
}

/// A container's host name that isn't the host's.
fn host_name_of_its_own<'a>(program: Option<&'a Program>, place: &Place<'_>) -> Option<&'a str> {
    let name = program?.hints.hostname.as_deref()?;
    Some(name).filter(|name| place.host_name != Some(*name))
}

fn attributes(
    program: Option<&Program>,
    place: &Place<'_>,
    name: &str,
    executable: &str,
    chosen: &Candidate,
) -> Vec<(Cow<'static, str>, String)> {
    let mut found: Vec<(Cow<'static, str>, String)> = Vec::new();
    let mut add = |key: &'static str, value: Option<&str>| {
        if let Some(value) = value.and_then(text::value) {
            found.push((Cow::Borrowed(key), value));
        }
    };
    let says = |key| program.and_then(|program| program.says(key));
    for key in DECLARED {
        let value = match *key {
            "service.version" => says(key).or(chosen.version.as_deref()),
            "deployment.environment.name" => says(key).or_else(|| says(OLD_ENVIRONMENT)),
            // The kubelet gives each pod its name for a host name.
            "k8s.pod.name" if place.cgroup.pod_uid.is_some() => {
                says(key).or_else(|| host_name_of_its_own(program, place))
            }
            key => says(key),
        };
        add(key, value);
    }
    add("container.id", place.cgroup.container_id.as_deref());
    add("container.name", place.cgroup.container_name.as_deref());
    add("k8s.pod.uid", place.cgroup.pod_uid.as_deref());
    // As the Collector's systemd receiver calls it.
    add("systemd.unit.name", place.cgroup.unit.as_deref());
    add("process.executable.name", Some(executable));
    add(
        "process.executable.path",
        program.and_then(|p| p.executable_path.as_deref()),
    );
    add(
        "process.runtime.name",
        program.and_then(|p| p.runtime_name.as_deref()),
    );
    add(
        "process.runtime.version",
        program.and_then(|p| p.runtime_version.as_deref()),
    );
    if !is_same_name(name, executable) {
        // A script, a renamed process, a busybox: one executable, many programs.
        add("observer.workload.comm", Some(name));
    }
    found
}

/// `kworker/0:1H-kblockd` → `kworker`, `jbd2/vda1-8` → `jbd2`: kernel threads
/// that differ only in their CPU, device or number are one thing to a person.
/// The kernel half cuts their names at the same characters.
pub fn worker_pool(comm: &str) -> &str {
    comm.split(['/', ':', '-']).next().unwrap_or(comm)
}

/// Whether the comm is just the executable's name, cut to its limit.
fn is_same_name(comm: &str, executable: &str) -> bool {
    // A character that didn't fit whole isn't there.
    let next = executable
        .strip_prefix(comm)
        .and_then(|rest| rest.chars().next());
    comm == executable || next.is_some_and(|next| comm.len() + next.len_utf8() > COMM_LIMIT)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
