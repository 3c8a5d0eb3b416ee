//! A daemon that is stopped, with a small ring, while requests are made: each is in the
//! metrics or counted as not followed, by service, protocol and end, and nothing is lost.

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use observer_testkit::packages::program;
use observer_testkit::requests::{Daemon, Scene, Seen, free_port, said};

use crate::{nothing_lost, turn};

/// Each of these is more than the ring holds.
const OF_HTTP: u64 = 40_000;
const OF_REDIS: u64 = 40_000;
const OF_POSTGRES: u64 = 8_000;

/// Requests at one end of those that its metric has, and those that were only counted.
fn requests(seen: &Seen, service: &str, role: &str, protocol: &str, metric: &str) -> (u64, u64) {
    let with = |reason| {
        [
            ("network.protocol.name", protocol),
            ("network.connection.role", role),
            ("observer.request.unfollowed.reason", reason),
        ]
    };
    let counted = |reason| seen.sum("observer.request.unfollowed", service, &with(reason));
    assert_eq!(counted("share"), 0, "{service} {role}");
    (seen.sum(metric, service, &[]), counted("no_room"))
}

/// Checks HTTP, Redis and PostgreSQL at both ends: none of 88,000 requests is missing,
/// though most of them were made while nobody read.
#[test]
fn each_request_is_counted() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let http = free_port()?;
    let server =
        format!("server {{ listen 127.0.0.1:{http}; location / {{ return 200 'hello'; }} }}");
    scene.nginx("worker_processes 2;", &server, http)?;
    let redis = scene.redis()?;
    let postgres = scene.postgres()?;
    let cgroup = scene.cgroup().display().to_string();
    let arguments = ["--probes", "requests", "--requests-ring", "1MiB"];
    let arguments = [&arguments[..], &["--interval", "1s", "--cgroup", &cgroup]].concat();
    let daemon = Daemon::start_plain("always_off", &arguments)?;
    let pid = Pid::from_raw(daemon.pid().try_into()?);
    kill(pid, Signal::SIGSTOP)?;
    let made = (|| {
        let mut ab = program("ab", "apache2-utils")?;
        ab.args(["-q", "-k", "-c", "8", "-n", &OF_HTTP.to_string()]);
        ab.arg(format!("http://127.0.0.1:{http}/"));
        let told = said(&scene.run(&mut ab)?);
        ensure!(
            told.contains(&format!("Complete requests:      {OF_HTTP}")),
            "{told}"
        );
        let mut benchmark = program("redis-benchmark", "redis-server")?;
        benchmark.args(["-p", &redis.to_string(), "-q", "-c", "4", "-t", "set"]);
        benchmark.args(["-n", &OF_REDIS.to_string()]);
        scene.run(&mut benchmark)?;
        let script = scene.folder().join("script");
        std::fs::write(&script, "SELECT v FROM t1 LIMIT 1;\n")?;
        let mut pgbench = postgres.client("pgbench");
        let each = (OF_POSTGRES / 4).to_string();
        pgbench.args(["-n", "-c", "4", "-t", &each, "-f"]);
        scene.run(pgbench.arg(&script))
    })();
    kill(pid, Signal::SIGCONT)?;
    made?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let client = "db.client.operation.duration";
    let server = "observer.db.server.operation.duration";
    let serves = "http.server.request.duration";
    let asks = "http.client.request.duration";
    // redis-benchmark asks for the configuration first, and pgbench how its tables are made.
    let cases = [
        ("nginx", "server", "http", serves, OF_HTTP, 0),
        ("ab", "client", "http", asks, OF_HTTP, 0),
        ("redis-server", "server", "redis", server, OF_REDIS, 2),
        ("redis-benchmark", "client", "redis", client, OF_REDIS, 2),
        ("postgres", "server", "postgresql", server, OF_POSTGRES, 4),
        ("pgbench", "client", "postgresql", client, OF_POSTGRES, 4),
    ];
    for (service, role, protocol, metric, made, more) in cases {
        let (followed, counted) = requests(&seen, service, role, protocol, metric);
        println!("{service} {role}: {followed} followed, {counted} only counted");
        ensure!(counted > 0, "{service} {role}: the ring had room for all");
        let all = followed + counted;
        ensure!(
            (made..=made + more).contains(&all),
            "{service} {role}: {all} of {made}"
        );
    }
    Ok(())
}
