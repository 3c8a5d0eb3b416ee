//! Waits that delay something, and those of idle threads. Need root.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use observer_testkit::chain::compile;
use observer_testkit::in_time;
use observer_testkit::observer_bin;
use observer_testkit::requests::Scene;
use observer_testkit::root::is_root;
use observer_testkit::stolen::Stolen;

/// Programs that wait, each under a name of its own.
struct Waiting {
    folder: tempfile::TempDir,
    scene: Scene,
    id: u32,
}

impl Waiting {
    fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            scene: Scene::new()?,
            id: std::process::id() % 1000,
        })
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.id)
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("off.folded")
    }

    /// A program of this name; stripped, so that only what its library exports has names.
    fn program(&self, kind: &str) -> PathBuf {
        let flags = ["-pthread", "-s"];
        let (cc, name) = (Command::new("cc"), self.name(kind));
        compile(cc, self.folder.path(), &name, "waits.c", &flags)
    }

    fn start(&self, kind: &str, threads: u32, seconds: u32) -> Result<Running> {
        let mut command = Command::new(self.program(kind));
        command.arg(kind).stdout(Stdio::null());
        command.args([threads, seconds].map(|n| n.to_string()));
        let started = self.scene.join(&mut command)?.spawn();
        Ok(Running(started.context("the program that waits")?))
    }

    /// What the observer says when it is run like this over everything in the scene.
    fn observe(&self, arguments: &[&str]) -> Result<(String, String)> {
        let output = Command::new(observer_bin()).args(arguments).output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok((text(&output.stdout), said))
    }
}

/// Ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may be over.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds of stacks of a program that end like this.
fn sum(folded: &Path, program: &str, end: &str) -> Result<f64> {
    let text = std::fs::read_to_string(folded)?;
    let begin = format!("{program};");
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let mine = lines.filter(|(stack, _)| stack.starts_with(&begin) && stack.ends_with(end));
    let values = mine.map(|(_, value)| value.parse::<f64>().context("a number"));
    Ok(values.sum::<Result<f64>>()? / 1e9)
}

/// Checks that threads' time in line for a mutex, as they measure it themselves, is `lock`,
/// with what idle threads do and without; and that who asks about a program sees both.
#[test]
fn records_of_locks() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let waiting = Waiting::new()?;
    let (out, name) = (waiting.out(), waiting.name("convoy"));
    let file = out.to_str().context("a path")?;
    let program = waiting.program("convoy");
    let program = program.to_str().context("a path")?;
    for idle in [None, Some(false)] {
        let mut options = vec!["record", "--type", "off-cpu", "-o", file];
        options.extend(idle.map(|_| "--idle=false"));
        options.extend(["--", program, "convoy", "4", "1"]);
        let stolen = Stolen::begin();
        let (printed, said) = waiting.observe(&options)?;
        let measured = printed.trim().parse::<f64>()? / 1e9;
        let locked = sum(&out, &name, ";[lock]")?;
        let queued = sum(&out, &name, ";[run queue]")?;
        // A thread has the mutex when it runs again: until then it waits for a CPU. What
        // it does around the wait is its own time.
        let least = measured * 0.9 - stolen.seconds();
        ensure!(
            locked + queued > least && locked < measured * 1.02,
            "{locked} s for the lock, {queued} s for a CPU, not {measured} s: {said}"
        );
        // Who has the lock sleeps; the first thread waits for the others.
        let slept = sum(&out, &name, ";[sleep]")?;
        ensure!((slept > 0.5) == idle.is_none(), "{slept} s asleep: {said}");
        ensure!(
            said.contains("idle time is left out: ") != idle.is_none(),
            "{said}"
        );
    }
    Ok(())
}

/// Checks that a recording of the whole host has nothing of pools without work, but for their
/// sum, and with `--idle` all of them, under a name that isn't a lock's.
#[test]
fn records_of_pools() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let waiting = Waiting::new()?;
    let out = waiting.out();
    let file = out.to_str().context("a path")?;
    let pools = [("pool", 8), ("tickets", 4)];
    let running = pools.map(|(kind, threads)| waiting.start(kind, threads, 60));
    let running: Vec<Running> = running.into_iter().collect::<Result<_>>()?;
    for idle in [false, true] {
        let mut options = vec![
            "record",
            "--type",
            "off-cpu",
            "--duration",
            "3s",
            "-o",
            file,
        ];
        options.extend(idle.then_some("--idle"));
        let (_, said) = waiting.observe(&options)?;
        for (kind, threads) in pools {
            let parked = sum(&out, &waiting.name(kind), ";[parked]")?;
            let expected = if idle { f64::from(threads) * 3.0 } else { 0.0 };
            in_time!(
                (parked - expected).abs() <= expected * 0.1,
                "{parked} s of {kind}, not {expected} s: {said}"
            );
            let locked = sum(&out, &waiting.name(kind), ";[lock]")?;
            ensure!(locked < 0.1, "{locked} s of {kind} for a lock: {said}");
        }
        let left_out = "idle time is left out: ";
        ensure!(said.contains(left_out) != idle, "{said}");
        ensure!(idle || said.contains("parked "), "{said}");
    }
    drop(running);
    Ok(())
}

/// Checks that the summary has a line for lock behind the threads that stand in line for it,
/// before everybody else, and none for idle pools; with `--idle` these, too.
#[test]
fn summaries_of_locks_and_pools() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let waiting = Waiting::new()?;
    let cgroup = waiting.scene.cgroup().display().to_string();
    for idle in [false, true] {
        let programs = [
            waiting.start("pool", 8, 60)?,
            waiting.start("tickets", 4, 60)?,
            waiting.start("convoy", 6, 60)?,
        ];
        let mut options = vec!["run", "--cgroup", &cgroup, "--duration", "9s"];
        options.extend(["--interval", "4s", "--budget", "off"]);
        options.extend(idle.then_some("--idle"));
        let (printed, said) = waiting.observe(&options)?;
        drop(programs);
        // The last whole one.
        let tables: Vec<&str> = printed.split("\nOFF CPU").skip(1).collect();
        let table = tables.iter().rev().nth(1).or(tables.last());
        let table = table.with_context(|| format!("no table: {printed}{said}"))?;
        let rows: Vec<&str> = table
            .lines()
            .skip(1)
            .take_while(|l| !l.is_empty())
            .collect();
        let first = rows.first().context("a row")?;
        ensure!(
            first.starts_with(&waiting.name("convoy")) && first.contains("lock "),
            "{table}"
        );
        for kind in ["pool", "tickets"] {
            let row = rows.iter().find(|row| row.starts_with(&waiting.name(kind)));
            ensure!(row.is_some() == idle, "{kind}: {table}");
            ensure!(
                row.is_none_or(|row| row.contains("idle: parked ")),
                "{table}"
            );
        }
        ensure!(
            table.contains("idle threads are left out: ") != idle,
            "{table}"
        );
    }
    Ok(())
}
