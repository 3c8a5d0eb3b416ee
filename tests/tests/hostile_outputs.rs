//! Outputs that nobody reads, that are stopped, or that have no room: the daemon observes
//! and exports all the same, ends in time, and counts what it couldn't write.

use std::fs::File;
use std::io::{PipeReader, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::collector::{Collector, named};
use observer_testkit::root::is_root;
use observer_testkit::{in_time, observer_bin, workload};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the end may take.
const END: Duration = Duration::from_secs(5);

/// A daemon, or whatever started it; killed when it is dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `observer ARGUMENTS` that exports to `collector` and logs much.
fn observer(arguments: &[&str], collector: &Collector) -> Command {
    let mut command = Command::new(observer_bin());
    command.args(arguments).args(["--log-level", "debug"]);
    command.args(["--log-format", "text"]);
    if arguments.first() == Some(&"run") {
        command.args(["--otlp-endpoint", &collector.endpoint()]);
        command.args(["--otlp-protocol", "http/protobuf", "--interval", "1s"]);
    }
    command.stdin(Stdio::null());
    // SAFETY: a single system call between fork and exec.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
    command
}

/// Waits for calls of a program `name` that began and ended after this was asked for; it
/// is run until one is seen, as the daemon may be starting.
fn exports_go_on(collector: &Collector, name: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        workload::run(name, &["getppid=100"])?.wait()?;
        if collector.total("observer.syscall.calls", named(&[name]), |_| true)? > 0.0 {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "no calls of {name}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until log lines were counted as dropped.
fn dropped(collector: &Collector) -> Result<()> {
    let begin = Instant::now();
    while !matches!(collector.losses()?.get("log/log_line_dropped"), Some(n) if *n > 0) {
        ensure!(begin.elapsed() < PATIENCE, "{:?}", collector.losses()?);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The state of a process (proc(5)); `None` when it is over.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next().filter(|state| *state != 'Z')
}

/// Interrupts the daemon, which `_started` or is, and waits for its end.
fn end(_started: Daemon, pid: u32) -> Result<()> {
    let begin = Instant::now();
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGINT)?;
    while state(pid).is_some() {
        ensure!(begin.elapsed() < PATIENCE, "it doesn't end");
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = begin.elapsed();
    in_time!(took < END, "the end took {took:?}");
    Ok(())
}

/// A pipe that is full and that nobody reads: both ends.
fn full_pipe() -> Result<(PipeReader, OwnedFd)> {
    let (reader, mut writer) = std::io::pipe()?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    while writer.write(&[b' '; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok((reader, writer.into()))
}

/// Checks a daemon whose log nobody reads from the beginning on.
#[test]
fn log_that_nobody_reads() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let collector = Collector::start()?;
    let (_reader, writer) = full_pipe()?;
    let mut command = observer(&["run"], &collector);
    let daemon = Daemon(command.stdout(Stdio::null()).stderr(writer).spawn()?);
    exports_go_on(&collector, "out-log-1")?;
    exports_go_on(&collector, "out-log-2")?;
    let pid = daemon.0.id();
    end(daemon, pid)
}

/// Checks a daemon whose summaries nobody reads, nor its log.
#[test]
fn summary_that_nobody_reads() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let collector = Collector::start()?;
    let (_reader, writer) = full_pipe()?;
    let mut command = observer(&["run", "--summary"], &collector);
    let (out, errors) = (writer.try_clone()?, writer);
    let daemon = Daemon(command.stdout(out).stderr(errors).spawn()?);
    exports_go_on(&collector, "out-sum-1")?;
    exports_go_on(&collector, "out-sum-2")?;
    let pid = daemon.0.id();
    end(daemon, pid)
}

/// Checks that `trace` ends though nobody reads what it prints and logs.
#[test]
fn trace_that_nobody_reads() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let collector = Collector::start()?;
    let (_reader, writer) = full_pipe()?;
    let mut command = observer(&["trace"], &collector);
    let (out, errors) = (writer.try_clone()?, writer);
    let daemon = Daemon(command.stdout(out).stderr(errors).spawn()?);
    let begin = Instant::now();
    while observer_testkit::daemon::links(daemon.0.id()) == 0 {
        ensure!(begin.elapsed() < PATIENCE, "nothing is attached");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = daemon.0.id();
    end(daemon, pid)
}

/// Checks a daemon whose output and log go to a disk that is full, and what it counts.
#[test]
fn disk_that_is_full() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let collector = Collector::start()?;
    let full = File::options().write(true).open("/dev/full")?;
    let mut command = observer(&["run", "--summary"], &collector);
    let daemon = Daemon(command.stdout(full.try_clone()?).stderr(full).spawn()?);
    exports_go_on(&collector, "out-disk-1")?;
    dropped(&collector)?;
    exports_go_on(&collector, "out-disk-2")?;
    let pid = daemon.0.id();
    end(daemon, pid)
}

/// A terminal: the side of who sits there, and that of programs.
fn terminal() -> Result<(File, OwnedFd)> {
    let (mut master, mut slave) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: room for two descriptors; nothing else is asked.
    let result = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            none,
            none.cast(),
            none.cast(),
        )
    };
    ensure!(result == 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptors are new and nobody else's.
    let ends = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    Ok((File::from(ends.0), ends.1))
}

/// Checks a daemon in the background of a terminal that stops who writes from there
/// (`tostop`), and on which somebody then pressed Ctrl-S.
#[test]
fn terminal_that_is_stopped() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let collector = Collector::start()?;
    let (mut person, programs) = terminal()?;
    let folder = tempfile::tempdir()?;
    let note = folder.path().join("pid");
    let daemon = observer(&["run", "--summary"], &collector);
    // A shell with job control gives each job a process group of its own.
    let script = "set -m; stty tostop; note=$1; shift; \"$@\" & echo $! > $note; wait";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(&note);
    shell.arg(daemon.get_program()).args(daemon.get_args());
    let theirs = || programs.as_fd().try_clone_to_owned();
    shell.stdin(theirs()?).stdout(theirs()?).stderr(theirs()?);
    // SAFETY: two system calls between fork and exec.
    unsafe {
        shell.pre_exec(|| {
            nix::unistd::setsid()?;
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let shell = Daemon(shell.spawn()?);
    drop(programs);
    exports_go_on(&collector, "out-tty-1")?;
    let pid = std::fs::read_to_string(&note)?;
    let pid: u32 = pid.trim().parse().context("the daemon's id")?;
    let _ended = Ended(pid);
    // Nobody reads the terminal, and it is told to stop.
    person.write_all(b"\x13")?;
    exports_go_on(&collector, "out-tty-2")?;
    let state = state(pid).context("it ended")?;
    ensure!(state != 'T', "it is stopped");
    end(shell, pid)
}

/// Kills a process that isn't our child, should it still be there.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        let program = std::fs::read_link(format!("/proc/{}/exe", self.0));
        if program.is_ok_and(|program| Some(program) == observer_bin().canonicalize().ok()) {
            let _ = kill(Pid::from_raw(self.0 as i32), Signal::SIGKILL);
        }
    }
}
