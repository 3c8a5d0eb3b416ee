//! Privileges, namespaces, mounts and sysctls.

use std::fs;
use std::path::Path;

use super::report::{Item, Report, Status};
use crate::foreign::{self, Subject, process};
use crate::identity::hierarchy::Hierarchies;
use crate::identity::v1_controller;
use crate::kernel::capabilities::{self, Capability, Effective};
use crate::kernel::{namespaces, perf, release};
use crate::probes::pressure::no_pressure;

/// What this process may do.
pub fn capabilities(report: &mut Report, held: Effective) {
    let group = "capabilities";
    let charges_memlock = release::version() < (5, 11) && memlock_is_limited();
    for capability in capabilities::ALL {
        let needed = *capability != capabilities::SYS_RESOURCE || charges_memlock;
        let item = Item::ok(group, capability.name, "");
        report.add(if held.has(capability) {
            item
        } else if !needed {
            Item::ok(group, capability.name, "absent, and not needed here")
        } else {
            let status = if capability.required {
                Status::Missing
            } else {
                Status::Degraded
            };
            item.worse(status, capability.lost, remedy(capability))
        });
    }
}

/// setcap replaces the whole set, so the command has to name all of it.
fn remedy(missing: &Capability) -> String {
    let names: Vec<String> = capabilities::UNPRIVILEGED
        .iter()
        .chain((!capabilities::UNPRIVILEGED.contains(&missing)).then_some(&missing))
        .map(|capability| capability.name.to_ascii_lowercase())
        .collect();
    format!(
        "run it as root, or: setcap {}+ep $(command -v observer) (containers: --cap-add {})",
        names.join(","),
        missing.name.trim_start_matches("CAP_"),
    )
}

/// Whether locked memory, to which old kernels charge maps, has a limit.
fn memlock_is_limited() -> bool {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft != RLIM_INFINITY)
}

/// Whether what the kernel calls a process is what we call it.
pub fn namespaces(report: &mut Report) {
    let group = "namespaces";
    let read = |kind: &str| namespaces::own(kind).unwrap_or_default();
    let item = Item::ok(group, "user namespace", read("user"));
    report.add(if namespaces::in_initial_user() {
        item
    } else {
        item.worse(
            Status::Missing,
            "everything: capabilities in another user namespace don't count for BPF",
            "start it outside of user namespaces (containers: --userns=host)",
        )
    });
    let item = Item::ok(group, "pid namespace", read("pid"));
    report.add(if namespaces::in_initial_pid() {
        item
    } else {
        item.worse(
            Status::Degraded,
            namespaces::LOST_WITHOUT_PIDS,
            namespaces::REMEDY_OF_PIDS,
        )
    });
}

/// Where cgroups are found.
pub fn cgroups(report: &mut Report) {
    let group = "cgroups";
    let hierarchies = Hierarchies::open();
    let shown = |path: Option<&Path>| path.map(|p| p.display().to_string());
    let lost = "containers, pods and units of processes that ended before they were looked at";
    let item = |name: &str, mount: Option<String>, remedy: &str| match mount {
        Some(point) => Item::ok(group, name, format!("mounted at {point}")),
        None => Item::ok(group, name, "not mounted").worse(Status::Degraded, lost, remedy),
    };
    report.add(item(
        "cgroup v2",
        shown(hierarchies.v2_mount()),
        "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
    ));
    if let Some(controller) = v1_controller() {
        report.add(item(
            &format!("cgroup v1 ({controller})"),
            shown(hierarchies.v1_mount()),
            &format!(
                "mkdir -p /sys/fs/cgroup/{controller} && mount -t cgroup -o {controller} none /sys/fs/cgroup/{controller}"
            ),
        ));
    }
}

/// Whether the kernel tells for how long threads wait for what.
pub fn pressure(report: &mut Report) {
    let item = Item::ok("pressure", "PSI", "/proc/pressure");
    report.add(match no_pressure() {
        None => item,
        Some(remedy) => item.worse(
            Status::Degraded,
            "for how long threads wait for CPU, memory and I/O (observer.pressure.time)",
            remedy,
        ),
    });
}

/// Whether other processes can be seen: most of them, as single ones may be
/// protected for reasons of their own.
pub fn procfs(report: &mut Report) {
    let group = "procfs";
    let processes: Vec<u32> = process::all()
        // Kernel threads have no memory and so no executable.
        .filter(|pid| {
            let pid = *pid;
            let status = foreign::ask(Subject::Process(pid), foreign::SHORTLY, move |foreign| {
                process::status(foreign, pid)
            });
            let status = status.ok().flatten();
            status.is_some_and(|status| status.contains("\nVmSize:"))
        })
        .collect();
    let readable = processes
        .iter()
        .filter(|pid| process::executable(**pid).is_some())
        .count();
    let detail = format!(
        "executables of {readable} out of {} are readable",
        processes.len()
    );
    let item = Item::ok(group, "/proc/PID of others", detail);
    // At least the daemon sees itself; with hidepid that is all.
    report.add(if readable > 1 && readable * 2 > processes.len() {
        item
    } else {
        item.worse(
            Status::Degraded,
            "executables, service names and user symbols of other users' processes",
            "run it as root or with CAP_SYS_PTRACE, and without hidepid: mount -o remount,hidepid=0 /proc",
        )
    });
}

/// Settings of the kernel that change what can be seen.
pub fn sysctls(report: &mut Report, held: Effective) {
    let group = "sysctls";
    let read = |name: &str| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::read_to_string(path).ok()?.trim().parse::<i64>().ok()
    };
    let mut add = |name: &str, good: &dyn Fn(i64) -> bool, lost: &str, value: &str| {
        // A kernel that doesn't have the setting doesn't restrict by it.
        let Some(found) = read(name) else { return };
        let item = Item::ok(group, name, found.to_string());
        report.add(if good(found) {
            item
        } else {
            item.worse(Status::Degraded, lost, format!("sysctl -w {name}={value}"))
        });
    };
    if held.has(&capabilities::PERFMON) {
        add(
            "kernel.perf_event_paranoid",
            &|_| perf::is_allowed(),
            "all profiles: above 2, kernels like Debian's ask for CAP_SYS_ADMIN",
            "2",
        );
    } else {
        add(
            "kernel.perf_event_paranoid",
            &|level| level < 0,
            "stacks of other users' processes, and of the kernel (CAP_PERFMON gives them)",
            "-1",
        );
    }
    let syslog = held.has(&capabilities::SYSLOG);
    add(
        "kernel.kptr_restrict",
        &|level| level == 0 || level == 1 && syslog,
        "kernel symbols in stacks",
        "1",
    );
    add(
        "kernel.perf_event_max_stack",
        &|frames| frames >= 127,
        "the outer frames of deep stacks",
        "127",
    );
    add(
        "kernel.perf_event_max_sample_rate",
        &|rate| rate >= 99,
        "samples: the kernel refuses the rate that `observer record` asks for",
        "25000",
    );
    add(
        "net.core.bpf_jit_enable",
        &|enabled| enabled != 0,
        "speed: an interpreted program costs several times a compiled one",
        "1",
    );
}
