//! Requests inside of TLS, from the libraries' own calls.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use observer_testkit::chain::{compile, source};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, Span, free_port, kind};

use crate::{nothing_lost, turn};

/// A key and a certificate for it that nobody has signed.
pub fn certificate(scene: &Scene) -> Result<(PathBuf, PathBuf)> {
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

pub fn nginx(scene: &mut Scene, options: &str) -> Result<u16> {
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
pub fn until_seen(daemon: &Daemon, scene: &Scene, port: u16, version: &str) -> Result<()> {
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

/// A script in Python, run to its end.
fn python(scene: &Scene, script: &str) -> Result<()> {
    scene
        .run(Command::new("/usr/bin/python3").args(["-c", script]))
        .map(drop)
}

/// Checks a program that contains its library, and is begun when the daemon has
/// seen it for the first time.
#[test]
fn contained_library() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene, "")?;
    let libraries = ["-l:libssl.a", "-l:libcrypto.a", "-ldl", "-lpthread"];
    let compiler = program("cc", "libssl-dev")?;
    let client = compile(compiler, scene.folder(), "https", "https.c", &libraries);
    let ask = |path: &str, count: &str| {
        let mut command = Command::new(&client);
        scene.run(command.args([&port.to_string(), path, count]))
    };
    let daemon = Daemon::start(&scene)?;
    let both = |seen: &Seen| {
        [kind::SERVER, kind::CLIENT]
            .iter()
            .all(|kind| !with_path(seen, *kind, port, "/warm").is_empty())
    };
    daemon.wait_until(both, || ask("/warm", "2").map(drop))?;
    for run in 0..3 {
        ask(&format!("/contained/{run}/"), "10")?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/contained/", 30, 404, "1.1")
}

/// Checks programs that hand the library its records themselves: node as a
/// client, and Python's asyncio.
#[test]
fn without_sockets() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene, "")?;
    let daemon = Daemon::start(&scene)?;
    let asyncio = |path: &str, count: u32| {
        let script = format!(
            "import asyncio, ssl\n\
             async def one(n):\n\
             \x20   r, w = await asyncio.open_connection('127.0.0.1', {port}, ssl=ssl._create_unverified_context())\n\
             \x20   for i in range(5):\n\
             \x20       w.write(f'GET {path}{{n}}/{{i}} HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n'.encode())\n\
             \x20       head = await r.readuntil(b'\\r\\n\\r\\n')\n\
             \x20       await r.readexactly(int(head.split(b'Content-Length: ')[1].split(b'\\r')[0]))\n\
             \x20   w.close()\n\
             async def main():\n\
             \x20   await asyncio.gather(*(one(n) for n in range({count})))\n\
             asyncio.run(main())\n"
        );
        python(&scene, &script)
    };
    let node = |path: &str, count: u32| {
        let script = format!(
            "const https = require('https');\n\
             const agent = new https.Agent({{keepAlive: true, rejectUnauthorized: false, maxSockets: 4}});\n\
             let left = {count};\n\
             for (let n = 0; n < {count}; n++)\n\
             \x20 https.get({{host: '127.0.0.1', port: {port}, path: '{path}' + n, agent}}, r => {{\n\
             \x20   r.resume();\n\
             \x20   r.on('end', () => {{ if (--left === 0) agent.destroy(); }});\n\
             \x20 }});\n"
        );
        let mut node = program("node", "nodejs")?;
        scene.run(node.args(["-e", &script])).map(drop)
    };
    for path in ["/warm/asyncio/", "/warm/node/"] {
        let both = |seen: &Seen| {
            [kind::SERVER, kind::CLIENT]
                .iter()
                .all(|kind| !with_path(seen, *kind, port, path).is_empty())
        };
        daemon.wait_until(both, || match path {
            "/warm/node/" => node(path, 2),
            _ => asyncio(path, 1),
        })?;
    }
    asyncio("/asyncio/", 8)?;
    node("/node/", 40)?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/asyncio/", 40, 404, "1.1")?;
    check(&seen, port, "/node/", 40, 404, "1.1")
}

