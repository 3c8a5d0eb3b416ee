//! `observer run`: the daemon.

use std::process::ExitCode;

use super::session::{Signals, prepare, runtime};
use super::{Failure, usage};
use crate::agent::Agent;
use crate::agent::health::Health;
use crate::agent::outlet::{Outlet, settings};
use crate::config::Config;
use crate::identity::Host;

/// Observes until it is interrupted or its time is over.
pub(super) fn execute(config: Config) -> Result<ExitCode, Failure> {
    settings(&config).map_err(usage)?;
    prepare(&config)?;
    runtime()?.block_on(async {
        // Its errors are the user's to mend, like those of `settings`.
        let signals = Signals::install()?;
        let host = Host::detect();
        let health = Health::new();
        let outlet = Outlet::new(&config, &host, &health).map_err(usage)?;
        let agent = Agent::start(&config, &host, health, outlet)?;
        tracing::info!("observing {}", agent.families().join(", "));
        agent.run(signals.end(config.duration)).await?;
        Ok::<(), Failure>(())
    })?;
    Ok(ExitCode::SUCCESS)
}
