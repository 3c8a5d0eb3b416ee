//! The PROXY protocol in front of a connection: what follows is followed as the
//! protocol that it is, at both ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use observer_testkit::packages::program;
use observer_testkit::requests::{Attributed, Daemon, Scene, Seen, Span, free_port, kind};

use crate::{nothing_lost, turn};

/// Requests of each kind.
const REQUESTS: usize = 5;

/// The one span of this service and kind whose path is this. (The port isn't known: the
/// head names haproxy's.)
fn at_path<'a>(seen: &'a Seen, service: &str, kind: i32, path: &str) -> Result<&'a Span> {
    let spans = seen.spans.iter().filter(|span| span.path() == path);
    let all: Vec<_> = spans.collect();
    let mut found = all
        .iter()
        .filter(|span| span.kind == kind && span.service == service);
    let first = found.next();
    let first =
        first.with_context(|| format!("no {service} of kind {kind} at {path}: {all:#?}"))?;
    ensure!(found.next().is_none(), "several at {path}: {all:#?}");
    Ok(first)
}

/// Starts haproxy with these settings.
fn haproxy(scene: &mut Scene, settings: &str, port: u16) -> Result<()> {
    let file = scene.folder().join("haproxy.cfg");
    let all = format!(
        "global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{settings}\n"
    );
    std::fs::write(&file, all)?;
    let mut haproxy = program("haproxy", "haproxy")?;
    haproxy.arg("-db").arg("-f").arg(&file);
    scene.start(&mut haproxy)?;
    scene.wait_until("haproxy", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
}

/// Checks haproxy that sends PROXY headers of both versions before HTTP/1.1 and HTTP/2
/// to nginx, and a client that sends one in a segment of its own, against nginx's log:
/// each request is a span at either end, with the address of the client that the
/// header names at nginx.
#[test]
fn haproxy_to_nginx() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let log = scene.folder().join("access");
    let (plain, streams) = (free_port()?, free_port()?);
    let http = format!(
        "log_format brief '$proxy_protocol_addr $request_uri $status $server_protocol';
         server {{ listen 127.0.0.1:{plain} proxy_protocol;
           listen 127.0.0.1:{streams} proxy_protocol http2;
           access_log {} brief; location / {{ return 204; }} }}",
        log.display()
    );
    scene.nginx("worker_processes 1;", &http, plain)?;
    // By name: what haproxy speaks, to whom, and how.
    let kinds = [
        ("http-v1", "http", "send-proxy", plain, "--http1.1"),
        ("http-v2", "http", "send-proxy-v2", plain, "--http1.1"),
        ("tcp-v1", "tcp", "send-proxy", plain, "--http1.1"),
        ("tcp-v2", "tcp", "send-proxy-v2", plain, "--http1.1"),
        (
            "h2-v1",
            "tcp",
            "send-proxy",
            streams,
            "--http2-prior-knowledge",
        ),
        (
            "h2-v2",
            "tcp",
            "send-proxy-v2",
            streams,
            "--http2-prior-knowledge",
        ),
    ];
    let mut settings = String::new();
    let mut fronts = Vec::new();
    for (name, mode, how, port, _) in kinds {
        let front = free_port()?;
        settings += &format!(
            "listen {name}\n  mode {mode}\n  bind 127.0.0.1:{front}\n  server one 127.0.0.1:{port} {how}\n"
        );
        fronts.push(front);
    }
    let last = *fronts.last().context("a port")?;
    haproxy(&mut scene, &settings, last)?;
    let daemon = Daemon::start(&scene)?;
    for ((name, _, _, _, version), front) in kinds.iter().zip(&fronts) {
        for number in 0..REQUESTS {
            let mut curl = program("curl", "curl")?;
            curl.args(["-s", "-S", "-f", "-o", "/dev/null", version]);
            // Not the address from which haproxy connects.
            curl.args(["--interface", "127.0.0.9"]);
            curl.arg(format!("http://127.0.0.1:{front}/{name}/{number}"));
            scene.run(&mut curl)?;
        }
    }
    let alone: [&[u8]; 2] = [
        b"PROXY TCP4 192.0.2.7 192.0.2.8 56324 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x08\xdc\x04\0\x50",
    ];
    for (number, header) in alone.iter().enumerate() {
        let mut raw = TcpStream::connect(("127.0.0.1", plain))?;
        raw.set_nodelay(true)?;
        raw.write_all(header)?;
        // nginx reads what there is.
        std::thread::sleep(std::time::Duration::from_millis(200));
        write!(
            raw,
            "GET /alone/{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )?;
        raw.read_to_end(&mut Vec::new())?;
    }
    let seen = daemon.finish()?;
    nothing_lost(&seen)?;
    let logged = std::fs::read_to_string(log)?;
    let mut named = 0;
    for (name, _, _, _, version) in kinds {
        let streams = version != "--http1.1";
        for number in 0..REQUESTS {
            let path = format!("/{name}/{number}");
            let spoken = if streams { "HTTP/2.0" } else { "HTTP/1.1" };
            let line = format!("127.0.0.9 {path} 204 {spoken}");
            ensure!(logged.lines().any(|it| it == line), "no {line} in {logged}");
            let server = at_path(&seen, "nginx", kind::SERVER, &path)?;
            let client = at_path(&seen, "haproxy", kind::CLIENT, &path)?;
            let version = if streams { "2" } else { "1.1" };
            for span in [server, client, at_path(&seen, "curl", kind::CLIENT, &path)?] {
                assert_eq!(span.int("http.response.status_code"), Some(204), "{span:?}");
                assert_eq!(span.text("network.protocol.version"), version);
            }
            assert_eq!(server.parent, client.id, "{server:?} {client:?}");
            assert_eq!(server.text("network.peer.address"), "127.0.0.1");
            // nginx may have read the header before the request came.
            let told = server.text("client.address");
            ensure!(["127.0.0.9", "127.0.0.1"].contains(&told), "{server:?}");
            named += usize::from(told == "127.0.0.9");
        }
    }
    ensure!(named > 0, "no client named: {:#?}", seen.spans);
    for number in 0..alone.len() {
        let path = format!("/alone/{number}");
        ensure!(
            logged.contains(&format!("192.0.2.7 {path} 204")),
            "{logged}"
        );
        let server = at_path(&seen, "nginx", kind::SERVER, &path)?;
        assert_eq!(server.int("http.response.status_code"), Some(204));
    }
    Ok(())
}
