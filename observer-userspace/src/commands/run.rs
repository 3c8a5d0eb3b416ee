//! `observer run`: the daemon.

use std::process::ExitCode;

use super::{Failure, usage};
use crate::config::Config;
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
    config.filter.check().map_err(usage)?;
    Effective::read()?.ensure_required().map_err(usage)?;
    logging::init(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}
