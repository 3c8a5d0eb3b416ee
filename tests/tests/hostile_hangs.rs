//! Processes that keep whoever looks at them waiting, and file systems that don't
//! answer: they cost what is only to be learnt there, and nothing else.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::collector::{Collector, named, text};
use observer_testkit::hang::{Hang, Kind};
use observer_testkit::tool::Tool;
use observer_testkit::{in_time, observer_bin, workload};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the end may take.
const END: Duration = Duration::from_secs(5);

/// A process that calls its service `service` and does something until it is dropped.
struct Caller(Child);

impl Caller {
    /// It makes calls.
    fn start(name: &str, service: &str) -> Result<Self> {
        Self::doing(name, service, "sleep=1000000:5")
    }

    fn doing(name: &str, service: &str, what: &str) -> Result<Self> {
        let child = Command::new(workload::program()?)
            .args([name, what])
            .env("OTEL_SERVICE_NAME", service)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn observer(arguments: &[&str], collector: Option<&Collector>) -> Result<Tool> {
    let mut command = Command::new(observer_bin());
    command.args(arguments).args(["--log-format", "text"]);
    if let Some(collector) = collector {
        command.args(["--otlp-endpoint", &collector.endpoint()]);
        command.args(["--otlp-protocol", "http/protobuf", "--interval", "1s"]);
    }
    Tool::start(&mut command)
}

/// Waits until calls of the program `name` came, as `service` if it calls itself so.
fn wait_for_calls(collector: &Collector, name: &str, service: Option<&str>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let whose = |attributes: &[_]| {
            let is_it = service.is_none_or(|s| text(attributes, "service.name") == Some(s));
            is_it && named(&[name])(attributes)
        };
        if collector.total("observer.syscall.calls", whose, |_| true)? > 0.0 {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "no calls of {name} as {service:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends it, in time and in order.
fn end(tool: Tool) -> Result<String> {
    let begin = Instant::now();
    let printed = tool.end()?;
    let took = begin.elapsed();
    in_time!(took < END, "the end took {took:?}");
    Ok(printed)
}

/// Checks that the daemon exports and ends in time beside processes whose memory map
/// stays locked, one from before its start and one from after it; that these are known
/// by what the kernel says of them, and others by what they say of themselves; and that
/// they are named in the log and counted.
#[test]
fn locked_memory_stops_nobody() -> Result<()> {
    let collector = Collector::start()?;
    let before = Hang::start(Kind::Memory, "hang-before")?;
    let mut tool = observer(&["run"], Some(&collector))?;
    tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    let _first = Caller::start("caller-first", "shop")?;
    wait_for_calls(&collector, "caller-first", Some("shop"))?;
    wait_for_calls(&collector, "hang-before", None)?;

    let after = Hang::start(Kind::Memory, "hang-after")?;
    wait_for_calls(&collector, "hang-after", None)?;
    let _second = Caller::start("caller-second", "cellar")?;
    wait_for_calls(&collector, "caller-second", Some("cellar"))?;

    let printed = end(tool)?;
    for hang in [&before, &after] {
        let line = format!("process {} (", hang.pid());
        ensure!(printed.contains(&line), "not named: {line}\n{printed}");
    }
    let losses = collector.losses()?;
    let unreadable = losses.get("identity/unreadable").context("not counted")?;
    ensure!(*unreadable >= 2, "{losses:?}");
    Ok(())
}

/// Checks that `run`, `trace` and `record` end by themselves when their time is over,
/// beside such a process.
#[test]
fn locked_memory_holds_no_end_up() -> Result<()> {
    let _hang = Hang::start(Kind::Memory, "hang-locked")?;
    // Where nothing happens a recording fails.
    let _busy = Caller::doing("busy-locked", "busy-locked", "spin=600000")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("profile.folded");
    let file = file.to_str().context("a path")?;
    for arguments in [
        &["run", "--summary"][..],
        &["trace"],
        &["record", "-o", file],
        &["record", "--type", "wall", "-o", file],
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--duration", "2s"]);
        let spent = observer(&all, None)?.spent(PATIENCE);
        spent.with_context(|| arguments.join(" "))?;
    }
    Ok(())
}

/// Checks the same for whatever else anybody can keep from others without a privilege: in a
/// network namespace of its own, with cgroup files that aren't answered, in the middle of
/// mounting; three of each. And that a metric says whose what doesn't answer is.
#[test]
fn nothing_of_a_user_stops_anybody() -> Result<()> {
    let collector = Collector::start()?;
    let kinds = [Kind::Network, Kind::Cgroups, Kind::Mounts];
    let start = |kinds: &[Kind]| -> Result<Vec<Hang>> {
        let start = |kind: &Kind| Hang::start(*kind, "hang-user");
        kinds.iter().map(start).collect()
    };
    let _before = start(&kinds)?;
    let mut tool = observer(&["run"], Some(&collector))?;
    tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    wait_for_calls(&collector, "hang-user", None)?;
    let _after = start(&kinds)?;
    let _caller = Caller::start("caller-user", "stable")?;
    wait_for_calls(&collector, "caller-user", Some("stable"))?;
    let begin = Instant::now();
    let is_theirs = |attributes: &[_]| {
        text(attributes, "observer.tenant") == Some("user 65534")
            && text(attributes, "observer.subject") == Some("process")
    };
    while collector.own("observer.set_aside", is_theirs)? < 1.0 {
        ensure!(begin.elapsed() < PATIENCE, "no metric names the user");
        std::thread::sleep(Duration::from_millis(50));
    }
    let printed = end(tool)?;
    ensure!(
        printed.contains("of user 65534 doesn't answer"),
        "{printed}"
    );
    Ok(())
}

/// Whether nothing of a process is attached any more.
fn is_detached(pid: u32) -> bool {
    observer_testkit::daemon::links(pid) == 0
}

/// Checks the same for what takes root in a container: programs, names of code made at run
/// time, and debug files on file systems that answer nobody. What the kernel holds threads
/// for lives until the file system ends; all else has ended in time.
#[test]
fn silent_file_systems_stop_nobody() -> Result<()> {
    let collector = Collector::start()?;
    let kinds = [Kind::Program, Kind::PerfMap, Kind::DebugFiles];
    let start = |kind: &Kind| Hang::start(*kind, "hang-root");
    let before: Vec<Hang> = kinds.iter().map(start).collect::<Result<_>>()?;
    let mut tool = observer(&["run"], Some(&collector))?;
    tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    let after: Vec<Hang> = kinds.iter().map(start).collect::<Result<_>>()?;
    let _caller = Caller::start("caller-root", "attic")?;
    wait_for_calls(&collector, "caller-root", Some("attic"))?;
    wait_for_calls(&collector, "hang-root", None)?;
    let samples = collector.profile_samples()?;
    let begin = Instant::now();
    while collector.profile_samples()? <= samples {
        ensure!(begin.elapsed() < PATIENCE, "no profiles come any more");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = tool.pid();
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGINT)?;
    let begin = Instant::now();
    while !is_detached(pid) {
        ensure!(begin.elapsed() < PATIENCE, "it is still attached");
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begin.elapsed();
    in_time!(took < END, "detaching took {took:?}");
    // Who waits in the kernel goes on.
    drop((before, after));
    let printed = end(tool)?;
    for what in ["a file system of process ", "the file system on device "] {
        let line = printed.lines().find(|line| line.contains(what));
        let is_aside = line.is_some_and(|line| line.contains("is set aside"));
        ensure!(is_aside, "{what} isn't set aside: {printed}");
    }
    Ok(())
}
