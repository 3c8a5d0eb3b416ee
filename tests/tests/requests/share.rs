//! A share of the requests is followed, the others are counted: together they
//! are all.

use anyhow::{Result, ensure};
use observer_testkit::in_time;
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, free_port, kind, said};

use crate::{nothing_lost, turn};

const UNFOLLOWED: &str = "observer.request.unfollowed";

/// Exchanges of one end that were only counted.
fn unfollowed(seen: &Seen, service: &str, protocol: &str, role: &str) -> u64 {
    let with = [
        ("network.protocol.name", protocol),
        ("network.connection.role", role),
    ];
    seen.sum(UNFOLLOWED, service, &with)
}

fn start(scene: &Scene, share: &str) -> Result<Daemon> {
    let arguments = ["--probes", "requests", "--requests-share", share];
    Daemon::start_with(Some(&scene.cgroup()), "always_on", &arguments)
}

/// Requests of ab to nginx over kept connections.
const REQUESTS: u64 = 20_000;

fn ab_to_nginx(share: &str) -> Result<(Seen, u16)> {
    let mut scene = Scene::new()?;
    let port = free_port()?;
    let http =
        format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello'; }} }}");
    scene.nginx("worker_processes 2;", &http, port)?;
    let daemon = start(&scene, share)?;
    let mut ab = program("ab", "apache2-utils")?;
    let requests = REQUESTS.to_string();
    ab.args(["-q", "-k", "-c", "8", "-n", &requests])
        .arg(format!("http://127.0.0.1:{port}/"));
    let said = said(&scene.run(&mut ab)?);
    ensure!(
        said.contains(&format!("Complete requests:      {requests}")),
        "{said}"
    );
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    Ok((seen, port))
}

/// Checks that of 20,000 requests an eighth is followed, the same ones on both
/// ends, and that with those that are only counted they are 20,000.
#[test]
fn of_http() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let (seen, port) = ab_to_nginx("3")?;
    let servers = seen.of(kind::SERVER, port);
    let clients = seen.of(kind::CLIENT, port);
    let counted = unfollowed(&seen, "nginx", "http", "server");
    assert_eq!(servers.len() as u64 + counted, REQUESTS);
    let counted = unfollowed(&seen, "ab", "http", "client");
    assert_eq!(clients.len() as u64 + counted, REQUESTS);
    let duration = seen.sum("http.server.request.duration", "nginx", &[]);
    assert_eq!(duration, servers.len() as u64);
    let expected = REQUESTS as f64 / 8.0;
    let off = (servers.len() as f64 - expected).abs() / expected.sqrt();
    ensure!(off < 6.0, "{} are no eighth", servers.len());
    let by_id = seen.by_id();
    let joined = |span: &&&_| {
        let span: &observer_testkit::requests::Span = span;
        by_id.contains_key(span.parent.as_slice())
    };
    assert_eq!(servers.iter().filter(joined).count(), servers.len());
    assert_eq!(clients.len(), servers.len());
    Ok(())
}

/// Checks that nothing is followed if nothing is to be, and all is counted.
#[test]
fn of_nothing() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let (seen, port) = ab_to_nginx("32")?;
    assert_eq!(seen.of(kind::SERVER, port).len(), 0);
    assert_eq!(seen.of(kind::CLIENT, port).len(), 0);
    assert_eq!(unfollowed(&seen, "nginx", "http", "server"), REQUESTS);
    assert_eq!(unfollowed(&seen, "ab", "http", "client"), REQUESTS);
    Ok(())
}

/// Connections of HTTP/2.
const CONNECTIONS: u64 = 24;

/// What pgbench asked for: operations that were followed, and all of them.
fn pgbench(protocol: &str, share: &str) -> Result<(u64, u64)> {
    let mut scene = Scene::new()?;
    let postgres = scene.postgres()?;
    let script = scene.folder().join("script");
    std::fs::write(
        &script,
        "SELECT v FROM t1 LIMIT 1;\nUPDATE t2 SET v = 'x' WHERE v = 'never';\n",
    )?;
    let daemon = start(&scene, share)?;
    let mut pgbench = postgres.client("pgbench");
    pgbench
        .args(["-n", "-c", "2", "-t", "500", "-M", protocol, "-f"])
        .arg(&script);
    scene.run(&mut pgbench)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for span in seen.of(kind::CLIENT, postgres.port) {
        // A statement that was prepared is known by what it was prepared as.
        let table = match span.text("db.operation.name") {
            "SELECT" => "t1",
            "UPDATE" => "t2",
            "" => anyhow::bail!("nobody knows of what: {span:?}"),
            _ => continue,
        };
        let own = span.text("db.collection.name").starts_with('t');
        ensure!(!own || span.text("db.collection.name") == table, "{span:?}");
    }
    let mut all = Vec::new();
    for (service, role, metric) in [
        ("pgbench", "client", "db.client.operation.duration"),
        (
            "postgresql",
            "server",
            "observer.db.server.operation.duration",
        ),
    ] {
        let followed = seen.sum(metric, service, &[]);
        let counted = unfollowed(&seen, service, "postgresql", role);
        all.push((followed, followed + counted));
    }
    let (client, server) = (all[0], all[1]);
    ensure!(server.1 == 0 || server.1 >= client.1, "{all:?}");
    Ok(client)
}

/// Checks that pgbench asks for as much whether all of it or a quarter is
/// followed, and that statements prepared once are known by their texts.
#[test]
fn of_postgres() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    for protocol in ["simple", "extended", "prepared"] {
        let (_, all) = pgbench(protocol, "0")?;
        let (followed, of_all) = pgbench(protocol, "2")?;
        ensure!(
            all >= 2000 && of_all == all,
            "{protocol}: {of_all} of {all}"
        );
        ensure!(
            (all / 8..all / 2).contains(&followed),
            "{protocol}: {followed} of {all}"
        );
    }
    Ok(())
}

