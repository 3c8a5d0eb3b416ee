//! A program that is started, watched while it runs, and ended in order.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use crate::{interrupt, memory};

/// How long a tool that is told to end may take for its report.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How long a tool may take to be ready: on an emulated processor it is long.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A running tool; killed if nobody ends it in order, or if we are killed.
pub struct Tool {
    child: Child,
    /// Output and errors together, in a file, which never blocks the tool.
    output: tempfile::NamedTempFile,
}

impl Tool {
    /// Starts a program and reads what it prints.
    pub fn start(command: &mut Command) -> Result<Self> {
        let output = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        let file = output.reopen()?;
        // SAFETY: a single system call between fork and exec.
        unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        let child = command
            // What went wrong is said in a line, which is what is reported.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, output })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn printed(&self) -> Result<String> {
        let mut text = String::new();
        self.output.reopen()?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Waits until `ready`, at most [`READY_LIMIT`].
    pub fn wait_until(&mut self, mut ready: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let begin = Instant::now();
        while !ready(self)? {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended ({status}): {}", last_line(&self.printed()?));
            }
            if begin.elapsed() > READY_LIMIT {
                bail!(
                    "it wasn't ready within {} s: {}",
                    READY_LIMIT.as_secs(),
                    last_line(&self.printed()?)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until it ends by itself, at most until `limit`, and says what it
    /// used and printed. No other child may be waited for meanwhile.
    pub fn spent(mut self, limit: Duration) -> Result<Spent> {
        let begin = Instant::now();
        let before = waited_for()?;
        let mut peak = 0.0;
        let status = loop {
            // The kernel forgets it when the process ends, but keeps the highest.
            if let Ok((_, highest)) = memory::resident(self.pid()) {
                peak = highest;
            }
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if begin.elapsed() > limit {
                bail!("it doesn't end within {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let after = waited_for()?;
        let printed = self.printed()?;
        if !status.success() {
            bail!("it failed ({status}): {}", last_lines(&printed));
        }
        Ok(Spent {
            user: after.0 - before.0,
            system: after.1 - before.1,
            peak,
            printed,
        })
    }

    /// Interrupts it as a person would, waits, and returns all it printed.
    pub fn end(self) -> Result<String> {
        self.end_and_peak().map(|(printed, _)| printed)
    }

    /// The same, with the most memory that was resident until then, in MB.
    pub fn end_and_peak(mut self) -> Result<(String, Option<f64>)> {
        let pid = self.child.id();
        let mut peak = memory::resident(pid).ok().map(|(_, peak)| peak);
        kill(Pid::from_raw(pid.try_into()?), Signal::SIGINT)
            .context("it ended before it was told to")?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            if let Ok((_, highest)) = memory::resident(pid) {
                peak = Some(highest);
            }
            if begin.elapsed() > END_LIMIT {
                bail!("it doesn't end when interrupted");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok((self.printed()?, peak))
    }
}

/// What a tool used from its start to its end.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// CPU seconds in user mode, its children's with its own.
    pub user: f64,
    /// CPU seconds in the kernel, likewise.
    pub system: f64,
    /// The most memory that was resident, in MB.
    pub peak: f64,
    /// Its output and errors.
    pub printed: String,
}

impl Spent {
    /// CPU seconds.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// User and system CPU seconds of all our children that have been waited for.
fn waited_for() -> Result<(f64, f64)> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok((seconds(usage.user_time()), seconds(usage.system_time())))
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail for one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a tool complains of isn't always the last that it says.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

fn last_line(text: &str) -> &str {
    text.trim_end()
        .lines()
        .next_back()
        .unwrap_or("it printed nothing")
}
