//! Log lines: to standard error, readable on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::Log;
use crate::config::values::LogFormat;

/// Starts logging for the whole process; also takes what libraries (and,
/// through aya-log, the kernel half) say with the `log` crate.
///
/// # Errors
/// Logging was started before, or the filter is wrong.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(log.filter.directives())?)
        .with_writer(std::io::stderr)
        .with_ansi(terminal && colours_wanted());
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("can't start logging: {error}"))
}

/// <https://no-color.org>: any value but the empty one forbids colours.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
