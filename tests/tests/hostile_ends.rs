//! A daemon that is killed or stopped at any moment: nothing of it stays, it starts again,
//! and nothing is lost or counted twice.
//!
//! `OBSERVER_ROUNDS=100` has it killed and stopped so often; without it takes seconds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::collector::Collector;
use observer_testkit::daemon::in_kernel;
use observer_testkit::requests::{Daemon, Scene, Seen, kind};
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

/// What is there by a name: pinned in the BPF file system, or among the kernel's uprobes and
/// kprobes.
fn named() -> (BTreeSet<OsString>, Vec<String>) {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    let lists = ["uprobe_events", "kprobe_events"].iter().flat_map(|list| {
        ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
            .iter()
            .map(move |place| format!("{place}/{list}"))
    });
    (
        entries.map(|entry| entry.file_name()).collect(),
        lists
            .filter_map(|list| fs::read_to_string(list).ok())
            .collect(),
    )
}

/// A program that has OpenSSL, of which it is known what is in its memory.
struct Library {
    child: Child,
    /// Where the code is mapped, and what of the file is there.
    address: u64,
    code: Vec<u8>,
}

impl Library {
    fn start() -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", "import ssl; print('ready', flush=True); input()"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let maps = fs::read_to_string(format!("/proc/{}/maps", child.id()))?;
        // proc(5): address range, permissions, offset, device, inode, path.
        let code = maps.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let &[range, "r-xp", offset, _, _, path] = &fields[..] else {
                return None;
            };
            let (from, to) = range.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            let is_it = path.contains("/libssl.so");
            is_it.then_some((number(from)?, number(to)?, number(offset)?, path.to_owned()))
        });
        let (from, to, offset, path) = code.context("no code of OpenSSL is mapped")?;
        let file = fs::read(path)?;
        let code = file[usize::try_from(offset)?..].iter().copied();
        Ok(Self {
            child,
            address: from,
            code: code.take(usize::try_from(to - from)?).collect(),
        })
    }

    /// Whether the code in memory is what the file has: nobody attached anything to it.
    fn is_untouched(&self) -> Result<bool> {
        let memory = File::open(format!("/proc/{}/mem", self.child.id()))?;
        let mut code = vec![0; self.code.len()];
        memory.read_exact_at(&mut code, self.address)?;
        Ok(code == self.code)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !is_so()? {
        ensure!(begin.elapsed() < PATIENCE, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Checks that of a daemon killed at any moment, from its start until it observes, no
/// program, map or link stays in the kernel, no breakpoint in other programs' code, and
/// nothing that has a name; and that the next one starts, observes and ends in order.
#[test]
fn killed_at_any_moment() -> Result<()> {
    let collector = Collector::start()?;
    let library = Library::start()?;
    let before = named();
    let begin = Instant::now();
    let mut whole = Tool::start(&mut observer(&collector))?;
    whole.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    until("uprobes", || Ok(!library.is_untouched()?))?;
    // Starting, and a bit of observing.
    let longest = begin.elapsed().mul_f64(1.3);
    whole.end()?;
    let mut held = BTreeSet::new();
    for round in 0..rounds()? {
        let mut child = observer(&collector)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(moment(round, longest));
        let pid = Pid::from_raw(child.id().try_into()?);
        // So that it loads nothing more between being looked at and killed.
        kill(pid, Signal::SIGSTOP)?;
        let loaded = in_kernel(child.id());
        kill(pid, Signal::SIGKILL)?;
        child.wait()?;
        for (kind, id) in &loaded {
            let what = format!("round {round}: {kind:?} {id} is gone");
            until(&what, || Ok(!kind.is_there(*id)))?;
            held.insert(*kind);
        }
        let what = format!("round {round}: no breakpoint is left");
        until(&what, || library.is_untouched())?;
        ensure!(named() == before, "round {round}: {:?}", named());
    }
    ensure!(held.len() == 3, "it never had more than {held:?}");
    let mut whole = Tool::start(&mut observer(&collector))?;
    whole.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    whole.end()?;
    Ok(())
}

/// Requests that the service gets in a second, and in all for each round.
const RATE: u64 = 100;
const ASKED: u64 = 300;

/// Checks that of a service's requests none is told of twice by all the daemons together of
/// which each is killed at another moment, neither as a span nor in the metrics, and that the
/// last one, which ends in order, counts what was asked while it ran, each once.
#[test]
fn killed_again_and_again() -> Result<()> {
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let asked = rounds()? * ASKED;
    let load = |path: &str, requests: u64| -> Result<Child> {
        let mut load: Command = scene.own("observer-load")?;
        load.arg(format!("127.0.0.1:{port}"));
        load.args(["--connections", "2", "--path", path]);
        load.args(["--rate", &RATE.to_string()]);
        load.args(["--requests", &requests.to_string()]);
        let load = load.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(scene.join(load)?.spawn()?)
    };
    let mut steady = load("/steady/{}", asked)?;
    let (mut spans, mut counted, mut round) = (BTreeSet::new(), 0, 0);
    let mut take = |seen: &Seen, round: u64| -> Result<u64> {
        for span in &seen.spans {
            let path = span.path().to_owned();
            let is_new = spans.insert((span.kind, path.clone()));
            ensure!(is_new, "round {round}: {path} is told of twice");
        }
        Ok(seen.sum("http.server.request.duration", "observer-server", &[]))
    };
    while steady.try_wait()?.is_none() {
        let daemon = Daemon::start(&scene)?;
        std::thread::sleep(moment(round, Duration::from_secs(3)));
        counted += take(&daemon.killed()?, round)?;
        round += 1;
    }
    eprintln!("{round} daemons counted {counted} of {asked} requests");
    ensure!(steady.wait()?.success(), "not all was asked");
    ensure!(counted > 0, "none of them told of anything");
    ensure!(counted <= asked, "{counted} were counted of {asked}");
    let daemon = Daemon::start(&scene)?;
    ensure!(load("/last/{}", ASKED)?.wait()?.success());
    let last = take(&daemon.finish()?, round)?;
    ensure!(last == ASKED, "the last one counted {last} of {ASKED}");
    for kind in [kind::SERVER, kind::CLIENT] {
        let of_last = spans
            .iter()
            .filter(|(of, path)| *of == kind && path.starts_with("/last"));
        let of_last = of_last.count() as u64;
        ensure!(of_last == ASKED, "{of_last} spans of {ASKED}");
    }
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
