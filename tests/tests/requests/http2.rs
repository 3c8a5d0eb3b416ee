//! HTTP/2 without TLS, and gRPC on it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use observer_testkit::chain::source;
use observer_testkit::packages::program;
use observer_testkit::python;
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

/// Starts nghttpx, which upgrades connections to HTTP/2 where a client asks for it, before
/// an nginx, and logs requests; its port.
fn upgrading(scene: &mut Scene) -> Result<u16> {
    let (port, behind) = (free_port()?, free_port()?);
    std::fs::write(scene.folder().join("file"), "hello\n".repeat(500))?;
    let http = format!(
        "server {{ listen 127.0.0.1:{behind}; location /moved {{ return 302 /file; }}
           location /gone {{ return 410; }} location /odd {{ return 299; }} }}"
    );
    scene.nginx("worker_processes 1;", &http, behind)?;
    let mut proxy = program("nghttpx", "nghttp2-proxy")?;
    proxy.args(["--conf=/dev/null", "--workers=1", "--log-level=ERROR"]);
    proxy.arg(format!("--frontend=127.0.0.1,{port};no-tls"));
    proxy.arg(format!("--backend=127.0.0.1,{behind}"));
    let log = scene.folder().join("access");
    proxy.arg(format!("--accesslog-file={}", log.display()));
    proxy.arg("--accesslog-format=$path $status $protocol_version");
    scene.start(&mut proxy)?;
    scene.wait_until("nghttpx", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })?;
    Ok(port)
}

