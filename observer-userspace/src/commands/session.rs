//! What the commands that attach something have in common: the checks before,
//! the runtime, the signals that end them.

use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{self as sigaction, SigHandler, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, usage};
use crate::config::{Config, Filter};
use crate::foreign::process;
use crate::identity::find_cgroup;
use crate::kernel::capabilities::Effective;
use crate::kernel::{descriptors, namespaces};
use crate::logging;

/// With fewer descriptors than this not everything may find room: programs, maps,
/// two clocks of each CPU, thirty for each TLS library.
const FEW_DESCRIPTORS: u64 = 1024;

/// Checks what can be checked before anything is attached, then starts logging.
pub(super) fn prepare(config: &Config) -> Result<(), Failure> {
    check_filter(&config.filter).map_err(usage)?;
    Effective::read()?.ensure_required().map_err(usage)?;
    logging::init(&config.log)?;
    if !namespaces::in_initial_pid() {
        tracing::warn!(
            "this is a PID namespace of its own; lost by that: {}; {}",
            namespaces::LOST_WITHOUT_PIDS,
            namespaces::REMEDY_OF_PIDS,
        );
    }
    Ok(())
}

/// A filter on something that isn't there would silently see nothing.
fn check_filter(filter: &Filter) -> anyhow::Result<()> {
    for pid in &filter.pids {
        let there = process::comm(*pid).is_some();
        anyhow::ensure!(there, "there is no process {pid}");
    }
    for path in &filter.cgroups {
        find_cgroup(path)?;
    }
    Ok(())
}

/// Lets this process have as many files open as it may have, and says so where
/// that may be too few.
pub(super) fn raise_descriptors() {
    if let Err(error) = descriptors::raise() {
        tracing::warn!("the limit of open files can't be raised: {error}");
    }
    if descriptors::limit() < FEW_DESCRIPTORS {
        tracing::warn!(
            "some probes may not be attached: {}",
            descriptors::exhausted()
        );
    }
}

/// A terminal may stop who writes to it from the background (`stty tostop`); the rest of
/// the daemon has other things to do. Not for who starts commands: they inherit it.
pub(super) fn never_stop_for_a_terminal() {
    // SAFETY: no handler of ours is set.
    let ignored = unsafe { sigaction::signal(Number::SIGTTOU, SigHandler::SigIgn) };
    if let Err(error) = ignored {
        tracing::warn!("a terminal may stop the daemon: {error}");
    }
}

/// The runtime of a command, on its own thread.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// The signals that end the daemon.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on the signals' default actions are off.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    pub(super) fn install() -> anyhow::Result<Self> {
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
    pub(super) async fn end(self, duration: Option<Duration>) {
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
