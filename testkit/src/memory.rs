//! What memory a process has.

use std::fs;

use anyhow::{Context, Result};

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
