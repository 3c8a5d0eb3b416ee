//! Who a workload is, by the word of its processes; and what a process runs.

use std::sync::Arc;
use std::time::Instant;

use observer_common::workload::{NO_PROGRAM, NewWorkload, ProgramId, WorkloadId, WorkloadKey};
use observer_identity::cgroup::CgroupIdentity;
use observer_identity::{Place, Program, ProgramIdentity, Source, unit};
use observer_signals::Value;

use super::process::{Process, comm_from_bytes, is_cut};
use super::workload::Resolver;

/// How many processes of one name and cgroup are asked whether they are the same program.
const PROGRAMS: usize = 16;

/// What a program is called of which nothing is known any more.
const NAMELESS: &str = "unknown";

/// Who a workload is, by the word of its processes.
pub(super) struct Found {
    pub(super) identity: ProgramIdentity,
    /// One of them, and when it was read (kernel time, ns), if it is one program's and
    /// others of its name may be others'.
    pub(super) process: Option<(u32, u64)>,
    /// All that were asked, where they are different programs.
    pub(super) different: Vec<u32>,
    /// A process that was looked at, and its arguments.
    pub(super) command: Option<(u32, Vec<String>)>,
}

/// What a process runs that isn't what its workload's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its leader's name when it was looked at.
    pub comm: [u8; 16],
    /// When that was (kernel time, ns).
    pub time: u64,
    /// The number of its program; [`NO_PROGRAM`]: its workload's name is right.
    pub program: ProgramId,
    /// The number of the program that its workload is called after, though that isn't its.
    pub of: Option<ProgramId>,
    /// Nothing that it does later changes that.
    pub is_final: bool,
    /// Its arguments (`process.command_args`), without what could be secret.
    pub command: Vec<String>,
}

/// A workload's place, as the kernel half and the paths of its cgroups say it.
struct Site {
    /// Its name; where a program's number is in its place, there is none.
    name: Option<String>,
    v2: Option<String>,
    v1: Option<String>,
    controller: Option<&'static str>,
}

impl Resolver {
    fn site(&mut self, key: &WorkloadKey) -> Site {
        let is_named = key.program() == NO_PROGRAM;
        Site {
            name: is_named.then(|| comm_from_bytes(&key.comm)),
            v2: self.hierarchies.v2_path(key.cgroup_v2),
            v1: self.hierarchies.v1_path(key.cgroup_v1),
            controller: self.controller,
        }
    }

    /// Who a workload is now. If several processes have its name and cgroup and are called
    /// differently, what holds for all of them.
    pub(super) fn identify(&mut self, new: &NewWorkload) -> Found {
        let site = self.site(&new.key);
        // The pid may be another program's by now.
        let process = Process::read(new.tgid).filter(|process| site.has(process));
        let Some(mut process) = process else {
            return self.identify_the_dead(new, &site);
        };
        let command = std::mem::take(&mut process.program.command_args);
        Found {
            command: Some((process.tgid, command)),
            ..self.identify_by(process, new, &site)
        }
    }

    fn identify_by(&mut self, process: Process, new: &NewWorkload, site: &Site) -> Found {
        let cgroup = site.cgroup(Some(&process));
        let (host_name, name) = (self.host_name(), process.comm.clone());
        let place = Place {
            comm: site.name.as_deref().unwrap_or(&name),
            cgroup: &cgroup,
            host_name: host_name.as_deref(),
        };
        let identity = ProgramIdentity::new(Some(&process.program), &place);
        if !identity.is_of_process() {
            return Found::plain(identity);
        }
        if site.name.is_none() {
            return Found::of(identity, (process.tgid, process.time));
        }
        if !self.is_settled {
            // It was there when the daemon came, and so may be others.
            return self.identify_several(site, process, identity, &place);
        }
        if declares_for_all(&identity, &cgroup) {
            return Found::plain(identity);
        }
        if self.programs.is_busy(&new.key, Instant::now()) {
            let plain = process.program.without_name();
            return Found {
                different: vec![process.tgid],
                ..Found::plain(ProgramIdentity::new(Some(&plain), &place))
            };
        }
        Found::of(identity, (process.tgid, process.time))
    }

    /// Its process is gone: another one of the same name and cgroup knows its executable,
    /// which may be called more than fits into a name.
    fn identify_the_dead(&self, new: &NewWorkload, site: &Site) -> Found {
        if let Some(known) = self.programs.identity(new.key.program()) {
            return Found::plain((*known).clone());
        }
        // Who comes and goes quickly is often of a new name: looking for others costs more
        // than all the rest.
        let name = site.name.as_deref();
        let name = name.filter(|name| !self.is_settled || is_cut(name));
        let siblings = name.map_or(Vec::new(), |_| self.siblings(site));
        let sibling = name.and_then(|name| {
            let mut named = Process::find(&siblings, name);
            named.find(|process| site.has(process))
        });
        let (cgroup, host_name) = (site.cgroup(sibling.as_ref()), self.host_name());
        let place = Place {
            comm: site.name.as_deref().unwrap_or(NAMELESS),
            cgroup: &cgroup,
            host_name: host_name.as_deref(),
        };
        let Some(sibling) = sibling else {
            return Found::plain(ProgramIdentity::new(None, &place));
        };
        let identity = ProgramIdentity::new(Some(&sibling.program), &place);
        if !identity.is_of_process() || declares_for_all(&identity, &cgroup) {
            return Found::plain(identity);
        }
        if !self.is_settled {
            return self.identify_several(site, sibling, identity, &place);
        }
        // It may have been another program.
        let plain = sibling.program.without_name();
        Found::plain(ProgramIdentity::new(Some(&plain), &place))
    }

