//! HTTP/2 without TLS, and gRPC on it.

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, free_port, kind};

use crate::{counts, nothing_lost, turn};

/// Checks curl and nginx, many connections at once.
#[test]
fn curl_to_nginx() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = free_port()?;
    std::fs::write(scene.folder().join("index.html"), "hello\n".repeat(10_000))?;
    let http = format!("server {{ listen 127.0.0.1:{port} http2; }}");
    scene.nginx("worker_processes 1;", &http, port)?;
    let daemon = Daemon::start(&scene)?;
    // Debian's curl can't use a connection of this kind twice.
    for _ in 0..2 {
        for urls in ["index.html?[1-100]", "none/[1-50]"] {
            let mut curl = program("curl", "curl")?;
            curl.args(["-s", "-Z", "--parallel-max", "100", "--parallel-immediate"]);
            curl.args(["--http2-prior-knowledge", "-o", "/dev/null"]);
            curl.arg(format!("http://127.0.0.1:{port}/{urls}"));
            scene.run(&mut curl)?;
        }
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for side in [kind::SERVER, kind::CLIENT] {
        let spans = seen.of(side, port);
        let found = counts(spans.iter().map(|s| {
            let path = s.path().starts_with("/none/");
            (path, s.int("http.response.status_code").unwrap_or(0))
        }));
        assert_eq!(
            found,
            [((false, 200), 200), ((true, 404), 100)].into(),
            "kind {side}"
        );
        ensure!(
            spans
                .iter()
                .all(|s| s.text("network.protocol.version") == "2")
        );
        let paths = counts(spans.iter().map(|s| s.path()));
        ensure!(paths.len() == 51, "{paths:?}");
    }
    let by_id = seen.by_id();
    for server in seen.of(kind::SERVER, port) {
        let parent = by_id.get(server.parent.as_slice()).context("a parent")?;
        ensure!(
            parent.path() == server.path() || parent.text("url.full").ends_with(server.path()),
            "{parent:#?} {server:#?}"
        );
    }
    Ok(())
}

/// Checks gRPC: services, methods and statuses, from trailers, on both ends of
/// a connection with several streams at a time; plain requests on it are no calls.
#[test]
fn grpc() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let mut server = scene.own("observer-rpc")?;
    let port = scene.start_with_port(server.arg("serve"))?;
    let daemon = Daemon::start(&scene)?;
    let mut call = scene.own("observer-rpc")?;
    scene.run(call.args(["call", &port.to_string(), "200"]))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for side in [kind::SERVER, kind::CLIENT] {
        let calls: Vec<_> = seen
            .of(side, port)
            .into_iter()
            .filter(|s| !s.text("rpc.method").is_empty())
            .collect();
        let found = counts(calls.iter().map(|s| {
            // The conventions have moved the code from a number to a name.
            let status = s.int("rpc.grpc.status_code").map(|n| n.to_string());
            let status = status.unwrap_or_else(|| s.text("rpc.response.status_code").to_owned());
            (s.name.clone(), status)
        }));
        let names: Vec<_> = found
            .iter()
            .map(|((name, status), count)| (name.as_str(), status.as_str(), *count))
            .collect();
        ensure!(
            names
                == [
                    ("demo.Greeter/Greet", "0", 200),
                    ("demo.Greeter/Miss", "5", 200)
                ]
                || names
                    == [
                        ("demo.Greeter/Greet", "OK", 200),
                        ("demo.Greeter/Miss", "NOT_FOUND", 200)
                    ],
            "kind {side}: {names:?}"
        );
        let metric = if side == kind::SERVER {
            "rpc.server"
        } else {
            "rpc.client"
        };
        let counted = seen
            .points
            .values()
            .filter(|p| p.metric.starts_with(metric) && p.metric.ends_with("duration"));
        assert_eq!(counted.map(|p| p.value as u64).sum::<u64>(), 400);
        let plain = seen
            .of(side, port)
            .into_iter()
            .filter(|s| s.path() == "/plain")
            .count();
        assert_eq!(plain, 200);
    }
    Ok(())
}
