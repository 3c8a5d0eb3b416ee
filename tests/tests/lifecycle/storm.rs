//! Two hundred programs a second, each of a name of its own, for as long as one likes:
//! `OBSERVER_STORM=100000` takes eight minutes, without it it's 4,000.

use std::collections::BTreeSet;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Uid, User};
use observer_testkit::chain::compile;
use observer_testkit::collector::Collector;
use observer_testkit::memory::resident;
use observer_testkit::requests::Scene;
use observer_testkit::tool::Tool;
use observer_testkit::workload;

use super::books::Books;
use super::{ALONE, watch};

/// Programs that are started each second.
const RATE: u64 = 200;

/// System calls that each of them makes ...
const CALLS: u64 = 3;

/// ... which nobody else makes.
const CALL: &str = "sched_rr_get_interval";

/// Services that start while the others come and go.
const LATE: u64 = 4;

/// Who starts the programs: a tenant of its own.
const NOBODY: u32 = 65534;

/// How much the daemon's memory may grow, in MB, once it has seen so many programs.
const SETTLED: u64 = 60 * RATE;
const GROWTH: f64 = 2.0;

/// The same before, while tables and buffers get their size, and mapped cells are used for
/// the first time.
const EARLY_GROWTH: f64 = 64.0;

fn programs() -> Result<u64> {
    match std::env::var("OBSERVER_STORM") {
        Ok(programs) => programs.parse().context("OBSERVER_STORM is no number"),
        Err(_) => Ok(4000),
    }
}

/// The program that starts them, where its user may make links to it.
fn storm_program(folder: &Path) -> Result<std::path::PathBuf> {
    let own = folder.join("storm");
    std::fs::create_dir(&own)?;
    let program = compile(Command::new("cc"), &own, "storm", "storm.c", &[]);
    for path in [&own, &program] {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(program)
}

/// The daemon's resident memory, now and then.
#[derive(Default)]
struct Memory(Vec<f64>);

impl Memory {
    fn look(&mut self, daemon: &Tool) -> Result<()> {
        self.0.push(resident(daemon.pid())?.0);
        Ok(())
    }

    /// The median of a part of the looks.
    fn within(&self, from: f64, to: f64) -> f64 {
        let at = |part: f64| (self.0.len() as f64 * part) as usize;
        let mut part = self.0[at(from)..at(to)].to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    }

    /// By how much it grew after the first `early` of all that was done.
    fn grew(&self, early: f64) -> f64 {
        let window = (1.0 - early) / 4.0;
        self.within(1.0 - window, 1.0) - self.within(early, early + window)
    }
}

fn storm(arguments: &[&str]) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (program, id) = (workload::program()?, std::process::id());
    let number = programs()?;
    let (scene, collector) = (Scene::new()?, Collector::start()?);
    let storm = storm_program(scene.folder())?;
    // Each service in a cgroup of its own, as systemd has it: it is a tenant, too.
    let places: Vec<Scene> = (0..=LATE).map(|_| Scene::new()).collect::<Result<_>>()?;
    let paths: Vec<String> = places
        .iter()
        .map(|one| one.cgroup().display().to_string())
        .collect();
    let mut all: Vec<&str> = arguments.to_vec();
    paths.iter().for_each(|path| all.extend(["--cgroup", path]));
    let daemon = watch(&scene, &collector, &all)?;

    let seconds = number / RATE;
    let sleep = format!("sleep={seconds}:1000");
    // Not by a shell, which makes calls of its own.
    let service = |name: &str, steps: &[&str]| {
        let mut command = Command::new(&program);
        command.arg(format!("{name}-{id}")).args(steps);
        command
    };
    let mut steady = service(
        "steady",
        &["sleep=30:100", "getppid=1000", &sleep, "getppid=1000"],
    );
    let mut steady = places[usize::try_from(LATE)?].join(&mut steady)?.spawn()?;
    let nobody = User::from_uid(Uid::from_raw(NOBODY))?.context("there is no nobody")?;
    let mut command = Command::new(&storm);
    command.args([number, RATE, CALLS].map(|n| n.to_string()));
    let mut storm = scene
        .join_as(command.stdout(Stdio::piped()), Some(&nobody))?
        .spawn()?;
    let (begin, mut memory, mut late) = (Instant::now(), Memory::default(), 0);
    while storm.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(250));
        memory.look(&daemon)?;
        if begin.elapsed() > Duration::from_secs(seconds * (late + 1) / (LATE + 1)) && late < LATE {
            let calls = format!("getppid={}", 500 + late);
            // Where places are few it has had two names before this one, and waits for their
            // places.
            let steps = ["sleep=30:100", &calls, "sleep=2:100"];
            let place = &places[usize::try_from(late)?];
            place.run(&mut service(&format!("late-{late}"), &steps))?;
            late += 1;
        }
    }
    let started = storm.wait_with_output()?;
    ensure!(started.status.success(), "not all programs were started");
    ensure!(steady.wait()?.success());
    ensure!(late == LATE, "the programs were over too soon");

    let services = 2000 + (0..LATE).map(|n| 500 + n).sum::<u64>();
    // Its last word has the last figures of all.
    let said = daemon.end()?;
    let books = Books::of(&collector, "getppid")?;
    ensure!(
        books.sum() == services,
        "{} calls of {services}: {said}",
        books.sum()
    );
    let steady = books.of_one(&format!("steady-{id}"));
    ensure!(steady == 2000, "the steady service: {steady} calls");
    for n in 0..LATE {
        let calls = books.of_one(&format!("late-{n}-{id}"));
        ensure!(
            calls == 500 + n,
            "late service {n}: {calls} calls, {} as `other`: {said}",
            books.of_one("other")
        );
    }
    let (books, made) = (Books::of(&collector, CALL)?, number * CALLS);
    ensure!(
        books.sum() == made,
        "{} calls of {made}: {said}",
        books.sum()
    );
    for ((name, _), calls) in &books.calls {
        let is_one = name.starts_with("storm-") && *calls <= CALLS || name == "other";
        ensure!(is_one, "{calls} calls of {name}");
    }
    // One process started them. It and the services were started, too, from outside.
    let starts = Books::of(&collector, "execve")?;
    let (by_it, all) = (starts.of_one("storm"), starts.sum());
    ensure!(by_it == number, "{by_it} starts of {number}");
    ensure!(all <= number + 2 + LATE, "{all} starts, not {number}");

    let early = (SETTLED as f64 / number as f64).min(0.25);
    let limit = match number >= 4 * SETTLED {
        true => GROWTH,
        false => EARLY_GROWTH,
    };
    let grew = memory.grew(early);
    let names: BTreeSet<&String> = books.calls.keys().map(|(name, _)| name).collect();
    eprintln!(
        "{number} programs, {} names, {:.1} MB, grew by {grew:.1} MB",
        names.len(),
        memory.within(0.75, 1.0)
    );
    ensure!(grew < limit, "the daemon grew by {grew:.1} MB");
    Ok(())
}

/// Checks that thousands of programs of names of their own cost a service beside them, and
/// each that starts meanwhile, neither name nor call; that each call of theirs, and each
/// start, is exported once; and that the daemon doesn't grow.
#[test]
fn names_by_the_thousands() -> Result<()> {
    storm(&[])
}

/// The same in a table of 64.
#[test]
fn names_by_the_thousands_in_a_small_table() -> Result<()> {
    storm(&["--table-workloads", "64"])
}