/// Checks curl and nghttp, which have nghttpx upgrade their connections to HTTP/2: the
/// request that asks for it has the status and the size of its answer, and those that
/// follow on the same connection are followed, at both ends, against nghttpx's log.
#[test]
fn upgraded_connections() -> Result<()> {
    const STATUSES: [(&str, i64); 4] = [("file", 200), ("moved", 302), ("gone", 410), ("odd", 299)];
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = upgrading(&mut scene)?;
    let daemon = Daemon::start(&scene)?;
    let mut asked = Vec::new();
    for round in 0..8 {
        let mut client = if round < 4 {
            let mut curl = program("curl", "curl")?;
            curl.args(["-s", "-S", "--http2", "-o", "/dev/null"]);
            curl
        } else {
            let mut nghttp = program("nghttp", "nghttp2-client")?;
            nghttp.args(["-n", "-u"]);
            nghttp
        };
        // Each of them is the first of a connection, by either client. (Debian's curl
        // can't use a connection of this kind twice.)
        let places = if round < 4 { 1 } else { STATUSES.len() };
        for place in 0..places {
            let (name, status) = STATUSES[(round + place) % STATUSES.len()];
            let path = match name {
                "file" => format!("/file?{round}"),
                _ => format!("/{name}/{round}"),
            };
            client.arg(format!("http://127.0.0.1:{port}{path}"));
            asked.push((path, status));
        }
        scene.run(&mut client)?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let logged = std::fs::read_to_string(scene.folder().join("access"))?;
    for (wanted, status) in &asked {
        // It calls the request that asks for it one of HTTP/1.1.
        let line = format!("{wanted} {status} HTTP/");
        ensure!(
            logged.lines().any(|it| it.starts_with(&line)),
            "no {line} in {logged}"
        );
    }
    // nginx is asked for the same, in HTTP/1.1.
    let of = |side: i32| {
        let spans = seen.spans.iter().filter(move |span| span.kind == side);
        let spans = spans.filter(|span| match side {
            kind::SERVER => span.service == "nghttpx",
            _ => span.service == "nghttp" || span.service == "curl",
        });
        spans.collect::<Vec<_>>()
    };
    for side in [kind::SERVER, kind::CLIENT] {
        let spans = of(side);
        assert_eq!(spans.len(), asked.len(), "kind {side}: {spans:#?}");
        let statuses = counts(spans.iter().map(|span| {
            let status = span.int("http.response.status_code");
            (span.path().to_owned(), status.unwrap_or(0))
        }));
        let expected = counts(asked.iter().map(|(path, status)| {
            let path = path.split('?').next().unwrap_or_default();
            (path.to_owned(), *status)
        }));
        assert_eq!(statuses, expected, "kind {side}");
        for span in spans {
            assert_eq!(span.text("network.protocol.version"), "2", "{span:?}");
            if span.path() == "/file" {
                assert_eq!(span.int("http.response.body.size"), Some(3000), "{span:?}");
            }
        }
    }
    let by_id = seen.by_id();
    for server in of(kind::SERVER) {
        let parent = by_id.get(server.parent.as_slice()).context("a parent")?;
        assert_eq!(parent.path(), server.path(), "{parent:#?} {server:#?}");
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

/// Checks a channel of grpcio's that is older than the daemon: each call is one at
/// either end, named and with its status where these are told anew, and unknown, said
/// so, where they are told by reference to what nobody saw; against what the client
/// was answered.
#[test]
fn channels_from_before() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let grpcio = python::environment()?.join("bin/python");
    let command = |argument: &str| {
        let mut command = Command::new(&grpcio);
        command.arg(source("rpc.py")).arg(argument);
        command
    };
    let port = scene.start_with_port(&mut command("serve"))?;
    let mut client = command("call");
    client.arg(port.to_string());
    client.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = scene.join(&mut client)?.spawn()?;
    let mut said = BufReader::new(client.stdout.take().context("a pipe")?).lines();
    let ready = said.next().context("it ended early")??;
    ensure!(ready == "ready", "{ready}");
    let daemon = Daemon::start(&scene)?;
    client.stdin.take().context("a pipe")?.write_all(b"go\n")?;
    let truth = said.next().context("it ended early")??;
    client.wait()?;
    let answered = [
        "'Ok OK': 24",
        "'Miss NOT_FOUND': 12",
        "'Fail INTERNAL': 12",
        "'Late OUT_OF_RANGE': 6",
    ];
    for one in answered {
        ensure!(truth.contains(one), "{truth}");
    }
    let seen = daemon.finish()?;
    let losses = seen.losses();
    let ends = [
        ("Ok", "OK", 24),
        ("Miss", "NOT_FOUND", 12),
        ("Fail", "INTERNAL", 12),
        ("Late", "OUT_OF_RANGE", 6),
    ];
    let mut partial = 0;
    for side in [kind::SERVER, kind::CLIENT] {
        let spans: Vec<_> = seen.spans.iter().filter(|span| span.kind == side).collect();
        assert_eq!(spans.len(), 54, "kind {side}: {spans:#?}");
        let mut by_name = counts(spans.iter().map(|span| span.text("rpc.method")));
        let mut by_status = counts(spans.iter().map(|s| s.text("rpc.response.status_code")));
        for span in &spans {
            assert_eq!(span.text("rpc.system.name"), "grpc", "{span:?}");
            assert_eq!(span.int("http.response.status_code"), None, "{span:?}");
            let (method, status) = (
                span.text("rpc.method"),
                span.text("rpc.response.status_code"),
            );
            let head = span.text("observer.head");
            partial += u64::from(head == "partial");
            ensure!(!method.is_empty() || head == "partial", "{span:?}");
            let outcome = span.text("observer.outcome");
            ensure!(status.is_empty() == (outcome == "unknown"), "{span:?}");
            ensure!(!status.is_empty() || span.status != 2, "{span:?}");
            // What is told of one isn't another's.
            let right = ends
                .iter()
                .find(|(name, ..)| method.ends_with(&format!("/{name}")));
            if let Some((_, right, _)) = right {
                ensure!(status.is_empty() || status == *right, "{span:?}");
            }
        }
        for (name, status, most) in ends {
            let name = by_name.remove(format!("demo.Greeter/{name}").as_str());
            let status = by_status.remove(status);
            ensure!(name.unwrap_or(0) <= most && status.unwrap_or(0) <= most);
            // Nobody used these before.
            if most == 6 {
                assert_eq!(
                    (name, status),
                    (Some(6), Some(6)),
                    "kind {side}: {spans:#?}"
                );
            }
        }
        by_name.remove("");
        by_status.remove("");
        ensure!(by_name.is_empty() && by_status.is_empty(), "{spans:#?}");
    }
    let counted = losses
        .iter()
        .find(|(cause, _)| cause.contains("request_head_partial"));
    assert_eq!(
        counted.map_or(0, |(_, count)| *count),
        partial,
        "{losses:?}"
    );
    Ok(())
}
