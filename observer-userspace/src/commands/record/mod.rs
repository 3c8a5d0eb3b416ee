//! `observer record`: one recording of stacks, to files.

mod child;
mod options;
mod progress;
mod recorded;
mod recording;
mod request_feed;
mod request_filter;
mod selection;
mod summary;
mod targets;
mod total;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use super::session::{prepare, runtime};
use super::{Failure, usage};
use crate::config::Config;
use child::{CannotStart, Held};
use options::RecordOptions;
use recording::{End, Recording};

/// Exit status after a SIGINT without a command's own.
const INTERRUPTED: u8 = 130;
/// How often a command that outlives its recording is asked whether it ended.
const CHECK_AGAIN: Duration = Duration::from_millis(100);

/// Checks everything, records, writes; the command's exit status if there is one.
pub(super) fn execute(config: &Config, command: Vec<OsString>) -> Result<ExitCode, Failure> {
    let options = RecordOptions::new(config, command).map_err(usage)?;
    prepare(config)?;
    match run(options) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => match error.downcast::<CannotStart>() {
            Ok(error) => {
                super::complain(&error);
                Ok(ExitCode::from(error.status()))
            }
            Err(error) => Err(Failure::Runtime(error)),
        },
    }
}

/// Records, writes and sums up; the status to end with.
///
/// # Errors
/// When something can't be attached, started or written; [`CannotStart`] for
/// the command.
fn run(mut options: RecordOptions) -> anyhow::Result<u8> {
    // Before anything else: forking is only safe with one thread.
    let held = match options.command.as_slice() {
        [] => None,
        command => Some(Held::fork(command)?),
    };
    if let Some(held) = &held {
        options.filters.pids.push(held.pid());
    }
    let runtime = runtime()?;
    let mut recording = {
        let _runtime = runtime.enter();
        Recording::attach(&options)?
    };
    let child = held.map(Held::release).transpose()?;
    let end = runtime.block_on(recording.go(&options, child.as_ref()))?;
    let result = recording.finish(&options)?;
    let requests = recording.selection();
    if let Some(requests) = requests.filter(|requests| requests.matched() == 0) {
        anyhow::bail!(requests.nothing());
    }
    if !result.is_empty() {
        for output in &options.outputs {
            output.write(&result.shown.profile, options.access)?;
        }
        if let Some(off_cpu) = &result.off_cpu {
            for output in &options.off_cpu_outputs {
                output.write(&off_cpu.profile, options.access)?;
            }
        }
    }
    let losses = recording.losses()?;
    let requests = recording.selection();
    summary::print(&options, &result, requests, &losses);
    Ok(match (end, child) {
        // Whatever lay there is worth more than a picture of nothing.
        (_, None) => u8::from(result.is_empty()),
        (End::Command(status), _) => status,
        (End::Interrupted, Some(child)) => child.status().unwrap_or(INTERRUPTED),
        // The time was over before the command: its status is still wanted.
        (End::Time, Some(child)) => loop {
            if let Some(status) = child.status() {
                break status;
            }
            std::thread::sleep(CHECK_AGAIN);
        },
    })
}
