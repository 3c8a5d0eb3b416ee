//! Whatever others send: the daemon lives, stays small, and takes nobody for
//! somebody else.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use observer_testkit::daemon::resident;
use observer_testkit::requests::{Attributed, Daemon, Scene, free_port, kind};

use crate::{counts, nothing_lost, turn};

/// Connections at once.
const MANY: usize = 10_000;

/// Bytes of `GET `.
const METHOD: usize = 4;

/// The daemon may have grown by so much, in MB.
const GROWTH: f64 = 100.0;

/// Checks 10,000 connections at once, each with two requests of its own: each
/// request is on its connection, and the daemon stays small.
#[test]
fn many_connections() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard > MANY as u64 + 1000, "at most {hard} open files");
    // nginx inherits it.
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut scene = Scene::new()?;
    let port = free_port()?;
    let http = format!("server {{ listen 127.0.0.1:{port} backlog=4096; return 204; }}");
    scene.nginx("worker_processes 2;", &http, port)?;
    let daemon = Daemon::start(&scene)?;
    let (before, _) = resident(daemon.pid())?;
    let mut connections = Vec::new();
    for _ in 0..MANY {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        connections.push(stream);
    }
    let mut expected = HashMap::new();
    for round in 0..2 {
        for (number, stream) in connections.iter_mut().enumerate() {
            let path = format!("/c/{round}/{number}");
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            )?;
            expected.insert(path, i64::from(stream.local_addr()?.port()));
        }
        for stream in &mut connections {
            let mut answer = Vec::new();
            let mut buffer = [0; 512];
            while !answer.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut buffer)?;
                ensure!(n > 0, "nginx hung up");
                answer.extend_from_slice(&buffer[..n]);
            }
        }
    }
    let (_, peak) = resident(daemon.pid())?;
    drop(connections);
    let seen = daemon.finish()?;
    eprintln!("resident: {before:.0} MB before, {peak:.0} MB at most");
    nothing_lost(&seen)?;
    let spans = seen.of(kind::SERVER, port);
    assert_eq!(spans.len(), 2 * MANY);
    for span in spans {
        let peer = expected
            .remove(span.path())
            .context("an unknown path, or twice")?;
        ensure!(
            span.int("network.peer.port") == Some(peer),
            "{span:?} was from {peer}"
        );
    }
    ensure!(peak - before < GROWTH, "{peak} MB");
    Ok(())
}

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll() as u8).collect()
    }
}

/// How messages of all protocols begin.
const BEGINNINGS: &[&[u8]] = &[
    b"GET /",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\xff\xff\xff\x01\x05\0\0\0\x01",
    b"\0\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
    b"\0\0\0\x29\0\x03\0\0user\0postgres\0\0Q\0\0\0\x20SELECT",
    b"Q\0\0\0\x0bSELECT",
    b"P\x7f\xff\xff\xff",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$999999999\r\n",
    b"*1000000000\r\n*1000000000\r\n*1000000000\r\n",
    b"+OK\r\n-ERR\r\n:1\r\n",
    b"\x03\0\0\0\x03SELECT",
    b"J\0\0\0\x0a8.0.30\0",
    b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01",
    b"\0\x1d\x12\x34\x01\0\0\x01\xff\xff\0\0\0\0\xc0\x0c\xc0\x0c",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
];

