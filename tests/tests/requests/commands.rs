//! What people type: `observer trace`, and `observer record` of some requests.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use observer_testkit::requests::{Scene, said};
use observer_testkit::{in_time, observer_bin};

use crate::turn;

/// Runs the load for as long as the command runs; what that prints.
fn beside(scene: &Scene, port: u16, command: &mut Command) -> Result<String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.stderr(Stdio::piped()).spawn()?;
    let waiting = std::thread::spawn(|| child.wait_with_output());
    let paths = ["--path", "/cpu", "--path", "/work/2", "--path", "/x"];
    while !waiting.is_finished() {
        scene.load(
            port,
            &[&["--connections", "2", "--requests", "60"], &paths[..]].concat(),
        )?;
    }
    let output = waiting.join().ok().context("a thread panicked")??;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said(&output))
}

/// How long the span in a line took, in milliseconds: a number and its unit.
fn took(line: &str) -> Option<f64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).find_map(|pair| {
        let factor = match pair[1] {
            "ns" => 1e-6,
            "µs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            _ => return None,
        };
        Some(pair[0].parse::<f64>().ok()? * factor)
    })
}

/// Checks that `observer trace` prints a line per span as it ends, only those
/// of the service and slower than told, and with `-v` more.
#[test]
fn trace() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let cgroup = scene.cgroup();
    let trace = |arguments: &[&str]| {
        let mut command = Command::new(observer_bin());
        command
            .args(["trace", "--duration", "3s", "--cgroup"])
            .arg(&cgroup)
            .args(arguments);
        beside(&scene, port, &mut command)
    };
    let all = trace(&[])?;
    ensure!(
        all.lines().filter(|l| l.contains("/cpu")).count() >= 10,
        "{all}"
    );
    ensure!(all.contains("/x") && all.contains("/work/{id}"), "{all}");
    ensure!(all.lines().filter_map(took).any(|ms| ms < 14.9), "{all}");
    let slow = trace(&["--service", "observer-server", "--slower-than", "15ms"])?;
    ensure!(
        slow.lines().filter(|l| l.contains("/cpu")).count() >= 10,
        "{slow}"
    );
    // (Where others have the CPU, any request can take so long.)
    let times: Vec<Option<f64>> = slow.lines().map(took).collect();
    let is_slow = |ms: &Option<f64>| ms.is_some_and(|ms| ms > 14.9);
    ensure!(times.iter().all(is_slow), "{slow}");
    // More lines than spans.
    let waterfall = trace(&["-v", "--slower-than", "15ms"])?;
    let spans = waterfall.lines().filter_map(took).count();
    ensure!(
        spans >= 10 && waterfall.lines().count() > spans,
        "{waterfall}"
    );
    Ok(())
}

/// Checks that a recording of one route, or of slow requests, has their
/// functions and no others.
#[test]
fn record() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let cgroup = scene.cgroup();
    for filter in [["--route", "/cpu"], ["--slower-than", "15ms"]] {
        let mut command = Command::new(observer_bin());
        command.args([
            "record",
            "--duration",
            "4s",
            "--frequency",
            "499",
            "-o",
            "-",
            "--cgroup",
        ]);
        command.arg(&cgroup).args(filter);
        let folded = beside(&scene, port, &mut command)?;
        let count = |function: &str| -> u64 {
            let lines = folded.lines().filter(|line| line.contains(function));
            lines
                .filter_map(|l| l.rsplit_once(' ')?.1.parse::<u64>().ok())
                .sum()
        };
        let (wanted, other) = (count("burn_cpu"), count("other_work"));
        eprintln!("{filter:?}: {wanted} samples of burn_cpu, {other} of other_work");
        in_time!(wanted > 100, "{filter:?}: {wanted} samples\n{folded}");
        // A request of 2 ms can take 15 where others have the CPU.
        in_time!(
            other * 20 < wanted,
            "{filter:?}: {other} samples of another route"
        );
        ensure!(
            filter[0] != "--route" || other == 0,
            "{other} samples of another route"
        );
    }
    Ok(())
}
