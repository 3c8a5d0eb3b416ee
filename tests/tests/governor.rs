//! The overhead governor, with a load that costs far more than the budget.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer_testkit::collector::Collector;
use observer_testkit::daemon;
use observer_testkit::requests::{Attributed, Scene, Seen};
use observer_testkit::tool::Tool;
use observer_testkit::workload;
use observer_testkit::{cpus, in_time, observer_bin};
use observer_userspace::kernel::stats;
use serde_json::Value;

/// A server by which counting is checked: a program of another name.
const NAME: &str = "governed-server";

/// A running `observer run` that logs JSON.
struct Daemon {
    tool: Tool,
    collector: Collector,
}

impl Daemon {
    /// Observes some scenes, and processes of one name, with this budget.
    fn start(scenes: &[&Scene], budget: &str, arguments: &[&str]) -> Result<Self> {
        let collector = Collector::start()?;
        let mut command = Command::new(observer_bin());
        command.args(["run", "--budget", budget, "--budget-period", "200ms"]);
        command
            .args(arguments)
            .args(["--interval", "2s", "--log-format", "json"]);
        command.args(["--otlp-endpoint", &collector.endpoint()]);
        command.args(["--otlp-protocol", "http/protobuf"]);
        for scene in scenes {
            command.arg("--cgroup").arg(scene.cgroup());
        }
        let mut tool = Tool::start(&mut command)?;
        tool.wait_until(|tool| Ok(tool.printed()?.contains("observing ")))?;
        Ok(Self { tool, collector })
    }

    /// What it costs for some seconds, as a share of the host's CPU, by the
    /// kernel's own figures.
    fn cost(&self, seconds: u64) -> Result<f64> {
        let pid = self.tool.pid();
        let measured = stats::enable()?;
        let used = || Ok::<_, anyhow::Error>(daemon::cpu_seconds(pid)? + daemon::bpf(pid).0);
        let (begin, before) = (Instant::now(), used()?);
        std::thread::sleep(Duration::from_secs(seconds));
        let (length, after) = (begin.elapsed().as_secs_f64(), used()?);
        drop(measured);
        let cpus = cpus::online()? as f64;
        Ok((after - before) / length / cpus)
    }

    /// Waits until it costs less than this share of the host's CPU; returns what
    /// it costs then. Steps come one after the other, and a daemon that has much to
    /// name first takes them later.
    fn cost_below(&self, most: f64) -> Result<f64> {
        let begin = Instant::now();
        loop {
            let cost = self.cost(2)?;
            if cost < most {
                return Ok(cost);
            }
            in_time!(
                begin.elapsed() < Duration::from_secs(60),
                "it costs {cost:.3} at level {}, not below {most:.3}:\n{}",
                self.level()?,
                self.tool.printed()?
            );
        }
    }

    /// The steps that it announced: what each is about, and how many were taken
    /// then.
    fn steps(&self) -> Result<Vec<(String, u64)>> {
        let printed = self.tool.printed()?;
        let lines = printed.lines();
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let steps = lines.filter_map(|line| {
            let step = line["step"].as_str()?.to_owned();
            Some((step, line["governor_level"].as_u64()?))
        });
        Ok(steps.collect())
    }

    /// How many steps are taken now.
    fn level(&self) -> Result<u64> {
        Ok(self.steps()?.last().map_or(0, |(_, level)| *level))
    }

