//! The daemon under measurement: its start, its use of CPU and memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::peers::Tool;
use crate::observer_bin;

/// `observer run ARGS`, ready when all probes are attached. Without an
/// endpoint the environment's are kept away.
pub fn start(args: &[&str]) -> Result<Tool> {
    let mut command = Command::new(observer_bin());
    command.arg("run").args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    let mut tool = Tool::start(&mut command)?;
    let mut links = 0;
    let mut since = Instant::now();
    tool.wait_until(|tool| {
        let now = self::links(tool.pid());
        if now != links {
            (links, since) = (now, Instant::now());
        }
        // Attaching them all takes less than a second; a pause is the end of it.
        Ok(links > 0 && since.elapsed() > Duration::from_millis(500))
    })
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

/// Resident memory of a process in MB (10⁶ bytes): now, and its peak.
pub fn resident(pid: u32) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let megabytes = |name: &str| -> Result<f64> {
        let kib: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
            .with_context(|| format!("no {name} in /proc/PID/status"))?
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    };
    Ok((megabytes("VmRSS:")?, megabytes("VmHWM:")?))
}

/// Seconds and runs of all BPF programs that a process holds, as far as the
/// kernel measured them (`observer_userspace::kernel::stats::enable`).
pub fn bpf(pid: u32) -> (f64, u64) {
    let mut total = (0.0, 0);
    for fd in descriptors(pid) {
        let Some(number) = fd.file_name() else {
            continue;
        };
        if !fs::read_link(&fd).is_ok_and(|to| to.to_string_lossy().contains("bpf-prog")) {
            continue;
        }
        let info = fd.with_file_name("..").join("fdinfo").join(number);
        let info = fs::read_to_string(info).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let found = info.lines().find_map(|line| line.strip_prefix(name));
            found.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        total.0 += field("run_time_ns:") as f64 / 1e9;
        total.1 += field("run_cnt:");
    }
    total
}
