//! A daemon that is killed or stopped at any moment: nothing of it stays, it starts again,
//! and nothing is lost or counted twice.
//!
//! `OBSERVER_ROUNDS=100` has it killed and stopped so often; without it takes seconds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::collector::Collector;
use observer_testkit::daemon::{Held, programs};
use observer_testkit::tool::Tool;
use observer_testkit::{observer_bin, workload};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is killed, and stopped.
fn rounds() -> Result<u64> {
    match std::env::var("OBSERVER_ROUNDS") {
        Ok(rounds) => rounds.parse().context("OBSERVER_ROUNDS is no number"),
        Err(_) => Ok(8),
    }
}

/// The moment of a round, from 0 to `longest`: in steps that are nowhere near each other
/// (the golden ratio's).
fn moment(round: u64, longest: Duration) -> Duration {
    longest.mul_f64((round as f64 * 0.618_033_988_75).fract())
}

fn observer(collector: &Collector) -> Command {
    let mut command = Command::new(observer_bin());
    command
        .args(["run", "--interval", "1s", "--log-format", "text"])
        .args(["--otlp-endpoint", &collector.endpoint()])
        .args(["--otlp-protocol", "http/protobuf"])
        .stdin(Stdio::null());
    command
}

/// What is pinned in the BPF file system.
fn pinned() -> BTreeSet<OsString> {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Checks that of a daemon killed at any moment, from its start until it observes, no
/// program stays in the kernel and nothing is pinned, and that the next one starts, observes
/// and ends in order.
#[test]
fn killed_at_any_moment() -> Result<()> {
    let collector = Collector::start()?;
    let before = pinned();
    let begin = Instant::now();
    let mut whole = Tool::start(&mut observer(&collector))?;
    whole.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    // Starting, and a bit of observing.
    let longest = begin.elapsed().mul_f64(1.3);
    whole.end()?;
    let mut held = 0;
    for round in 0..rounds()? {
        let mut child = observer(&collector)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(moment(round, longest));
        let pid = Pid::from_raw(child.id().try_into()?);
        // So that it loads nothing more between being looked at and killed.
        kill(pid, Signal::SIGSTOP)?;
        let loaded = programs(child.id());
        held += loaded.len();
        kill(pid, Signal::SIGKILL)?;
        child.wait()?;
        let begin = Instant::now();
        for program in loaded {
            while Held::by_id(program.id).is_ok() {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "round {round}: program {} stays",
                    program.id
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        ensure!(pinned() == before, "round {round}: {:?}", pinned());
    }
    ensure!(held > 0, "it never had a program");
    let mut whole = Tool::start(&mut observer(&collector))?;
    whole.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    whole.end()?;
    Ok(())
}

/// Checks that a daemon that is stopped and goes on at any moment counts each system call
/// once: as many as the program says that it made.
#[test]
fn stopped_at_any_moment() -> Result<()> {
    const CALLS: u64 = 200;
    let collector = Collector::start()?;
    let mut tool = Tool::start(observer(&collector).args(["--budget", "off"]))?;
    tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    let pid = Pid::from_raw(tool.pid().try_into()?);
    let name = format!("stopped-{}", std::process::id() % 1_000_000);
    let rounds = rounds()?;
    for round in 0..rounds {
        std::thread::sleep(moment(round, Duration::from_millis(300)));
        kill(pid, Signal::SIGSTOP)?;
        let made = Command::new(workload::program()?)
            .args([&name, &format!("getppid={CALLS}")])
            .status();
        std::thread::sleep(moment(round + 1, Duration::from_millis(300)));
        kill(pid, Signal::SIGCONT)?;
        ensure!(made?.success());
    }
    tool.end()?;
    let calls = collector.syscall_calls(&name, "getppid")?;
    ensure!(calls == rounds * CALLS, "{calls} of {}", rounds * CALLS);
    Ok(())
}

/// Checks that a daemon that may write nowhere for temporary files starts, observes, exports
/// and ends in order.
#[test]
fn without_temporary_files() -> Result<()> {
    let collector = Collector::start()?;
    let mut command = observer(&collector);
    let hide = || -> std::io::Result<()> {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        for folder in ["/tmp", "/var/tmp"] {
            mount(
                Some("none"),
                folder,
                Some("tmpfs"),
                MsFlags::MS_RDONLY,
                none,
            )?;
        }
        Ok(())
    };
    // SAFETY: system calls between fork and exec, which take no memory.
    unsafe { command.pre_exec(hide) };
    let mut tool = Tool::start(&mut command)?;
    tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    let name = format!("nowhere-{}", std::process::id() % 1_000_000);
    let made = Command::new(workload::program()?)
        .args([&name, "getppid=70"])
        .status()?;
    ensure!(made.success());
    tool.end()?;
    let calls = collector.syscall_calls(&name, "getppid")?;
    ensure!(calls == 70, "{calls} of 70");
    Ok(())
}
