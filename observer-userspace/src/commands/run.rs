//! `observer run`: the daemon.

use std::process::ExitCode;

use super::session::{Signals, never_stop_for_a_terminal, prepare, raise_descriptors, runtime};
use super::{Failure, usage};
use crate::agent::Agent;
use crate::config::Config;
use crate::identity::Host;
use crate::sinks;

/// Observes until it is interrupted or its time is over.
pub(super) fn execute(config: Config) -> Result<ExitCode, Failure> {
    sinks::check(&config).map_err(usage)?;
    prepare(&config)?;
    raise_descriptors();
    never_stop_for_a_terminal();
    runtime()?.block_on(async {
        let signals = Signals::install()?;
        let host = Host::detect();
        // Its errors are the user's to mend, like those of `check`.
        let sinks = sinks::configured(&config, &host).map_err(usage)?;
        let agent = Agent::start(&config, &host, sinks)?;
        let families = agent.families().iter().map(|family| family.as_str());
        let families: Vec<&str> = families.collect();
        tracing::info!("observing {}", families.join(", "));
        let delivered = agent.run(signals.end(config.duration)).await?;
        // A daemon that is stopped while its collector is away has done what it could; who
        // observes for a while wants what was observed.
        if config.duration.is_some() {
            delivered?;
        }
        Ok::<(), Failure>(())
    })?;
    Ok(ExitCode::SUCCESS)
}
