//! Each request that is made is known at both ends, or counted by name: of
//! clients that live for milliseconds, of programs that are new to a daemon with
//! much to do, of a daemon that has no time.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, Span, free_port, kind};

use crate::{counts, nothing_lost, turn};

/// Clients, each of which makes one request.
const CLIENTS: usize = 60;

/// Runs a client that makes one request; its process.
fn ask(scene: &Scene, command: &mut Command) -> Result<i64> {
    let client = scene.join(command)?;
    let client = client.stdin(Stdio::null()).stdout(Stdio::null());
    let mut client = client.spawn()?;
    let pid = client.id().into();
    let status = client.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(pid)
}

/// Client spans that `wanted` by process.
fn by_process(seen: &Seen, wanted: impl Fn(&Span) -> bool) -> Result<BTreeMap<i64, Vec<&Span>>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for span in &seen.spans {
        if span.kind == kind::CLIENT && wanted(span) {
            let pid = span.int("process.pid").context("a span of no process")?;
            found.entry(pid).or_default().push(span);
        }
    }
    Ok(found)
}

/// Fails unless each of these processes has one of the spans, as `service`.
fn one_each(clients: &[i64], spans: &BTreeMap<i64, Vec<&Span>>, service: &str) -> Result<()> {
    for (index, pid) in clients.iter().enumerate() {
        let found = spans.get(pid).map_or(&[][..], Vec::as_slice);
        let as_wanted = matches!(found, [span] if span.service == service);
        ensure!(as_wanted, "client {index}, process {pid}: {found:#?}");
    }
    Ok(())
}

/// Checks redis-cli and psql, a process for each request: one span of each
/// process, and as many of the server's.
#[test]
fn clients_of_databases() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.redis()?;
    let postgres = scene.postgres()?;
    let daemon = Daemon::start(&scene)?;
    let (mut of_redis, mut of_postgres) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let mut cli = program("redis-cli", "redis-server")?;
        cli.args(["-p", &port.to_string(), "LPUSH", "list", "x"]);
        of_redis.push(ask(&scene, &mut cli)?);
        let mut psql = postgres.client("psql");
        psql.args(["-X", "-c", "SELECT v FROM t3"]);
        of_postgres.push(ask(&scene, &mut psql)?);
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let pushes = |span: &Span| span.text("db.operation.name") == "LPUSH";
    one_each(&of_redis, &by_process(&seen, pushes)?, "redis-cli")?;
    let selects = |span: &Span| span.text("db.collection.name") == "t3";
    one_each(&of_postgres, &by_process(&seen, selects)?, "psql")?;
    let served = |wanted: &dyn Fn(&Span) -> bool| {
        let spans = seen.spans.iter();
        spans
            .filter(|s| s.kind == kind::SERVER && wanted(s))
            .count()
    };
    assert_eq!(served(&pushes), CLIENTS);
    assert_eq!(served(&selects), CLIENTS);
    Ok(())
}

/// nginx; its port.
fn nginx(scene: &mut Scene) -> Result<u16> {
    let port = free_port()?;
    let http =
        format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello'; }} }}");
    scene.nginx("worker_processes 2;", &http, port)?;
    Ok(port)
}

/// Runs a curl for each of so many paths.
fn curls(scene: &Scene, port: u16) -> Result<()> {
    for number in 0..CLIENTS {
        let mut curl = program("curl", "curl")?;
        curl.args(["-s", "-S", "-f", "-o", "/dev/null"])
            .arg(format!("http://127.0.0.1:{port}/exact/{number}"));
        ask(scene, &mut curl)?;
    }
    Ok(())
}

/// How often each path was seen at one end.
fn paths(seen: &Seen, kind: i32, port: u16) -> BTreeMap<String, u64> {
    counts(
        seen.of(kind, port)
            .iter()
            .map(|span| span.path().to_owned()),
    )
}

/// Checks curl, a process for each request: one span of each at both ends.
#[test]
fn clients_of_http() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene)?;
    let daemon = Daemon::start(&scene)?;
    curls(&scene, port)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let expected: BTreeMap<_, _> = (0..CLIENTS).map(|n| (format!("/exact/{n}"), 1)).collect();
    assert_eq!(paths(&seen, kind::CLIENT, port), expected);
    assert_eq!(paths(&seen, kind::SERVER, port), expected);
    Ok(())
}

/// Checks that with a share of the requests followed each is a span or counted,
/// at both ends.
#[test]
fn clients_of_which_a_share_is_followed() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene)?;
    let arguments = ["--probes", "requests", "--requests-share", "1"];
    let daemon = Daemon::start_with(Some(&scene.cgroup()), "always_on", &arguments)?;
    curls(&scene, port)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for (end, service, role) in [
        (kind::CLIENT, "curl", "client"),
        (kind::SERVER, "nginx", "server"),
    ] {
        let followed = paths(&seen, end, port);
        ensure!(followed.values().all(|times| *times == 1), "{followed:?}");
        let with = [
            ("network.protocol.name", "http"),
            ("network.connection.role", role),
        ];
        let counted = seen.sum("observer.request.unfollowed", service, &with);
        ensure!(!followed.is_empty() && counted > 0, "{role}: {counted}");
        assert_eq!(followed.len() as u64 + counted, CLIENTS as u64, "{role}");
    }
    Ok(())
}