/// Sends the bytes in pieces and hangs up; reads nothing, or a little.
fn send(port: u16, bytes: &[u8], dice: &mut Dice) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = (dice.roll() as usize % rest.len().min(5000)) + 1;
        // The server may have had enough.
        if stream.write_all(&rest[..length]).is_err() {
            return Ok(());
        }
        rest = &rest[length..];
    }
    if dice.roll().is_multiple_of(2) {
        let _ = stream.shutdown(Shutdown::Write);
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Says back what it is told.
const ECHO: &str = "
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except OSError:
            pass
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1000
    daemon_threads = True
server = Server(('127.0.0.1', 0), Echo)
print(server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
";

/// Checks that garbage, cut, giant and interleaved messages in the clothes of
/// each protocol, to a web server and to one that says them back, take nothing
/// from good requests beside them: those are all there, on their connections.
#[test]
fn garbage() -> Result<()> {
    let Some(_turn) = turn() else { return Ok(()) };
    let mut scene = Scene::new()?;
    let echo = scene.start_with_port(Command::new("/usr/bin/python3").args(["-c", ECHO]))?;
    let nginx = free_port()?;
    let http = format!("server {{ listen 127.0.0.1:{nginx}; return 204; }}");
    scene.nginx("worker_processes 1;", &http, nginx)?;
    let port = scene.observer_server(None)?;
    let own = port;
    let daemon = Daemon::start(&scene)?;
    let (before, _) = resident(daemon.pid())?;
    let good = std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            scene.load(
                own,
                &["--requests", "3000", "--rate", "800", "--path", "/good/{}"],
            )
        });
        let mut dice = Dice(7);
        for round in 0..25 {
            for beginning in BEGINNINGS {
                for port in [echo, nginx, own] {
                    let more = match round % 4 {
                        0 => 0,
                        1 => 40,
                        2 => 3000,
                        _ => 100_000,
                    };
                    let mut bytes = beginning.to_vec();
                    bytes.extend(dice.bytes(more));
                    // Some cut anywhere.
                    if round % 5 == 4 {
                        bytes.truncate(dice.roll() as usize % beginning.len() + 1);
                    }
                    send(port, &bytes, &mut dice)?;
                }
            }
        }
        Ok::<_, anyhow::Error>(good.join())
    })?;
    let good = good.ok().context("a thread panicked")??;
    // Giant heads, and requests that come a byte at a time and by turns.
    let mut giant = TcpStream::connect(("127.0.0.1", own))?;
    let filler = format!("X-Filler: {}\r\n", "y".repeat(4000)).repeat(50);
    write!(
        giant,
        "GET /giant HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{filler}\r\n"
    )?;
    ensure!(giant.read(&mut [0; 1024])? > 0, "no answer");
    write!(
        giant,
        "GET /after HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    )?;
    ensure!(giant.read(&mut [0; 1024])? > 0, "no answer");
    let mut slow = Vec::new();
    for number in 0..20 {
        let stream = TcpStream::connect(("127.0.0.1", own))?;
        stream.set_nodelay(true)?;
        slow.push((
            stream,
            format!("GET /bytes/{number} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"),
        ));
    }
    // Its method comes as one: by less nobody recognises a protocol.
    for (stream, request) in &mut slow {
        stream.write_all(&request.as_bytes()[..METHOD])?;
    }
    for at in METHOD..slow[0].1.len() + 2 {
        for (stream, request) in &mut slow {
            if let Some(byte) = request.as_bytes().get(at) {
                stream.write_all(&[*byte])?;
            }
        }
    }
    let mut peers = HashMap::new();
    for (number, (stream, _)) in slow.iter_mut().enumerate() {
        ensure!(stream.read(&mut [0; 1024])? > 0, "no answer");
        peers.insert(
            format!("/bytes/{number}"),
            i64::from(stream.local_addr()?.port()),
        );
    }
    let (_, peak) = resident(daemon.pid())?;
    let seen = daemon.finish()?;
    eprintln!("resident: {before:.0} MB before, {peak:.0} MB at most");
    // What can't be understood is counted, and nothing else is lost.
    let mut losses = seen.losses();
    let refused = losses.remove("observer.probe.lost requests request_unparsed");
    losses.remove("observer.probe.lost requests request_abandoned");
    // The giant's, and those that end in their midst.
    let partial = losses.remove("observer.probe.lost requests request_head_partial");
    ensure!(partial.is_some(), "all of the giant is known");
    losses.retain(|cause, _| !cause.contains("switch"));
    ensure!(refused.is_some() && losses.is_empty(), "lost: {losses:?}");
    ensure!(peak - before < GROWTH, "{peak} MB");
    let spans = seen.of(kind::SERVER, own);
    for span in &spans {
        if let Some(peer) = peers.remove(span.path()) {
            assert_eq!(span.int("network.peer.port"), Some(peer), "{span:?}");
        }
    }
    ensure!(peers.is_empty(), "not seen: {peers:?}");
    for path in ["/giant", "/after"] {
        let found = spans.iter().filter(|s| s.path() == path).count();
        ensure!(found == 1, "{found} × {path}");
    }
    let good_spans: Vec<_> = spans
        .iter()
        .filter(|s| s.path().starts_with("/good/"))
        .collect();
    let paths = counts(good_spans.iter().map(|s| s.path()));
    ensure!(
        paths.len() == 3000 && good_spans.len() == 3000,
        "{} good paths, {} spans",
        paths.len(),
        good_spans.len()
    );
    ensure!(
        good_spans
            .iter()
            .all(|s| s.int("http.response.status_code") == Some(200))
    );
    let found = counts(
        good_spans
            .iter()
            .map(|s| s.int("network.peer.port").unwrap_or(0)),
    );
    let expected = good["connections"]
        .as_array()
        .context("connections")?
        .iter()
        .map(|c| Some((c["port"].as_i64()?, c["requests"].as_u64()?)));
    assert_eq!(found, expected.collect::<Option<_>>().context("numbers")?);
    Ok(())
}
