//! `observer run`: the daemon.

use std::process::ExitCode;

use super::{Failure, usage};
use crate::config::{Config, Filter};
use crate::identity::find_cgroup;
use crate::kernel::capabilities::Effective;
use crate::logging;

/// Observes until it is interrupted or its time is over.
pub fn execute(config: Config) -> Result<ExitCode, Failure> {
    prepare(&config)?;
    Err(usage(anyhow::anyhow!("running is not part of this build")))
}

/// What `run` and `record` do before anything is attached: check what can be
/// checked, then start logging.
pub fn prepare(config: &Config) -> Result<(), Failure> {
    check_filter(&config.filter).map_err(usage)?;
    Effective::read()?.ensure_required().map_err(usage)?;
    logging::init(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// A filter on something that isn't there would silently see nothing.
fn check_filter(filter: &Filter) -> anyhow::Result<()> {
    for pid in &filter.pids {
        let there = std::path::Path::new("/proc").join(pid.to_string()).exists();
        anyhow::ensure!(there, "there is no process {pid}");
    }
    for path in &filter.cgroups {
        find_cgroup(path)?;
    }
    Ok(())
}