/// Checks that a connection that is older than the daemon is taken up, and
/// nothing is seen twice: both ends, of a library whose handshake nobody saw.
#[test]
fn older_connection() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let port = nginx(&mut scene, "")?;
    let (go, ready) = (scene.folder().join("go"), scene.folder().join("ready"));
    let script = format!(
        "import http.client, os, ssl, time\n\
         c = http.client.HTTPSConnection('127.0.0.1', {port}, context=ssl._create_unverified_context())\n\
         n = 0\n\
         while not os.path.exists('{}'):\n\
         \x20   c.request('GET', f'/before/{{n}}'); c.getresponse().read(); n += 1\n\
         \x20   open('{}', 'w').close()\n\
         \x20   time.sleep(0.05)\n\
         for n in range(20):\n\
         \x20   c.request('GET', f'/older/{{n}}'); c.getresponse().read()\n\
         time.sleep(60)\n",
        go.display(),
        ready.display()
    );
    scene.start(Command::new("/usr/bin/python3").args(["-c", &script]))?;
    scene.wait_until("the client", || ready.exists())?;
    let daemon = Daemon::start(&scene)?;
    let both = |seen: &Seen| {
        [kind::SERVER, kind::CLIENT]
            .iter()
            .all(|kind| !with_path(seen, *kind, port, "/before/").is_empty())
    };
    daemon.wait_until(both, || Ok(()))?;
    std::fs::write(&go, "")?;
    let all = |seen: &Seen| {
        [kind::SERVER, kind::CLIENT]
            .iter()
            .all(|kind| with_path(seen, *kind, port, "/older/").len() >= 20)
    };
    daemon.wait_until(all, || Ok(()))?;
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    check(&seen, port, "/older/", 20, 404, "1.1")
}

/// Checks PostgreSQL, whose connections turn to TLS when both ends have agreed:
/// statements on both ends, joined, without their literals.
#[test]
fn postgres() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let postgres = scene.postgres()?;
    let (key, certificate) = certificate(&scene)?;
    let user = nix::unistd::User::from_name("postgres")?.context("no user postgres")?;
    nix::unistd::chown(&key, Some(user.uid), Some(user.gid))?;
    let mut settings = postgres.client("psql");
    settings.args([
        "-c",
        &format!("alter system set ssl_key_file = '{}'", key.display()),
    ]);
    settings.args([
        "-c",
        &format!(
            "alter system set ssl_cert_file = '{}'",
            certificate.display()
        ),
    ]);
    settings.args(["-c", "alter system set ssl = on"]);
    settings.args(["-c", "select pg_reload_conf()"]);
    scene.run(&mut settings)?;
    let psql = |statement: &str| {
        let mut psql = postgres.client("psql");
        psql.env("PGSSLMODE", "require").args(["-c", statement]);
        psql
    };
    scene.wait_until("TLS", || {
        let mut psql = psql("select 1");
        let psql = psql.stdout(Stdio::null()).stderr(Stdio::null());
        psql.status().is_ok_and(|status| status.success())
    })?;
    let daemon = Daemon::start(&scene)?;
    let count = |seen: &Seen, kind: i32, table: &str| {
        let spans = seen.of(kind, postgres.port);
        let is_it = |span: &&&Span| span.text("db.collection.name") == table;
        spans.iter().filter(is_it).count()
    };
    let both = |seen: &Seen| {
        [kind::SERVER, kind::CLIENT]
            .iter()
            .all(|kind| count(seen, *kind, "t0") > 0)
    };
    daemon.wait_until(both, || {
        scene
            .run(&mut psql("select v from t0 where v = 'hush'"))
            .map(drop)
    })?;
    for _ in 0..5 {
        scene.run(&mut psql("select v from t3 where v = 'hush'"))?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    for kind in [kind::SERVER, kind::CLIENT] {
        assert_eq!(count(&seen, kind, "t3"), 5, "kind {kind}");
    }
    let clients = seen.of(kind::CLIENT, postgres.port);
    for server in seen.of(kind::SERVER, postgres.port) {
        let parent = clients.iter().any(|client| client.id == server.parent);
        ensure!(parent, "{server:?}");
    }
    ensure!(!format!("{seen:?}").contains("hush"), "a literal");
    Ok(())
}
