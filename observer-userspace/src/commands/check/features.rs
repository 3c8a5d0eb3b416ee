//! What the kernel can do, by trying it.

use std::fs;
use std::path::Path;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};
use nix::errno::Errno;

use super::report::{Item, Report, Status};
use super::trial;
use crate::kernel::btf::VMLINUX;
use crate::kernel::capabilities::UPROBE_PRIVILEGE;
use crate::kernel::release;

const UPGRADE: &str = "boot a newer kernel, or one whose distribution enables it";

/// What mends a kernel that is too old.
pub fn boot_newer() -> String {
    let (major, minor) = release::OLDEST;
    format!("boot Linux {major}.{minor} or newer")
}

/// Version, type information, lockdown.
pub fn kernel(report: &mut Report) {
    let group = "kernel";
    let item = Item::ok(group, "version", release::release());
    report.add(if release::version() >= release::OLDEST {
        item
    } else {
        item.worse(
            Status::Missing,
            "everything: hooks and maps that Observer builds on are newer",
            boot_newer(),
        )
    });

    let vmlinux = Path::new(VMLINUX);
    let item = Item::ok(
        group,
        "type information (BTF)",
        vmlinux.display().to_string(),
    );
    report.add(if fs::File::open(vmlinux).is_ok() {
        item
    } else {
        item.worse(
            Status::Missing,
            "everything: probes find the kernel's fields by its BTF",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, with sysfs mounted",
        )
    });

    // Without securityfs the mode isn't shown; then only what it forbids tells
    // (see `bpf_probe_read_kernel` below).
    if let Ok(modes) = fs::read_to_string("/sys/kernel/security/lockdown") {
        let mode = modes
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map_or("", |(mode, _)| mode);
        let item = Item::ok(group, "lockdown", mode);
        report.add(if mode == "confidentiality" {
            item.worse(
                Status::Missing,
                "everything: programs may not read kernel memory",
                "boot without lockdown=confidentiality (integrity is fine)",
            )
        } else {
            item
        });
    }
}

/// Kinds of maps: how they are called, and what is lost without them.
const MAPS: [(MapType, &str, Status, &str); 5] = [
    (
        MapType::RingBuf,
        "ring buffer",
        Status::Missing,
        "everything: workloads are reported through it",
    ),
    (
        MapType::PerCpuArray,
        "per-CPU array",
        Status::Missing,
        "everything: counters live in it",
    ),
    (
        MapType::Queue,
        "queue",
        Status::Missing,
        "everything: free cells of the tables are kept in it",
    ),
    (
        MapType::TaskStorage,
        "task storage",
        Status::Missing,
        "everything: what a thread is doing is kept in it",
    ),
    (
        MapType::SkStorage,
        "socket storage",
        Status::Degraded,
        "TCP connections with their owner and times",
    ),
];

/// Maps, programs, helpers, hooks.
pub fn bpf(report: &mut Report) {
    let group = "bpf";
    for (map, name, status, lost) in MAPS {
        let tried = is_map_supported(map).map_err(|error| errno(&error));
        report.add(judge(Item::ok(group, name, "map"), tried, status, lost));
    }

    let tried = is_program_supported(ProgramType::PerfEvent).map_err(|error| errno(&error));
    report.add(judge(
        Item::ok(group, "perf event", "program"),
        tried,
        Status::Degraded,
        "profiles",
    ));

    let read = BpfHelper::BPF_FUNC_probe_read_kernel;
    let tried =
        is_helper_supported(ProgramType::RawTracePoint, read).map_err(|error| errno(&error));
    report.add(judge(
        Item::ok(group, "bpf_probe_read_kernel", "helper"),
        tried,
        Status::Missing,
        "everything: lockdown forbids programs to read kernel memory",
    ));

    report.add(judge(
        Item::ok(group, "typed raw tracepoint", "attached for a moment"),
        outcome(trial::attach_typed_tracepoint()),
        Status::Missing,
        "everything: probes attach to these",
    ));
    report.add(judge(
        Item::ok(
            group,
            "perf event on all processes",
            "software clock, opened for a moment",
        ),
        outcome(trial::open_perf_event()),
        Status::Degraded,
        "profiles",
    ));
    report.add(user_functions(trial::attach_user_function()));
    let run_time = aya::sys::enable_stats(aya::sys::Stats::RunTime)
        .map(drop)
        .map_err(|error| errno(&error).unwrap_or(Errno::EINVAL));
    let item = Item::ok(group, "run-time statistics", "enabled for a moment");
    report.add(match run_time {
        Ok(()) => item,
        Err(error) => item.worse(
            Status::Degraded,
            format!("the CPU time of the daemon's own BPF programs ({error})"),
            "run it as root or with CAP_SYS_ADMIN",
        ),
    });
}

/// Functions of user programs: what TLS libraries are observed by.
fn user_functions(tried: Result<(), Errno>) -> Item {
    let name = "functions of user programs";
    let item = Item::ok("bpf", name, "uprobe, attached for a moment");
    let lost = "requests inside of TLS";
    match tried {
        Ok(()) => item,
        Err(Errno::EPERM | Errno::EACCES) => {
            let remedy = format!("run it as root, or with {UPROBE_PRIVILEGE}");
            item.worse(Status::Degraded, lost, remedy)
        }
        Err(error) => item.worse(
            Status::Degraded,
            format!("{lost} ({error})"),
            "boot a kernel with CONFIG_UPROBE_EVENTS=y",
        ),
    }
}

/// What a trial that can only succeed or fail says.
fn outcome(tried: Result<(), Errno>) -> Result<bool, Option<Errno>> {
    tried.map(|()| true).map_err(Some)
}

fn judge(item: Item, tried: Result<bool, Option<Errno>>, status: Status, lost: &str) -> Item {
    match tried {
        Ok(true) => item,
        Ok(false) => item.worse(status, lost, UPGRADE),
        Err(Some(Errno::EPERM | Errno::EACCES)) => Item {
            detail: format!("{}; not allowed to try", item.detail),
            ..item
        }
        .worse(Status::Unknown, lost, "run `observer check` as root"),
        Err(Some(error)) => item.worse(status, format!("{lost} ({error})"), UPGRADE),
        Err(None) => item.worse(status, format!("{lost} (the trial failed)"), UPGRADE),
    }
}

/// The system call's error somewhere below.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(code) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
        {
            return Some(Errno::from_raw(code));
        }
        current = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that "not allowed" isn't taken for "not there".
    #[test]
    fn forbidden_is_not_absent() {
        let judged = |tried| judge(Item::ok("g", "n", ""), tried, Status::Missing, "x").status;
        assert_eq!(judged(Ok(true)), Status::Ok);
        assert_eq!(judged(Ok(false)), Status::Missing);
        assert_eq!(judged(Err(Some(Errno::EPERM))), Status::Unknown);
        assert_eq!(judged(Err(Some(Errno::EINVAL))), Status::Missing);
        let wrapped = anyhow::Error::from(std::io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(errno(wrapped.as_ref()), Some(Errno::EPERM));
    }
}
