//! `observer run`: the daemon.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, usage};
use crate::agent::Agent;
use crate::agent::health::Health;
use crate::agent::outlet::{Outlet, settings};
use crate::config::{Config, Filter};
use crate::identity::{Host, find_cgroup};
use crate::kernel::capabilities::Effective;
use crate::logging;

/// Observes until it is interrupted or its time is over.
pub fn execute(config: Config) -> Result<ExitCode, Failure> {
    settings(&config).map_err(usage)?;
    prepare(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
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

/// The signals that end the daemon.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on the signals' default actions are off.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    pub fn install() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Resolves on SIGINT, SIGTERM, or when `duration` is over. A second
    /// SIGINT ends the process at once; the kernel detaches what a process
    /// leaves behind.
    pub async fn end(self, duration: Option<Duration>) {
        let Self {
            mut interrupt,
            mut terminate,
            mut hangup,
        } = self;
        let over = async move {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hangup.recv() => tracing::info!("SIGHUP: there is nothing to reload; going on"),
                () = &mut over => break,
            }
        }
        tokio::spawn(async move {
            interrupt.recv().await;
            std::process::exit(130);
        });
    }
}

/// What `run` and `record` do before anything is attached: check what can be
/// checked, then start logging.
pub fn prepare(config: &Config) -> Result<(), Failure> {
    check_filter(&config.filter).map_err(usage)?;
    Effective::read()?.ensure_required().map_err(usage)?;
    logging::init(&config.log)?;
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
