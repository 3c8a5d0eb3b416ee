//! `observer run`: the daemon.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{Failure, usage};
use crate::config::{Config, Filter};
use crate::export::OtlpSettings;
use crate::export::otlp::variables::{Layer, Layers};
use crate::identity::find_cgroup;
use crate::kernel::capabilities::Effective;
use crate::logging;

/// Observes until it is interrupted or its time is over.
pub fn execute(config: Config) -> Result<ExitCode, Failure> {
    logging::init(&config.log)?;
    otlp_settings(&config).map_err(usage)?;
    check_target(&config.filter)?;
    Err(usage(anyhow::anyhow!("running is not part of this build")))
}

/// Where to send OTLP: flags, then the environment, then the file.
///
/// # Errors
/// A value can't be used, or a file with certificates can't be read.
pub fn otlp_settings(config: &Config) -> anyhow::Result<OtlpSettings> {
    let (flags, file) = (&config.otlp.flags, &config.otlp.file);
    let mut settings = OtlpSettings::from_layers(&Layers(vec![
        Layer::given(flags.flag_variables()),
        Layer::environment(|name| std::env::var(name).ok()),
        Layer::given(file.file_variables()),
    ]))?;
    if let Some(size) = flags.queue_size.or(file.queue_size) {
        settings.queue_bytes = usize::try_from(size.0).unwrap_or(usize::MAX);
    }
    for signal in settings.signals.iter().flatten() {
        let files = &signal.tls;
        let all = [&files.ca, &files.client_certificate, &files.client_key];
        for path in all.into_iter().flatten() {
            File::open(path).with_context(|| format!("can't read {}", path.display()))?;
        }
    }
    Ok(settings)
}

/// What has to be right before anything is attached, for `run` and `record`:
/// whom to observe exists, and this process may do it.
///
/// # Errors
/// Usage, in one line.
pub fn check_target(filter: &Filter) -> Result<(), Failure> {
    check_filter(filter).map_err(usage)?;
    Effective::read()?.ensure_required().map_err(usage)
}

/// A filter on something that isn't there would silently see nothing.
fn check_filter(filter: &Filter) -> anyhow::Result<()> {
    for pid in &filter.pids {
        let there = Path::new("/proc").join(pid.to_string()).exists();
        anyhow::ensure!(there, "there is no process {pid}");
    }
    for path in &filter.cgroups {
        find_cgroup(path)?;
    }
    Ok(())
}
