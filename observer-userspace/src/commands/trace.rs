//! `observer trace`: requests as they end, for people.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::Notify;

use super::args::TraceArgs;
use super::session::{Signals, never_stop_for_a_terminal, prepare, raise_descriptors, runtime};
use super::{Failure, usage};
use crate::agent::Agent;
use crate::config::Config;
use crate::identity::Host;
use crate::sinks::Sinks;
use crate::sinks::traces::TracePrinter;
use observer_common::family::Family;
use observer_export::trace_lines::Wanted;
use observer_requests::tracer::Sampler;

/// Prints spans until it is interrupted, its time is over, or nobody reads.
pub(super) fn execute(mut config: Config, args: &TraceArgs) -> Result<ExitCode, Failure> {
    config.probes = vec![Family::Requests];
    // Whoever looks wants to see them all.
    config.requests.sampler = Sampler::parse("always_on", None).map_err(usage)?;
    config.requests.span_limit = None;
    config.budget = None;
    let slower_than = args.slower_than.unwrap_or_default().0.as_nanos();
    let wanted = Wanted {
        service: args.service.clone(),
        slower_than: u64::try_from(slower_than).unwrap_or(u64::MAX),
    };
    prepare(&config)?;
    raise_descriptors();
    never_stop_for_a_terminal();
    runtime()?.block_on(async {
        let signals = Signals::install()?;
        let closed = Arc::new(Notify::new());
        let printer = TracePrinter::start(wanted, args.waterfall, closed.clone())?;
        let host = Host::detect();
        let sinks = Sinks::new(vec![Box::new(printer)], config.interval);
        let agent = Agent::start(&config, &host, sinks)?;
        tracing::info!("tracing requests (Ctrl-C ends it)");
        let end = async {
            tokio::select! {
                () = signals.end(config.duration) => {}
                () = closed.notified() => {}
            }
        };
        agent.run(end).await??;
        Ok::<(), Failure>(())
    })?;
    Ok(ExitCode::SUCCESS)
}
