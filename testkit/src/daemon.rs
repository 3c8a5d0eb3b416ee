//! The daemon under measurement: its start, its use of CPU and memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::observer_bin;
use crate::tool::Tool;

pub use crate::memory::resident;

/// `observer run ARGS`, ready when all probes are attached. Without an
/// endpoint the environment's are kept away.
pub fn start(args: &[&str]) -> Result<Tool> {
    start_with(args, &[])
}

/// The same with these variables.
pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Result<Tool> {
    let mut command = Command::new(observer_bin());
    command.arg("run").args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    let mut tool = Tool::start(&mut command)?;
    // Loading and attaching can take seconds, with pauses; it says when it's over.
    tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))
        .context("observer run")?;
    Ok(tool)
}

/// BPF programs that a process has attached.
pub fn links(pid: u32) -> usize {
    descriptors(pid)
        .filter(|fd| fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().contains("bpf_link")))
        .count()
}

/// Paths of a process's descriptors.
pub fn descriptors(pid: u32) -> impl Iterator<Item = std::path::PathBuf> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// CPU seconds of all threads of a process, user and system, as finely as the
/// scheduler keeps them.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into()?))
        .context("the process's CPU clock isn't there")?;
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// User and system CPU seconds, in ticks of 10 ms: `utime` and `stime` are the
/// fields 14 and 15 of `/proc/PID/stat` (proc(5)).
pub fn user_and_system(pid: u32) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may contain anything but ends with the last parenthesis.
    let (_, rest) = text.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks =
        |field: usize| -> Option<f64> { rest.split_whitespace().nth(field - 3)?.parse().ok() };
    let user = ticks(14).context("no utime in /proc/PID/stat")?;
    let system = ticks(15).context("no stime in /proc/PID/stat")?;
    Ok((user / 100.0, system / 100.0))
}

/// A BPF program, as the kernel describes it (`/proc/PID/fdinfo/FD`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Program {
    /// `enum bpf_prog_type` (include/uapi/linux/bpf.h).
    pub kind: u64,
    /// The kernel's number for it.
    pub id: u64,
    /// Nanoseconds that it ran, as far as the kernel measured
    /// (`observer_userspace::kernel::stats::enable`).
    pub run_time_ns: u64,
    /// How often it ran, likewise.
    pub run_count: u64,
    /// Events that came while it ran already; always counted.
    pub missed: u64,
    /// Instructions that the verifier looked at; 0 before Linux 5.16.
    pub verified: u64,
}

/// `BPF_PROG_TYPE_PERF_EVENT`.
pub const PERF_EVENT: u64 = 7;

impl Program {
    /// What a descriptor is of; `None` unless it is a program's.
    fn read(fd: &Path) -> Option<Self> {
        let to = fs::read_link(fd).ok()?;
        if !to.to_string_lossy().contains("bpf-prog") {
            return None;
        }
        let info = fd.with_file_name("..").join("fdinfo").join(fd.file_name()?);
        let info = fs::read_to_string(info).ok()?;
        let field = |name: &str| -> u64 {
            let found = info.lines().find_map(|line| line.strip_prefix(name));
            found.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        Some(Self {
            kind: field("prog_type:"),
            id: field("prog_id:"),
            run_time_ns: field("run_time_ns:"),
            run_count: field("run_cnt:"),
            missed: field("recursion_misses:"),
            verified: field("verified_insns:"),
        })
    }
}

/// The programs that a process holds, each once however often it holds it.
pub fn programs(pid: u32) -> Vec<Program> {
    let mut all: Vec<_> = descriptors(pid)
        .filter_map(|fd| Program::read(&fd))
        .collect();
    all.sort_by_key(|program| program.id);
    all.dedup_by_key(|program| program.id);
    all
}

/// What a process may hold in the kernel, each by its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InKernel {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A program's being attached.
    Link,
}

impl InKernel {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Program, "prog_id:"),
        (Self::Map, "map_id:"),
        (Self::Link, "link_id:"),
    ];

    /// Whether the kernel has one of this number (`enum bpf_cmd`, include/uapi/linux/bpf.h).
    pub fn is_there(self, id: u64) -> bool {
        let command = match self {
            Self::Program => BPF_PROG_GET_FD_BY_ID,
            Self::Map => 14,
            Self::Link => 30,
        };
        by_id(command, id).is_ok()
    }
}

/// Programs, maps and links that a process holds, each with its number.
pub fn in_kernel(pid: u32) -> BTreeSet<(InKernel, u64)> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fdinfo");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let mut held = BTreeSet::new();
    for text in texts {
        for (kind, name) in InKernel::ALL {
            let number = text.lines().find_map(|line| line.strip_prefix(name));
            let number = number.and_then(|number| number.trim().parse().ok());
            held.extend(number.map(|id| (kind, id)));
        }
    }
    held
}

/// Seconds and runs of all BPF programs that a process holds, as far as the
/// kernel measured them.
pub fn bpf(pid: u32) -> (f64, u64) {
    let programs = programs(pid);
    let ns: u64 = programs.iter().map(|program| program.run_time_ns).sum();
    (
        ns as f64 / 1e9,
        programs.iter().map(|program| program.run_count).sum(),
    )
}

/// A program of another process that stays when that process ends.
pub struct Held(OwnedFd);

/// `BPF_PROG_GET_FD_BY_ID` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;

/// Opens what the kernel has under a number.
fn by_id(command: libc::c_long, id: u64) -> Result<OwnedFd> {
    // union bpf_attr: the number, `next_id`, `open_flags`.
    let attr = [u32::try_from(id)?, 0, 0];
    // SAFETY: the kernel reads twelve bytes of `attr`.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of_val(&attr)) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot open what BPF has");
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd.try_into()?) })
}

impl Held {
    /// The program by which a process samples CPUs, once it is there.
    pub fn sampler(tool: &mut Tool) -> Result<Self> {
        let mut found = None;
        tool.wait_until(|tool| {
            let programs = programs(tool.pid());
            found = programs.into_iter().find(|p| p.kind == PERF_EVENT);
            Ok(found.is_some())
        })
        .context("no program that samples")?;
        Self::by_id(found.map_or(0, |program| program.id))
    }

    /// The program with this number.
    pub fn by_id(id: u64) -> Result<Self> {
        Ok(Self(by_id(BPF_PROG_GET_FD_BY_ID, id)?))
    }

    /// What the kernel says of it now.
    pub fn read(&self) -> Result<Program> {
        let fd = Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string());
        Program::read(&fd).context("the kernel doesn't describe a BPF program")
    }
}
