//! Child processes that do a known amount of something under a chosen name.
//!
//! The work is done by `observer-workload`, a small program of this package:
//! `run("name", &["getppid=1000"])` starts it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// A running workload; killed if the test ends before it does.
pub struct Running(Option<Child>);

/// Starts a workload named `comm` (at most 15 bytes) that takes the steps one
/// after the other; see `src/bin/observer-workload.rs` for what there is.
pub fn run(comm: &str, steps: &[&str]) -> Result<Running> {
    let program = program()?;
    let child = Command::new(&program)
        .arg(comm)
        .args(steps)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(Running(Some(child)))
}

/// The same with steps that go on until they are told to end, or that say something: see
/// [`Running::tell`].
pub fn run_until_told(comm: &str, steps: &[&str]) -> Result<Running> {
    let program = program()?;
    let child = Command::new(&program)
        .arg(comm)
        .args(steps)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(Running(Some(child)))
}

/// The same, bound to one CPU.
pub fn run_on_cpu(cpu: usize, comm: &str, steps: &[&str]) -> Result<Running> {
    let running = run(comm, steps)?;
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(running.pid().try_into()?), &set)?;
    Ok(running)
}

/// The workload program.
pub fn program() -> Result<PathBuf> {
    program_beside("observer-workload")
}

/// A program of this package: it lies next to the test's own folder, or to the
/// benchmark.
pub(crate) fn program_beside(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folders = test.ancestors().skip(1).take(2);
    let mut found = folders.map(|folder| folder.join(name));
    let found = found.find(|program| program.is_file());
    found.with_context(|| format!("{name} is missing; `cargo build -p observer-testkit` builds it"))
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Tells one that was started to be told to end, waits for that, and returns what it
    /// printed; an error unless it succeeded.
    pub fn tell(mut self) -> Result<String> {
        let child = self.0.take().context("it was waited for")?;
        // Its standard input ends here.
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "it failed: {}", output.status);
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Waits for its end; an error unless it succeeded.
    pub fn wait(mut self) -> Result<()> {
        if let Some(mut child) = self.0.take() {
            let status = child.wait()?;
            ensure!(status.success(), "the workload failed: {status}");
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
