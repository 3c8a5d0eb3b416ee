//! What a tenant makes too much of costs nobody else a record: another user's program floods
//! a daemon that is stopped, so that it reads nothing; a service beside it does a known
//! amount of the same meanwhile, and all of that is told of under its own name.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::requests::{Attributed as _, Daemon, Sample, Scene, Seen, Span};
use observer_testkit::workload;

/// One test at a time: each has a daemon, and a flood.
static ALONE: Mutex<()> = Mutex::new(());

/// A program that has done what it should, and waits.
struct Service {
    child: Child,
    /// What it says that it did.
    said: u64,
}

impl Service {
    /// Starts one in the scene that takes these steps as the service called `name`, of which
    /// the last says something.
    fn start(scene: &Scene, name: &str, steps: &[&str]) -> Result<Self> {
        let mut command = Command::new(workload::program()?);
        command.arg(name).args(steps).arg("sleep=1:100000");
        command.env("OTEL_SERVICE_NAME", name);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = scene.join(&mut command)?.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let said = line.trim().parse();
        let said = said.with_context(|| format!("{name} said {line:?}"))?;
        Ok(Self { child, said })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name that nobody else has.
fn unique(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

/// Has another user's program flood, and then a service do something, while a daemon that
/// looks at both is stopped; returns what it tells of when it goes on. The flood is looked at
/// for so many seconds `before` that.
fn while_stopped<T>(
    options: &[&str],
    before: u64,
    flood: impl FnOnce(&mut Command) -> Result<&mut Command>,
    service: impl FnOnce(&Scene) -> Result<T>,
    is_told: impl Fn(&Seen) -> bool,
) -> Result<(Seen, T)> {
    let nobody = User::from_name("nobody")?.context("a user without privileges")?;
    let (attacker, victim) = (Scene::new()?, Scene::new()?);
    let cgroups = [attacker.cgroup(), victim.cgroup()];
    let cgroups = cgroups.map(|cgroup| cgroup.to_string_lossy().into_owned());
    let [of_attacker, of_victim] = &cgroups;
    let looks_at = [
        "--interval",
        "1s",
        "--cgroup",
        of_attacker,
        "--cgroup",
        of_victim,
    ];
    let daemon = Daemon::start_plain("always_on", &[&looks_at[..], options].concat())?;
    let pid = Pid::from_raw(daemon.pid().try_into()?);
    let mut command = attacker.own("observer-flood")?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    flood(command.stderr(Stdio::piped()))?;
    let flooding = attacker.join_as(&mut command, Some(&nobody))?.spawn()?;
    std::thread::sleep(Duration::from_secs(before));
    kill(pid, Signal::SIGSTOP)?;
    let done = (|| {
        let flooded = flooding.wait_with_output()?;
        let made = String::from_utf8_lossy(&flooded.stderr).into_owned();
        ensure!(flooded.status.success(), "the flood failed: {made}");
        eprint!("{made}");
        service(&victim)
    })();
    kill(pid, Signal::SIGCONT)?;
    let done = done?;
    // In the first interval it looks at who is new.
    std::thread::sleep(Duration::from_secs(2));
    daemon.wait_until(is_told, || Ok(()))?;
    let seen = daemon.finish()?;
    eprintln!("lost: {:?}", seen.losses());
    for refused in seen.series("observer.tenant.refused") {
        let of = |key| refused.text(key);
        let (table, tenant) = (of("observer.table"), of("observer.tenant"));
        eprintln!("refused: {table} {tenant} {}", refused.value);
    }
    Ok((seen, done))
}

/// Fails unless the flood's user, and nobody else, found no room in a table, and the log names
/// it.
fn only_the_flood(seen: &Seen, table: &str) -> Result<f64> {
    let refused = |with: &[(&str, &str)]| seen.sum_of("observer.tenant.refused", None, with);
    let table_is = ("observer.table", table);
    let all = refused(&[table_is]);
    let theirs = refused(&[table_is, ("observer.tenant", "user 65534")]);
    ensure!(
        all == theirs,
        "{table}: {all} were refused, {theirs} of the flood"
    );
    ensure!(theirs > 0.0, "{table}: it was no flood");
    ensure!(
        seen.log.contains("user 65534"),
        "the log doesn't say it:\n{}",
        seen.log
    );
    Ok(theirs)
}

/// Spans of a service that `wanted`.
fn spans(seen: &Seen, service: &str, wanted: impl Fn(&Span) -> bool) -> usize {
    let spans = seen.spans.iter().filter(|span| span.service == service);
    spans.filter(|span| wanted(span)).count()
}

/// Checks that each connection of a service has the spans of both its ends beside a flood of
/// connections.
#[test]
fn connections() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let name = unique("connects");
    let options = [
        "--probes",
        "tcp",
        "--span-rate",
        "1000000",
        "--span-burst",
        "1000000",
    ];
    let (seen, service) = while_stopped(
        &options,
        0,
        |flood| Ok(flood.args(["ends", "10"])),
        |scene| Service::start(scene, &name, &["connect=50", "slept=1:1"]),
        |_| true,
    )?;
    drop(service);
    let found = spans(&seen, &name, |_| true);
    ensure!(found == 100, "{found} spans of 50 connections");
    let refused = only_the_flood(&seen, "tcp_ring")?;
    let lost = seen.lost(&["tcp_ring_full"]);
    ensure!(
        lost as f64 == refused,
        "{lost} were lost, {refused} refused"
    );
    Ok(())
}

/// Checks that each read of a service's has its span beside a flood of reads from the same
/// disk.
#[test]
fn slow_operations() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = LoopDevice::new(8 << 20, false)?;
    let open = || -> Result<File> {
        let mut options = File::options();
        Ok(options
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(device.path())?)
    };
    let options = ["--probes", "block", "--span-slow-io", "1us"];
    let options = [
        &options[..],
        &["--span-rate", "1000000", "--span-burst", "1000000"],
    ]
    .concat();
    let (seen, ()) = while_stopped(
        &options,
        0,
        |flood| Ok(flood.args(["reads", "5"]).stdin(open()?)),
        |scene| {
            let mut dd = Command::new("dd");
            let from = format!("if={}", device.path().display());
            dd.args([&from, "of=/dev/null", "bs=4k", "count=50", "iflag=direct"]);
            scene.run(&mut dd).map(drop)
        },
        |_| true,
    )?;
    // It is itself read from another disk.
    let found = spans(&seen, "dd", |span| {
        span.name == "disk read" && span.text("system.device") == device.name()
    });
    // Of some the kernel doesn't show the end: their duration isn't known.
    let unseen = seen.lost(&["block_end_missed"]);
    ensure!(
        found <= 50 && found as u64 + unseen >= 50,
        "{found} spans of 50 reads"
    );
    let refused = only_the_flood(&seen, "block_ring")?;
    let lost = seen.lost(&["block_ring_full"]);
    ensure!(
        lost as f64 == refused,
        "{lost} were lost, {refused} refused"
    );
    Ok(())
}

/// Checks that all time that a service was off CPU, and samples of its time on CPU, are in
/// profiles under its name beside a flood of stacks.
#[test]
fn stacks() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let name = unique("waits");
    let options = ["--probes", "cpu,offcpu", "--off-cpu-threshold", "0"];
    let sum = |samples: &[Sample]| -> i64 {
        let its = samples.iter().filter(|sample| sample.service == name);
        its.map(|sample| sample.count).sum()
    };
    let (seen, service) = while_stopped(
        &options,
        // How it is walked must be known.
        4,
        |flood| Ok(flood.args(["stacks", "8"])),
        |scene| Service::start(scene, &name, &["spin=1000", "slept=50:20"]),
        // Naming all that the flood does takes its time.
        |seen| sum(&seen.waits) > 0,
    )?;
    let (on, off) = (sum(&seen.samples), sum(&seen.waits));
    eprintln!(
        "{on} samples, {off} ns off CPU of {} that it slept",
        service.said
    );
    ensure!(on > 0, "no sample of it");
    // Its own clock also counts what comes before and after each wait.
    ensure!(
        off as f64 > service.said as f64 * 0.95,
        "{off} ns of {}",
        service.said
    );
    let tables = ["stack_ring", "sampled_stacks"];
    let refused = tables.map(|table| {
        seen.sum_of(
            "observer.tenant.refused",
            None,
            &[("observer.table", table)],
        )
    });
    // What fills first depends on how deep stacks are.
    for (table, _) in tables
        .iter()
        .zip(refused)
        .filter(|(_, refused)| *refused > 0.0)
    {
        only_the_flood(&seen, table)?;
    }
    let refused: f64 = refused.iter().sum();
    ensure!(refused > 0.0, "it was no flood");
    let lost = seen.lost(&["stack_ring_full", "sample_table_full"]);
    ensure!(
        lost as f64 == refused,
        "{lost} were lost, {refused} refused"
    );
    Ok(())
}

/// Checks that services that start beside a flood of programs have the names that they
/// declare.
#[test]
fn announcements() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let names: Vec<String> = (0..5).map(|n| unique(&format!("late{n}"))).collect();
    let (seen, services) = while_stopped(
        &["--probes", "syscalls"],
        0,
        |flood| Ok(flood.args(["programs", "60"])),
        |scene| {
            let names = names
                .iter()
                .map(|name| Service::start(scene, name, &["getppid=100", "slept=1:1"]));
            names.collect::<Result<Vec<_>>>()
        },
        |_| true,
    )?;
    drop(services);
    for name in &names {
        let calls = seen.sum(
            "observer.syscall.calls",
            name,
            &[("syscall.name", "getppid")],
        );
        ensure!(calls == 100, "{name}: {calls} calls of 100");
    }
    only_the_flood(&seen, "workload_ring")?;
    Ok(())
}
