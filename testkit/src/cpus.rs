//! How many CPUs there are.

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// CPUs that are online: what the kernel half counts on. Not those that this
/// process may use: a cgroup's limit makes `available_parallelism` fewer.
pub fn online() -> Result<usize> {
    let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN)?.context("the number of CPUs is unknown")?;
    Ok(usize::try_from(cpus)?)
}
