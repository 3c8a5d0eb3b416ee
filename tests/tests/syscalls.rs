//! Checks that syscalls are counted exactly, against programs that know what
//! they called.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_common::names::programs;
use observer_common::tally::Kind;
use observer_testkit::kernel::{Counted, Fixture};
use observer_testkit::{in_time, packages, workload};
use observer_userspace::kernel::ProbeSpec;
use observer_userspace::probes::syscalls;

const CALLS: Kind = Kind::SyscallDuration;

fn fixture() -> Result<Fixture> {
    Fixture::attach(&[&syscalls::SPEC])
}

/// Checks that 1,000,000 getppid calls are 1,000,000, and 5,000 failing
/// openat calls 5,000 errors named ENOENT.
#[test]
fn calls_and_errors_are_exact() -> Result<()> {
    let mut fixture = fixture()?;
    workload::run("obs-exact", &["getppid=1000000", "enoent=5000"])?.wait()?;
    let tallies = fixture.tallies("obs-exact")?;
    assert_eq!(tallies.histogram_count(CALLS, "getppid"), 1_000_000);
    assert_eq!(tallies.errors("openat", "ENOENT"), 5_000);
    ensure!(
        tallies.histogram_count(CALLS, "openat") >= 5_000,
        "errors are calls too"
    );
    Ok(())
}

/// Checks exactness with four processes that run at the same time.
#[test]
fn concurrent_processes_are_exact() -> Result<()> {
    let mut fixture = fixture()?;
    let children = (0..4)
        .map(|_| workload::run("obs-four", &["getppid=250000", "enoent=1000"]))
        .collect::<Result<Vec<_>>>()?;
    for child in children {
        child.wait()?;
    }
    let tallies = fixture.tallies("obs-four")?;
    assert_eq!(tallies.histogram_count(CALLS, "getppid"), 1_000_000);
    assert_eq!(tallies.errors("openat", "ENOENT"), 4_000);
    Ok(())
}

/// Checks exactness with 5,000 processes that live for 10 ms, that they are
/// one workload, and that a new process's return from its parent's clone is
/// not taken for a syscall whose beginning was lost.
#[test]
fn short_lived_processes_are_exact() -> Result<()> {
    let mut fixture = fixture()?;
    workload::run("obs-short", &["spawn=5000:100:10"])?.wait()?;
    let tallies = fixture.tallies("obs-short")?;
    assert_eq!(tallies.histogram_count(CALLS, "getppid"), 500_000);
    assert_eq!(
        tallies.workloads(),
        1,
        "processes of one cgroup and name are one workload"
    );
    let clones = |name| tallies.untimed(name);
    assert_eq!(
        clones("clone") + clones("clone3") + clones("vfork"),
        0,
        "a child's return was taken for a call"
    );
    Ok(())
}

/// Checks durations: sleeps of known length have the right sum within 10 % (timers fire
/// late, never early), and no more than the program measured around them itself.
#[test]
fn a_sleep_takes_its_time() -> Result<()> {
    let mut fixture = fixture()?;
    let own = workload::run_until_told("obs-sleep", &["slept=20:50"])?.tell()?;
    let tallies = fixture.tallies("obs-sleep")?;
    let sleep = tallies
        .histogram(CALLS, "clock_nanosleep")
        .context("no sleeps seen")?;
    assert_eq!(sleep.count(), 20);
    let mean = sleep.sum as f64 / 1e9 / 20.0;
    ensure!(mean >= 0.05, "20 sleeps of 50 ms took {mean} s on average");
    let own: u64 = own.parse()?;
    ensure!(sleep.sum <= own, "{} ns, by its own clock {own}", sleep.sum);
    in_time!(mean < 0.055, "20 sleeps of 50 ms took {mean} s on average");
    Ok(())
}

