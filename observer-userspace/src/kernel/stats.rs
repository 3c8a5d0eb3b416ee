//! What the kernel half itself costs: run time and count per program.
//!
//! The kernel measures that only while asked to, and measuring costs two clock
//! reads per run. So it is asked for short windows; rates outside are taken to
//! be the same.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::Kernel;

/// Run time and number of runs of a program, as the kernel measured them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Nanoseconds.
    pub time_ns: u64,
    /// Runs.
    pub count: u64,
}

/// `BPF_ENABLE_STATS` of enum bpf_cmd (include/uapi/linux/bpf.h).
const BPF_ENABLE_STATS: libc::c_long = 32;

/// Has the kernel measure run times until the result is dropped (since 5.8).
pub fn enable() -> Result<OwnedFd> {
    // union bpf_attr's `enable_stats`: BPF_STATS_RUN_TIME is 0.
    let attr = 0u32;
    // SAFETY: the kernel reads four bytes of `attr`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_ENABLE_STATS,
            &raw const attr,
            size_of::<u32>(),
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot have BPF run times measured");
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The statistics of all loaded programs, by name.
pub fn read(kernel: &Kernel) -> HashMap<String, RunStats> {
    kernel
        .programs()
        .filter_map(|(name, program)| {
            let fd = program.fd().ok()?;
            let info =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))
                    .ok()?;
            let field = |name: &str| {
                info.lines()
                    .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
                    .unwrap_or(0)
            };
            Some((
                name.to_string(),
                RunStats {
                    time_ns: field("run_time_ns:"),
                    count: field("run_cnt:"),
                },
            ))
        })
        .collect()
}
