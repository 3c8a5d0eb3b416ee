//! Requests inside of TLS, from the libraries' own calls.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_tests::chain::source;
use observer_tests::packages::program;
use observer_tests::requests::{Attributed, Daemon, Scene, Seen, Span, free_port, kind};

use crate::{nothing_lost, turn};

/// A key and a certificate for it that nobody has signed.
fn certificate(scene: &Scene) -> Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (
        scene.folder().join("key.pem"),
        scene.folder().join("cert.pem"),
    );
    let mut openssl = program("openssl", "openssl")?;
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"]);
    openssl.arg(&key).arg("-out").arg(&certificate);
    scene.run(&mut openssl)?;
    Ok((key, certificate))
}

fn nginx(scene: &mut Scene, options: &str) -> Result<u16> {
    let (key, certificate) = certificate(scene)?;
    std::fs::write(scene.folder().join("index.html"), "hello\n".repeat(1000))?;
    let port = free_port()?;
    let http = format!(
        "ssl_certificate {}; ssl_certificate_key {};
         server {{ listen 127.0.0.1:{port} ssl {options}; }}",
        certificate.display(),
        key.display()
    );
    scene.nginx("worker_processes 1;", &http, port)?;
    Ok(port)
}

fn curl(scene: &Scene, version: &str, urls: &str) -> Result<()> {
    let mut curl = program("curl", "curl")?;
    curl.args(["-s", "-S", "-k", version, "-o", "/dev/null", urls]);
    scene.run(&mut curl).map(drop)
}

/// Until both ends are seen: uprobes come to libraries that are new to the
/// daemon a moment after it.
fn until_seen(daemon: &Daemon, scene: &Scene, port: u16, version: &str) -> Result<()> {
    let both = |seen: &Seen| {
        [kind::SERVER, kind::CLIENT]
            .iter()
            .all(|kind| !seen.of(*kind, port).is_empty())
    };
    let url = format!("https://127.0.0.1:{port}/warm");
    daemon
        .wait_until(both, || curl(scene, version, &url))
        .context("both ends of curl")
}

/// Spans whose path begins like this.
fn with_path<'a>(seen: &'a Seen, kind: i32, port: u16, path: &str) -> Vec<&'a Span> {
    let mut spans = seen.of(kind, port);
    spans.retain(|span| span.path().starts_with(path));
    spans
}

/// Fails unless `count` requests for the path are seen on both ends, joined.
fn check(
    seen: &Seen,
    port: u16,
    path: &str,
    count: usize,
    status: i64,
    version: &str,
) -> Result<()> {
    let (servers, clients) = (
        with_path(seen, kind::SERVER, port, path),
        with_path(seen, kind::CLIENT, port, path),
    );
    ensure!(
        servers.len() == count && clients.len() == count,
        "{path}: {} servers' and {} clients' spans of {count}",
        servers.len(),
        clients.len()
    );
    for span in servers.iter().chain(&clients) {
        assert_eq!(
            span.int("http.response.status_code"),
            Some(status),
            "{span:?}"
        );
        // On servers' spans the scheme stands alone, on clients' in the URL.
        let https =
            span.text("url.scheme") == "https" || span.text("url.full").starts_with("https:");
        ensure!(https, "{span:?}");
        assert_eq!(span.text("network.protocol.version"), version, "{span:?}");
        ensure!(span.int("network.peer.port").is_some(), "{span:?}");
    }
    for server in &servers {
        let parent = clients.iter().find(|client| client.id == server.parent);
        let parent = parent.with_context(|| format!("no parent of {server:?}"))?;
        assert_eq!(parent.trace, server.trace);
    }
    Ok(())
}

/// Checks curl and nginx over TLS with HTTP/1.1: both ends, one trace; on
/// connections that stay and on new ones.
#[test]
fn curl_to_nginx() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene, "")?;
    let daemon = Daemon::start(&scene)?;
    until_seen(&daemon, &scene, port, "--http1.1")?;
    let url = format!("https://127.0.0.1:{port}");
    curl(
        &scene,
        "--http1.1",
        &format!("{url}/index.html?token=hush[1-50]"),
    )?;
    for number in 0..5 {
        curl(&scene, "--http1.1", &format!("{url}/none/{number}"))?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/index.html", 50, 200, "1.1")?;
    check(&seen, port, "/none/", 5, 404, "1.1")?;
    ensure!(!format!("{seen:?}").contains("hush"), "a query's value");
    Ok(())
}

/// Checks the same with HTTP/2, agreed upon by ALPN.
#[test]
fn curl_to_nginx_with_http2() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene, "http2")?;
    let daemon = Daemon::start(&scene)?;
    until_seen(&daemon, &scene, port, "--http2")?;
    let url = format!("https://127.0.0.1:{port}");
    curl(&scene, "--http2", &format!("{url}/index.html?[1-50]"))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/index.html", 50, 200, "2")
}

/// Checks node's own TLS library, which is part of its executable.
#[test]
fn node() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let (key, certificate) = certificate(&scene)?;
    let mut node = program("node", "nodejs")?;
    node.arg(source("app.js"))
        .args(["0", "0"])
        .arg(key)
        .arg(certificate);
    let port = scene.start_with_port(&mut node)?;
    let daemon = Daemon::start(&scene)?;
    until_seen(&daemon, &scene, port, "--http1.1")?;
    curl(
        &scene,
        "--http1.1",
        &format!("https://127.0.0.1:{port}/x/[1-20]"),
    )?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/x/", 20, 200, "1.1")
}

/// Checks Python's, a shared library that another program has loaded already,
/// as the client.
#[test]
fn python_client() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene, "")?;
    let daemon = Daemon::start(&scene)?;
    until_seen(&daemon, &scene, port, "--http1.1")?;
    let script = format!(
        "import http.client, ssl\n\
         c = http.client.HTTPSConnection('127.0.0.1', {port}, context=ssl._create_unverified_context())\n\
         for n in range(20):\n    c.request('GET', f'/p/{{n}}'); c.getresponse().read()\n"
    );
    scene.run(Command::new("/usr/bin/python3").args(["-c", &script]))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/p/", 20, 404, "1.1")
}