/// Checks redis-benchmark: whether followed or not, all commands are counted.
#[test]
fn of_redis() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = scene.redis()?;
    let daemon = start(&scene, "4")?;
    let mut benchmark = program("redis-benchmark", "redis-server")?;
    benchmark
        .args(["-p", &port.to_string(), "-t", "get", "-n", "10000"])
        .args(["-c", "10", "-q"]);
    scene.run(&mut benchmark)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let gets = |metric, service| seen.sum(metric, service, &[("db.operation.name", "GET")]);
    let followed = gets("db.client.operation.duration", "redis-benchmark");
    let counted = unfollowed(&seen, "redis-benchmark", "redis", "client");
    assert_eq!(followed + counted, 10_000, "{followed} were followed");
    ensure!(
        (400..1500).contains(&followed),
        "{followed} are no sixteenth"
    );
    let served = seen.of(kind::SERVER, port).len() as u64;
    let server = seen.of(kind::SERVER, port)[0].service.clone();
    let counted = unfollowed(&seen, &server, "redis", "server");
    // redis-benchmark asks for the configuration, too.
    let all = 10_000..10_100;
    ensure!(all.contains(&(served + counted)), "{served} and {counted}");
    Ok(())
}

/// Checks that a trace through proxy, application and databases is followed as
/// a whole or not at all, but for few.
#[test]
fn of_traces() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let shop = crate::tree::shop(&mut scene, Scene::python_app)?;
    let daemon = start(&scene, "1")?;
    let (requests, connections) = (400, 4);
    scene.load(
        shop.proxy,
        &[
            "--connections",
            &connections.to_string(),
            "--requests",
            &requests.to_string(),
            "--path",
            "/t/1",
        ],
    )?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let roots = seen.of(kind::CLIENT, shop.proxy);
    ensure!(
        (requests / 4..requests * 3 / 4).contains(&roots.len()),
        "{} of {requests} are followed",
        roots.len()
    );
    let calls = [
        (kind::SERVER, shop.proxy),
        (kind::CLIENT, shop.app),
        (kind::SERVER, shop.app),
        (kind::CLIENT, shop.postgres),
        (kind::CLIENT, shop.redis),
    ];
    let has = |trace: &[u8], kind, port| {
        let spans = seen.of(kind, port);
        let work = |span: &&&observer_testkit::requests::Span| {
            // The first one's connections are made for it, which are calls, too.
            let database = port == shop.postgres || port == shop.redis;
            let asks = ["SELECT", "EXISTS"].contains(&span.text("db.operation.name"));
            span.trace == trace && (asks || !database)
        };
        spans.iter().filter(work).count() == 1
    };
    let whole = roots
        .iter()
        .filter(|root| {
            calls
                .iter()
                .all(|&(kind, port)| has(&root.trace, kind, port))
        })
        .count();
    // Each end of each call is followed or counted.
    for (end, port, service, role) in [
        (kind::CLIENT, shop.proxy, "observer-load", "client"),
        (kind::SERVER, shop.proxy, "nginx", "server"),
        (kind::CLIENT, shop.app, "nginx", "client"),
    ] {
        let followed = seen.of(end, port).len() as u64;
        let counted = unfollowed(&seen, service, "http", role);
        assert_eq!(followed + counted, requests as u64, "{service} {role}");
    }
    // A server may have its request before its client's call has returned, and
    // then can't know what the client chose.
    in_time!(
        whole * 10 >= roots.len() * 9,
        "{whole} of {} are whole",
        roots.len()
    );
    let roots: std::collections::HashSet<_> = roots.iter().map(|root| &root.trace).collect();
    let strays = seen.of(kind::SERVER, shop.app);
    let stray = strays.iter().filter(|span| !roots.contains(&span.trace));
    let stray = stray.count();
    in_time!(
        stray * 10 <= requests,
        "{stray} requests belong to no trace"
    );
    let counted = unfollowed(&seen, "nginx", "http", "server");
    assert_eq!(counted, (requests - roots.len()) as u64);
    Ok(())
}

/// Checks that connections of HTTP/2 are followed or not, each as a whole.
#[test]
fn of_http2() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = free_port()?;
    std::fs::write(scene.folder().join("index.html"), "hello\n".repeat(10_000))?;
    let http = format!("server {{ listen 127.0.0.1:{port} http2; }}");
    scene.nginx("worker_processes 1;", &http, port)?;
    let daemon = start(&scene, "1")?;
    // Debian's curl can't use a connection of this kind twice.
    for _ in 0..CONNECTIONS {
        let mut curl = program("curl", "curl")?;
        curl.args(["-s", "-S", "-f", "--http2-prior-knowledge"]);
        curl.args(["-o", "/dev/null"])
            .arg(format!("http://127.0.0.1:{port}/index.html"));
        scene.run(&mut curl)?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let servers = seen.of(kind::SERVER, port);
    for span in &servers {
        ensure!(span.path() == "/index.html", "{span:?}");
        assert_eq!(span.int("http.response.body.size"), Some(60_000));
    }
    let followed = servers.len() as u64;
    ensure!((1..CONNECTIONS).contains(&followed), "{followed}");
    assert_eq!(seen.of(kind::CLIENT, port).len(), servers.len());
    for (service, role) in [("nginx", "server"), ("curl", "client")] {
        let counted = unfollowed(&seen, service, "http", role);
        let with = [("network.protocol.version", "2")];
        assert_eq!(counted, seen.sum(UNFOLLOWED, service, &with[..]), "{role}");
        assert_eq!(followed + counted, CONNECTIONS, "{role}");
    }
    Ok(())
}