/// Has redis-benchmark make so many requests of a kind, from four connections.
fn benchmark(scene: &Scene, port: u16, requests: usize) -> Result<()> {
    let mut benchmark = program("redis-benchmark", "redis-server")?;
    benchmark.args(["-p", &port.to_string(), "-q", "-c", "4", "-t", "set"]);
    benchmark.args(["-n", &requests.to_string()]);
    scene.run(&mut benchmark)?;
    Ok(())
}

/// Checks a daemon that had no time, and is then told to end with more to read
/// than it has time for: what it didn't read is counted. Each request is two
/// pieces at each end.
#[test]
fn daemon_without_time() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    const REQUESTS: usize = 60_000;
    let mut scene = Scene::new()?;
    let port = scene.redis()?;
    let daemon = Daemon::start(&scene)?;
    let pid = Pid::from_raw(daemon.pid().try_into()?);
    kill(pid, Signal::SIGSTOP)?;
    let made = benchmark(&scene, port, REQUESTS);
    let mut cli = program("redis-cli", "redis-server")?;
    cli.args(["-p", &port.to_string(), "LPUSH", "list", "x"]);
    let made = made.and_then(|()| ask(&scene, &mut cli));
    // Both signals wait for it.
    kill(pid, Signal::SIGTERM)?;
    kill(pid, Signal::SIGCONT)?;
    made?;
    let seen = daemon.ended()?;
    let left = seen.series("observer.probe.lost");
    let left = left.filter(|point| point.text("error.type") == "record_left");
    let left = left.map(|point| point.value as usize).sum::<usize>();
    // By the metrics: there may be no time for all spans, which the log tells.
    let ends = |operation| {
        let metrics = [
            "db.client.operation.duration",
            "observer.db.server.operation.duration",
        ];
        let series = metrics.into_iter().flat_map(|metric| seen.series(metric));
        let series = series.filter(|point| point.text("db.operation.name") == operation);
        series.map(|point| point.value as usize).sum::<usize>()
    };
    let (sets, pushes) = (ends("SET"), ends("LPUSH"));
    ensure!(sets > 0, "it read nothing");
    // Of each connection's ends one request may lie at the border.
    let missing = 4 * (REQUESTS + 1) - 2 * (sets + pushes);
    ensure!(
        missing <= left + 2 * 4 && left <= missing + 100,
        "{sets} ends of SET, {pushes} of LPUSH, {left} records left: {:?}",
        seen.losses()
    );
    Ok(())
}

/// Runs a program under another name.
fn called(folder: &Path, name: &str, command: &Command) -> Result<Command> {
    let path = folder.join(name);
    std::fs::copy(command.get_program(), &path)?;
    let mut called = Command::new(path);
    called.args(command.get_args());
    Ok(called)
}

/// Checks that each of many programs, new to a daemon that has much to do, has
/// its own name on its span, and that the metrics are its own.
#[test]
fn new_programs_under_load() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.redis()?;
    let daemon = Daemon::start(&scene)?;
    let mut load = program("redis-benchmark", "redis-server")?;
    load.args(["-p", &port.to_string(), "-q", "-c", "2", "-t", "get"]);
    load.args(["-n", "100000000"]);
    let load = scene.join(&mut load)?.stdout(Stdio::null());
    let mut load = load.spawn()?;
    let mut asked = Ok(());
    for number in 0..CLIENTS / 2 {
        let mut cli = program("redis-cli", "redis-server")?;
        cli.args(["-p", &port.to_string(), "LPUSH", "list", "x"]);
        let cli = called(scene.folder(), &format!("cli-{number}"), &cli);
        asked = asked.and(cli.and_then(|mut cli| ask(&scene, &mut cli).map(|_| ())));
    }
    load.kill()?;
    load.wait()?;
    asked?;
    std::thread::sleep(Duration::from_secs(1));
    let seen = daemon.finish()?;
    let pushes = |s: &&Span| s.kind == kind::CLIENT && s.text("db.operation.name") == "LPUSH";
    let names: Vec<_> = seen.spans.iter().filter(pushes).collect();
    let names: Vec<_> = names.iter().map(|span| span.service.as_str()).collect();
    ensure!(!names.is_empty(), "none: {:?}", seen.losses());
    let own: HashSet<_> = names.iter().filter(|n| n.starts_with("cli-")).collect();
    assert_eq!(own.len(), names.len(), "{names:?}");
    Ok(())
}
