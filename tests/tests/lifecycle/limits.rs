//! Every table at its limit at once, for as long as one likes: `OBSERVER_LIMITS=300` takes five
//! minutes, without it it's half a minute.

use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Uid, User};
use observer_export::otlp::Signal;
use observer_testkit::collector::{Collector, text};
use observer_testkit::loopdev::LoopDevice;
use observer_testkit::memory::resident;
use observer_testkit::requests::{Scene, Seen};
use observer_testkit::workload;

use super::books::Books;
use super::{ALONE, watch};

/// Tables as small as they can be, and whatever is slow or rare told of.
const TINY: &[&str] = &[
    "--table-workloads",
    "16",
    "--table-cells",
    "1024",
    "--table-ring",
    "4KiB",
    "--requests-ring",
    "4KiB",
    "--table-unwind",
    "1MiB",
    "--span-slow-io",
    "1us",
    "--span-rate",
    "100000",
    "--span-burst",
    "100000",
    "--off-cpu-threshold",
    "0",
    "--log-format",
    "json",
];

/// What another user makes as much of as it can, for so many seconds.
const FLOODS: &[&str] = &[
    "connections",
    "handshakes",
    "heads",
    "paths",
    "questions",
    "stacks",
    "ends",
    "reads",
    "programs",
];
fn seconds() -> Result<u64> {
    match std::env::var("OBSERVER_LIMITS") {
        Ok(seconds) => seconds.parse().context("OBSERVER_LIMITS is no number"),
        Err(_) => Ok(24),
    }
}

/// Requests of the service beside them, and calls that a program of its own makes.
const REQUESTS: u64 = 400;
const CALLS: u64 = 20_000;

/// How much the daemon may grow from the third quarter to the last, in MB: what of a flood
/// waits for being named differs from moment to moment.
const GROWTH: f64 = 24.0;

/// The same where that is within the first minute, while tables, buffers and what is known of
/// symbols get their size.
const EARLY_GROWTH: f64 = 64.0;

/// The median of some looks.
fn median(looks: &[f64]) -> f64 {
    let mut looks = looks.to_vec();
    looks.sort_by(f64::total_cmp);
    looks[looks.len() / 2]
}

/// Checks that a daemon of which every table is tiny, beside all floods at once, goes on: it
/// exports until its end, which comes in time; it doesn't grow; its log is lines that each
/// say something, of the flood's user too, and no panic; each system call is counted once or
/// its loss is; and of requests no more are missing than were lost by name.
#[test]
fn every_table_at_its_limit() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let nobody = User::from_uid(Uid::from_raw(65534))?.context("there is no nobody")?;
    let seconds = seconds()?;
    let device = LoopDevice::new(8 << 20, false)?;
    let (mut scene, collector) = (Scene::new()?, Collector::start()?);
    let port = scene.observer_server(None)?;
    let daemon = watch(&scene, &collector, TINY)?;

    for kind in FLOODS {
        let mut flood = scene.own("observer-flood")?;
        flood.args([*kind, &seconds.to_string()]);
        flood.stdin(std::fs::File::open(device.path())?);
        let flood = scene.join_as(flood.stdout(Stdio::null()), Some(&nobody))?;
        drop(flood.stderr(Stdio::null()).spawn()?);
    }
    let mut names = Command::new(workload::program()?);
    names.args(["names", "rename=300"]).stdin(Stdio::piped());
    let names = scene.join_as(names.stdout(Stdio::piped()), Some(&nobody))?;
    let names = names.spawn()?;
    let begin = Instant::now();
    let mut memory = Vec::new();
    let mut look = |until: u64| -> Result<()> {
        while begin.elapsed() < Duration::from_secs(until) {
            memory.push(resident(daemon.pid())?.0);
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    };
    let exports = || collector.receiver().taken(Signal::Metrics).len();
    look(4)?;
    let before = exports();
    let calls = format!("getppid={CALLS}");
    let steps = ["sleep=10:100", &calls, "sleep=2:100"];
    scene.run(Command::new(workload::program()?).arg("calls").args(steps))?;
    let requests = REQUESTS.to_string();
    let load = [
        "--connections",
        "2",
        "--path",
        "/work/5?{}",
        "--requests",
        &requests,
    ];
    scene.load(port, &load)?;
    look(seconds)?;
    let after = exports();
    // It goes on until its standard input ends.
    let flooded = names.wait_with_output()?;
    ensure!(flooded.status.success());
    let flooded: u64 = std::str::from_utf8(&flooded.stdout)?.trim().parse()?;
    std::thread::sleep(Duration::from_secs(3));
    let said = daemon.end()?;
    let seen = Seen::decode(&collector)?;
    eprintln!("lost: {:?}", seen.losses());

    ensure!(
        before < after,
        "nothing was exported after the first seconds"
    );
    let quarter = memory.len() / 4;
    let [third, last] = [2, 3].map(|part| median(&memory[part * quarter..(part + 1) * quarter]));
    eprintln!("{third:.1} MB, and then {last:.1} MB");
    let limit = if seconds < 60 { EARLY_GROWTH } else { GROWTH };
    ensure!(
        last < third + limit,
        "it grew from {third:.1} to {last:.1} MB"
    );
    for line in said.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).with_context(|| line.to_owned())?;
        let message = line["message"].as_str().unwrap_or_default();
        ensure!(!message.is_empty() && !message.contains("panic"), "{line}");
    }
    ensure!(said.contains("user 65534"), "nobody is named:\n{said}");
    let is_flood = |point: &[_]| text(point, "observer.tenant") == Some("user 65534");
    let refused = collector.own("observer.tenant.refused", is_flood)?;
    ensure!(refused > 0.0, "nobody was refused");

    let (books, made) = (Books::of(&collector, "getppid")?, flooded + CALLS);
    let lost = seen.lost(&["counter_table_full"]);
    let sum = books.sum();
    ensure!(sum <= made, "{sum} calls of {made}");
    ensure!(sum + lost >= made, "{sum} calls of {made}, {lost} lost");
    let asked = seen.sum_of("http.server.request.duration", Some("observer-server"), &[]) as u64;
    let missing = REQUESTS.checked_sub(asked);
    let missing = missing.with_context(|| format!("{asked} requests of {REQUESTS}"))?;
    let causes = ["request_ring_full", "series_folded", "histogram_table_full"];
    let lost = seen.lost(&causes);
    ensure!(
        missing <= lost,
        "{missing} requests are missing, {lost} lost"
    );
    Ok(())
}
