//! `observer check`: what this kernel and these privileges allow, what is lost
//! where they don't, and the one command that mends it.
//!
//! Features are tried, not guessed from version numbers, wherever trying is
//! possible; nothing stays behind.

mod containers;
mod features;
mod probes;
mod report;
mod system;
mod trial;

use std::process::ExitCode;

use observer_common::family::Family;

use super::{Failure, usage};
use crate::agent::options;
use crate::config::Config;
use crate::kernel::LoadOptions;
use crate::kernel::capabilities::Effective;
use report::Report;

/// Prints the report, for `observer run` with this configuration; the exit
/// status is 0 when everything is there, 1 when something is degraded, 2 when
/// Observer can't run.
///
/// # Errors
/// The configuration can't be meant (a cgroup that isn't there).
pub fn execute(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let options = options::load_options(config).map_err(usage)?;
    let report = inspect(config, options);
    if json {
        report.print_json();
    } else {
        report.print_text();
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn inspect(config: &Config, options: LoadOptions) -> Report {
    let mut report = Report::new();
    // Without procfs nothing is known to be held: everything shows as missing.
    let held = Effective::read().unwrap_or_default();
    system::capabilities(&mut report, held);
    system::namespaces(&mut report);
    features::kernel(&mut report);
    features::bpf(&mut report);
    probes::programs(&mut report, held, &config.probes, options);
    system::cgroups(&mut report);
    if config.probes.contains(&Family::Pressure) {
        system::pressure(&mut report);
    }
    containers::containers(&mut report, config);
    system::procfs(&mut report);
    system::sysctls(&mut report, held);
    report
}