/// Checks counts against strace's, syscall by syscall, of a program that isn't
/// ours.
#[test]
fn agrees_with_strace() -> Result<()> {
    // By a name that nobody else's has.
    let folder = tempfile::tempdir()?;
    let name = format!("find-{}", std::process::id());
    let program = folder.path().join(&name);
    std::fs::copy("/usr/bin/find", &program)?;
    let arguments = ["/usr/share/doc", "-maxdepth", "2", "-name", "copyright"];
    let strace = packages::program("strace", "strace")?
        .args(["-c", "-U", "calls,errors,name", "-o", "/dev/stderr", "--"])
        .arg(&program)
        .args(arguments)
        .stdout(Stdio::null())
        .output()
        .context("strace can't be run")?;
    let text = String::from_utf8(strace.stderr)?;
    let mut fixture = fixture()?;
    ensure!(
        Command::new(&program)
            .args(arguments)
            .stdout(Stdio::null())
            .status()?
            .success()
    );
    let tallies = fixture.tallies(&name)?;
    let mut compared = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(calls), Some(name)) = (
            fields.first().and_then(|f| f.parse::<u64>().ok()),
            fields.last(),
        ) else {
            continue;
        };
        // The calls that a walk of a tree is made of; start-up differs under a tracer.
        if ["openat", "newfstatat", "getdents64", "fchdir"].contains(name) {
            assert_eq!(
                tallies.histogram_count(CALLS, name),
                calls,
                "{name}\n{text}"
            );
            compared += 1;
        }
    }
    ensure!(compared >= 3, "strace showed too little:\n{text}");
    Ok(())
}

/// Checks that calls are counted exactly when durations come later, also those
/// that are under way then.
#[test]
fn calls_are_exact_before_durations_come() -> Result<()> {
    let begin = programs::SYSCALLS_ENTER;
    static BEGIN: LazyLock<ProbeSpec> = LazyLock::new(|| one(programs::SYSCALLS_ENTER));
    static END: LazyLock<ProbeSpec> = LazyLock::new(|| one(programs::SYSCALLS_EXIT));
    let mut fixture = Fixture::attach(&[&END])?;
    let child = workload::run_until_told("obs-toggle", &["ask=1000", "enoent=1000"])?;
    let sleeper = workload::run("obs-toggle", &["sleep=3:400"])?;
    until(&mut fixture, "calls are counted", |tallies| {
        tallies.untimed("getppid") > 0 && tallies.untimed("clock_nanosleep") > 0
    })?;
    ensure!(fixture.kernel.attach(&BEGIN), "{begin} is refused");
    until(&mut fixture, "calls are timed", |tallies| {
        tallies.histogram_count(CALLS, "getppid") > 0
    })?;
    let calls: u64 = child.tell()?.parse()?;
    sleeper.wait()?;
    let tallies = fixture.tallies("obs-toggle")?;
    let (timed, untimed) = (
        tallies.histogram_count(CALLS, "getppid"),
        tallies.untimed("getppid"),
    );
    assert_eq!(timed + untimed, calls, "{timed} timed, {untimed} not");
    assert_eq!(
        tallies.histogram_count(CALLS, "clock_nanosleep") + tallies.untimed("clock_nanosleep"),
        3
    );
    assert_eq!(tallies.errors("openat", "ENOENT"), 1_000);
    Ok(())
}

/// Waits until the tallies are as wanted.
fn until(fixture: &mut Fixture, what: &str, wanted: impl Fn(&Counted) -> bool) -> Result<()> {
    let begun = Instant::now();
    // There is no such workload at first.
    while !fixture.tallies("obs-toggle").is_ok_and(|it| wanted(&it)) {
        let waited = begun.elapsed();
        ensure!(waited < Duration::from_secs(60), "not in a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The probe with one of its programs.
fn one(program: &str) -> ProbeSpec {
    let mut programs = syscalls::SPEC.programs.chunks(1);
    let found = programs.find(|one| one[0].name == program);
    ProbeSpec {
        programs: found.expect("a program of the family"),
        ..syscalls::SPEC
    }
}