    /// Waits until the level is as wanted, and stays so for a while.
    fn wait_for(&self, what: &str, wanted: impl Fn(u64) -> bool) -> Result<()> {
        let begin = Instant::now();
        let mut last = (self.level()?, begin);
        loop {
            let level = self.level()?;
            if level != last.0 {
                last = (level, Instant::now());
            }
            if wanted(level) && last.1.elapsed() > Duration::from_secs(4) {
                return Ok(());
            }
            in_time!(
                begin.elapsed() < Duration::from_secs(120),
                "{what}: {:?}\n{}",
                self.steps()?,
                self.tool.printed()?
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Asks a server without end.
fn load(scene: &mut Scene, port: u16) -> Result<()> {
    let mut load = scene.own("observer-load")?;
    load.arg(format!("127.0.0.1:{port}"));
    load.args(["--connections", "8", "--requests", "1000000000"]);
    scene.start(&mut load).map(drop)
}

/// Checks that a load that would cost more than five times the budget (and 5 %
/// of the host) is seen for less, by steps that are
/// announced in their order and told over OTLP; that what is counted is exact
/// meanwhile, and that everything is taken back when the load ends.
#[test]
fn keeps_to_the_budget() -> Result<()> {
    let mut scene = Scene::new()?;
    let port = scene.observer_server(None)?;
    let free = Daemon::start(&[&scene], "off", &[])?;
    // It looks at what there is first.
    std::thread::sleep(Duration::from_secs(3));
    let idle = free.cost(2)?;
    load(&mut scene, port)?;
    let before = free.cost(2)?;
    scene.stop_last();
    let log = free.tool.end()?;
    ensure!(!log.contains("budget"), "{log}");
    // A daemon that isn't optimized costs more.
    let budget = (before / 6.0).max(0.01);
    in_time!(before > 5.0 * budget, "the load costs {before:.3} only");

    // Others, by which what is counted is checked.
    let mut exact = Scene::new()?;
    let percent = format!("{:.2}%", budget * 100.0);
    let daemon = Daemon::start(&[&scene, &exact], &percent, &[])?;
    let server = exact.own("observer-server")?;
    let copy = exact.folder().join(NAME);
    std::fs::copy(server.get_program(), &copy)?;
    let port_of_exact = exact.start_with_port(Command::new(copy).arg(exact.log()))?;
    load(&mut scene, port)?;
    daemon.wait_for("no step was taken", |level| level > 0)?;
    let mut calls = Command::new(workload::program()?);
    exact.run(calls.args(["obs-governed", "getppid=100000"]))?;
    exact.load(port_of_exact, &["--requests", "500"])?;
    // The load, which waits for nothing else, does more the less it is slowed down.
    let after = daemon.cost_below(before * 0.7)?;
    exact.run(calls.args(["getppid=23456"]))?;
    exact.load(port_of_exact, &["--requests", "123"])?;

    scene.stop_last();
    daemon.wait_for("steps weren't taken back", |level| level == 0)?;
    exact.run(calls.args(["getppid=1"]))?;
    exact.load(port_of_exact, &["--requests", "77"])?;
    let steps = daemon.steps()?;
    // Its last metrics come at its end.
    let Daemon { tool, collector } = daemon;
    let log = tool.end()?;
    println!("idle {idle:.4}, {before:.4} without, {after:.4} with a budget of {budget:.4}");

    // In order: a step of a kind never before all of the kinds before it.
    let order = ["stack_samples", "off_cpu", "spans", "requests"];
    let mut begun: Vec<&str> = Vec::new();
    for (step, _) in &steps {
        if !begun.contains(&step.as_str()) {
            begun.push(step);
        }
    }
    let expected = &order[..begun.len().min(order.len())];
    assert_eq!(&begun[..expected.len()], expected, "{steps:?}");

    let seen = Seen::decode(&collector)?;
    let taken = |direction: &str| {
        let turns = seen.series("observer.governor.steps");
        let turns = turns.filter(|p| p.text("observer.governor.direction") == direction);
        turns.map(|p| p.value).sum::<f64>()
    };
    assert!(taken("less") > 0.0, "{log}");
    assert_eq!(taken("less"), taken("more"), "{log}");
    assert_eq!(taken("less") + taken("more"), steps.len() as f64, "{log}");
    let told = collector.own("observer.governor.budget", |_| true)?;
    assert!((told - budget).abs() < 1e-4, "{told}");
    assert_eq!(collector.own("observer.governor.level", |_| true)?, 0.0);

    // 100000 + (100000 + 23456) + (100000 + 23456 + 1): each run adds a step.
    let counted = collector.syscall_calls("obs-governed", "getppid")?;
    assert_eq!(counted, 346_913, "{log}");
    // 500 + 123 + 77, each either followed or not.
    let followed = seen.sum("http.server.request.duration", NAME, &[]);
    let server = [("network.connection.role", "server")];
    let unfollowed = seen.sum("observer.request.unfollowed", NAME, &server);
    println!("{followed} requests followed, {unfollowed} not");
    assert_eq!(followed + unfollowed, 700);
    Ok(())
}

/// Checks that calls are counted exactly while they aren't timed, and when that
/// begins and ends.
#[test]
fn counts_what_it_does_not_time() -> Result<()> {
    let mut scene = Scene::new()?;
    let probes = ["--probes", "syscalls,sched"];
    // What no daemon can save isn't to be near the budget: an idle one that isn't
    // optimized may take 1 % of a small host.
    let daemon = Daemon::start(&[&scene], "4%", &probes)?;
    // Busy while the steps are taken, and taken back.
    let mut busy = Command::new(workload::program()?);
    let exact = [
        "obs-governed",
        "getppid=300000",
        "sleep=2000:1",
        "getppid=456",
    ];
    scene.start(busy.args(["obs-busy", "getppid=100000000000"]))?;
    scene.run(Command::new(workload::program()?).args(exact))?;
    daemon.wait_for("calls are still timed", |level| level == 2)?;
    scene.run(Command::new(workload::program()?).args(exact))?;
    scene.stop_last();
    daemon.wait_for("steps weren't taken back", |level| level == 0)?;
    scene.run(Command::new(workload::program()?).args(exact))?;
    let steps = daemon.steps()?;
    assert_eq!(steps[0].0, "syscall_duration", "{steps:?}");
    let Daemon { tool, collector } = daemon;
    let log = tool.end()?;
    let counted = collector.syscall_calls("obs-governed", "getppid")?;
    assert_eq!(counted, 3 * 300_456, "{log}");
    let slept = collector.syscall_calls("obs-governed", "clock_nanosleep")?;
    assert_eq!(slept, 3 * 2000, "{log}");
    Ok(())
}
