//! Workloads come and go: names stay right and nothing is lost, however many there
//! are.

mod books;
mod limits;
mod storm;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer_testkit::collector::{Collector, text};
use observer_testkit::requests::Scene;
use observer_testkit::tool::Tool;
use observer_testkit::{in_time, observer_bin, workload};

use books::Books;

/// Short programs, each of a name of its own: more than the table holds.
const SHORT: u64 = 600;

/// Workloads that the daemon tells apart at once.
const TABLE: &str = "256";

/// System calls that each short program makes.
const CALLS: u64 = 3;

/// Each test fills the table of all daemons.
static ALONE: Mutex<()> = Mutex::new(());

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn step(program: &Path, name: &str, calls: u64) -> String {
    format!("'{}' {name} getppid={calls}", program.display())
}

/// Starts a daemon that watches `scene` and exports each second.
fn watch(scene: &Scene, collector: &Collector, arguments: &[&str]) -> Result<Tool> {
    let mut daemon = Tool::start(
        Command::new(observer_bin())
            .args(["run", "--interval", "1s"])
            .args(["--budget", "off"])
            .args(arguments)
            .args(["--otlp-endpoint", &collector.endpoint()])
            .args(["--otlp-protocol", "http/protobuf"])
            .arg("--cgroup")
            .arg(scene.cgroup()),
    )?;
    daemon.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
    Ok(daemon)
}

/// Waits until as many calls are exported as were made, and a shell's own.
fn all_calls(collector: &Collector, made: u64, daemon: &Tool) -> Result<Books> {
    let begin = Instant::now();
    loop {
        let books = Books::of(collector, "getppid")?;
        // Shells ask who started them, too.
        let made = made + books.of_one("sh");
        ensure!(books.sum() <= made, "{} calls of {made}", books.sum());
        if books.sum() == made {
            return Ok(books);
        }
        in_time!(
            begin.elapsed() < Duration::from_secs(60),
            "{} calls of {made}:\n{}",
            books.sum(),
            daemon.printed()?
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Checks that a user's program that gives itself 3,000 names again and again costs
/// nobody else a name or a call: each of three services that start meanwhile has all of
/// its calls under its own name; that what the flood did is counted, too; and that a
/// metric names its user.
#[test]
fn floods_cost_who_floods() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = workload::program()?;
    let id = std::process::id();
    let (scene, collector) = (Scene::new()?, Collector::start()?);
    let daemon = watch(&scene, &collector, &["--probes", "syscalls"])?;
    let names = format!("{} flood-{id} rename=3000", program.display());
    let mut flood = Command::new("setpriv");
    flood.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let mut flood = scene
        .join(
            flood
                .args(names.split(' '))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?
        .spawn()?;
    for n in 0..3 {
        let victim = step(&program, &format!("victim-{n}-{id}"), 500 + n);
        scene.run(&mut sh(&format!("exec {victim} enoent=10 sleep=2:100")))?;
    }
    ensure!(flood.try_wait()?.is_none(), "the flood is over");
    // It goes on until its standard input ends.
    let flooded = flood.wait_with_output()?;
    ensure!(flooded.status.success());
    let flooded: u64 = std::str::from_utf8(&flooded.stdout)?.trim().parse()?;
    let books = all_calls(&collector, flooded + 500 + 501 + 502, &daemon)?;
    for n in 0..3 {
        let calls = books.of_one(&format!("victim-{n}-{id}"));
        ensure!(calls == 500 + n, "victim {n}: {calls} calls");
    }
    let said = daemon.end()?;
    let is_flood = |attributes: &[_]| {
        text(attributes, "observer.table") == Some("workloads")
            && text(attributes, "observer.tenant") == Some("user 65534")
    };
    let refused = collector.own("observer.tenant.refused", is_flood)?;
    ensure!(
        refused > 0.0,
        "no metric names who found no room, of {flooded} calls: {said} {:?}",
        collector.own_by("observer.tenant.refused", "observer.tenant")
    );
    Ok(())
}

/// Checks that six hundred programs of different names, in a table of 256, lose no
/// call and are counted under their own names or `other`; that a service beside them
/// and one that starts after them have theirs; that no series ever falls, and that
/// each that is over is told so once.
#[test]
fn workloads_come_and_go() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = workload::program()?;
    let id = std::process::id();
    let scene = Scene::new()?;
    let collector = Collector::start()?;
    let arguments = ["--probes", "syscalls", "--table-workloads", TABLE];
    let daemon = watch(&scene, &collector, &arguments)?;

    // Twice as many calls at its end as at its beginning.
    let steady = format!(
        "exec '{}' steady-{id} getppid=1000 sleep=1:12000 getppid=1000",
        program.display()
    );
    let mut steady = scene.join(&mut sh(&steady))?.spawn()?;
    let short: String = (0..SHORT)
        .map(|n| step(&program, &format!("s{n}-{id}"), CALLS) + "; ")
        .collect();
    scene.run(&mut sh(&short))?;
    let late = format!("exec {}", step(&program, &format!("late-{id}"), 777));
    // Within the time in which what ended is noticed.
    std::thread::sleep(Duration::from_secs(1));
    scene.run(&mut sh(&late))?;
    ensure!(steady.wait()?.success());

    let made = SHORT * CALLS + 777 + 2000;
    let books = all_calls(&collector, made, &daemon)?;
    let (first, last) = (format!("steady-{id}"), format!("late-{id}"));
    ensure!(books.of_one(&first) == 2000, "{}", books.of_one(&first));
    ensure!(books.of_one(&last) == 777, "{}", books.of_one(&last));
    for n in 0..SHORT {
        let calls = books.of_one(&format!("s{n}-{id}"));
        ensure!(calls == CALLS || calls == 0, "s{n}: {calls} calls");
    }
    let others = books.of_one("other");
    ensure!(
        others <= made / 4,
        "{others} of {made} calls lost their name"
    );
    let short = |name: &&String| name.starts_with('s') && name.ends_with(&format!("-{id}"));
    let names: BTreeSet<&String> = books.calls.keys().map(|(whose, _)| whose).collect();
    let named = names.into_iter().filter(short).count();
    let begin = Instant::now();
    loop {
        let ended = Books::of(&collector, "getppid")?.ended;
        let ended = ended.keys().filter(short).count();
        // Those of the last moments may stay, as the table has room again.
        if ended * 2 > named {
            break;
        }
        in_time!(
            begin.elapsed() < Duration::from_secs(60),
            "{ended} of {named} ended:\n{}",
            daemon.printed()?
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    daemon.end()?;
    Ok(())
}