    /// Asks others of a process's name and cgroup whether they are the same program.
    fn identify_several(
        &self,
        site: &Site,
        process: Process,
        identity: ProgramIdentity,
        place: &Place<'_>,
    ) -> Found {
        let siblings = self.siblings(site);
        let others = Process::find(&siblings, site.name.as_deref().unwrap_or_default());
        let others = others.filter(|other| site.has(other));
        let first = (process.tgid, process.time);
        let (pids, programs): (Vec<u32>, Vec<Program>) = std::iter::once(process)
            .chain(others.take(PROGRAMS))
            .map(|process| (process.tgid, process.program))
            .unzip();
        let mut each = programs
            .iter()
            .map(|program| ProgramIdentity::new(Some(program), place));
        if each.all(|other| other == identity) {
            return match declares_for_all(&identity, place.cgroup) {
                false => Found::of(identity, first),
                true => Found::plain(identity),
            };
        }
        Found {
            identity: ProgramIdentity::of_several(&programs, place),
            process: None,
            different: pids,
            command: None,
        }
    }

    fn siblings(&self, site: &Site) -> Vec<u32> {
        self.hierarchies
            .members(site.v2.as_deref(), site.v1.as_deref())
    }

    /// Looks at a process that is new in its workload, or whose workload isn't known;
    /// `None` if it is gone, or is another by now, of which the kernel half tells.
    pub fn look(&mut self, process: u32, of: Option<&(WorkloadKey, WorkloadId)>) -> Option<Seen> {
        let process = Process::read(process)?;
        let site = of.map(|(key, _)| self.site(key));
        let is_there = site.as_ref().is_none_or(|site| site.has(&process));
        if process.program.is_kernel_thread || !is_there {
            return None;
        }
        let cgroup = match &site {
            Some(site) => site.cgroup(Some(&process)),
            None => place_of([None, None], Some(&process)),
        };
        let host_name = self.host_name();
        let place = Place {
            comm: &process.comm,
            cgroup: &cgroup,
            host_name: host_name.as_deref(),
        };
        let identity = Arc::new(ProgramIdentity::new(Some(&process.program), &place));
        let known = of.and_then(|(_, id)| self.identity(*id));
        let is_known = known.as_ref() == Some(&identity);
        let is_named = site.is_none_or(|site| site.name.is_some());
        let is_right = match is_named {
            // Its name says as much.
            true => {
                !identity.is_of_process() && known.as_ref().is_none_or(|it| !it.is_of_process())
                    || is_known && declares_for_all(&identity, &cgroup)
            }
            false => is_known,
        };
        let program = match is_right {
            true => NO_PROGRAM,
            false => self.programs.number(&identity),
        };
        let others = known.filter(|known| is_named && !is_known && known.is_of_process());
        Some(Seen {
            comm: process.name_bytes()?,
            time: process.time,
            program,
            of: others
                .map(|known| self.programs.number(&known))
                .filter(|number| *number != NO_PROGRAM),
            is_final: identity.source == Source::Environment,
            command: process.program.command_args,
        })
    }

    fn host_name(&self) -> Option<String> {
        let name = self.host.iter().find(|it| it.key == "host.name")?;
        match &name.value {
            Value::String(name) => Some(name.to_string()),
            _ => None,
        }
    }
}

impl Found {
    /// All that come by its name are that.
    fn plain(identity: ProgramIdentity) -> Self {
        Self {
            identity,
            process: None,
            different: Vec::new(),
            command: None,
        }
    }

    /// It is this process's program.
    fn of(identity: ProgramIdentity, process: (u32, u64)) -> Self {
        Self {
            process: Some(process),
            ..Self::plain(identity)
        }
    }
}

/// Whether what one process declares is likely to hold for all of its name in its cgroup:
/// who starts a container or a service gives all its processes one environment.
fn declares_for_all(identity: &ProgramIdentity, cgroup: &CgroupIdentity) -> bool {
    let unit = || cgroup.unit.as_deref().and_then(unit::service_name);
    identity.source == Source::Environment
        && (cgroup.is_container() || cgroup.pod_uid.is_some() || unit().is_some())
}

impl Site {
    /// Whether a process is (still) there, as far as that can be compared: paths seen
    /// through a cgroup namespace can't.
    fn has(&self, process: &Process) -> bool {
        let is_named = |name: &String| process.is_named(name);
        if !self.name.as_ref().is_none_or(is_named) {
            return false;
        }
        process.cgroups.iter().all(|membership| {
            let mut controllers = membership.controllers.iter();
            let expected = if membership.controllers.is_empty() {
                self.v2.as_ref()
            } else if controllers.any(|c| Some(c.as_str()) == self.controller) {
                self.v1.as_ref()
            } else {
                None
            };
            expected
                .is_none_or(|path| membership.path.starts_with("/..") || membership.path == *path)
        })
    }

    fn cgroup(&self, process: Option<&Process>) -> CgroupIdentity {
        place_of([self.v2.as_deref(), self.v1.as_deref()], process)
    }
}

/// Where a process stands: by the cgroups that the kernel half saw, then by all others.
fn place_of(paths: [Option<&str>; 2], process: Option<&Process>) -> CgroupIdentity {
    let of_process = process.into_iter().flat_map(|process| &process.cgroups);
    let paths = paths.into_iter().flatten();
    CgroupIdentity::of_paths(paths.chain(of_process.map(|membership| membership.path.as_str())))
}
