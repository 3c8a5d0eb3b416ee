//! What one tenant makes too much of takes nothing from another.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::User;
use observer_testkit::in_time;
use observer_testkit::requests::{Daemon, Scene, Seen, kind};

use crate::{tls, turn};

/// Requests of the service beside the flood, at either end.
const REQUESTS: usize = 400;

/// A service and its client beside another user's program that floods, with the daemon's
/// defaults: all requests are there, under their names, as spans and in the metrics.
fn beside(flood: impl FnOnce(&mut Scene, &User) -> Result<()>) -> Result<Option<Seen>> {
    let Some(_turn) = turn() else { return Ok(None) };
    let nobody = User::from_name("nobody")?.context("a user without privileges")?;
    let mut attacker = Scene::new()?;
    let mut victim = Scene::new()?;
    let daemon = observe(&victim, &attacker)?;
    // One that was there before, and is asked afterwards, too.
    let port = victim.observer_server(None)?;
    let load = ["--connections", "2", "--path", "/work/5?{}", "--requests"];
    let half = (REQUESTS / 2).to_string();
    let load = [&load[..], &[&half]].concat();
    flood(&mut attacker, &nobody)?;
    std::thread::sleep(Duration::from_secs(1));
    victim.load(port, &load)?;
    std::thread::sleep(Duration::from_secs(2));
    // One that begins in the middle of it.
    let late = victim.observer_server(None)?;
    victim.load(late, &load)?;
    let seen = daemon.finish()?;
    eprintln!("lost: {:?}", seen.losses());
    for port in [port, late] {
        for (side, service) in [
            (kind::SERVER, "observer-server"),
            (kind::CLIENT, "observer-load"),
        ] {
            let spans = seen.of(side, port);
            let named = spans.iter().filter(|span| span.service == service).count();
            eprintln!("{port} {service}: {} spans, {named} named", spans.len());
            in_time!(
                named == REQUESTS / 2 && named == spans.len(),
                "{service}: {} spans of {}, {named} of them under its name",
                spans.len(),
                REQUESTS / 2
            );
        }
    }
    for (metric, service) in [
        ("http.server.request.duration", "observer-server"),
        ("http.client.request.duration", "observer-load"),
    ] {
        let counted = seen.sum(metric, service, &[]);
        ensure!(
            counted == REQUESTS as u64,
            "{metric}: {counted} of {REQUESTS}"
        );
    }
    Ok(Some(seen))
}

/// Starts floods of these kinds, for so long as the rest takes.
fn floods(kinds: &'static [&str]) -> impl FnOnce(&mut Scene, &User) -> Result<()> {
    move |attacker, nobody| {
        for kind in kinds {
            let mut command: Command = attacker.own("observer-flood")?;
            attacker.start_as(command.args([kind, "12"]), Some(nobody))?;
        }
        Ok(())
    }
}

/// How often the flood's user found no room in a table; an error if anybody else did.
fn theirs(seen: &Seen, table: &str) -> Result<f64> {
    let refused = |with: &[(&str, &str)]| seen.sum_of("observer.tenant.refused", None, with);
    let table = ("observer.table", table);
    let all = refused(&[table]);
    let theirs = refused(&[table, ("observer.tenant", "user 65534")]);
    ensure!(all == theirs, "{all} were refused, {theirs} of the flood");
    Ok(theirs)
}

/// A daemon with its defaults that observes both.
fn observe(victim: &Scene, attacker: &Scene) -> Result<Daemon> {
    let cgroups = [victim.cgroup(), attacker.cgroup()];
    let cgroups = cgroups.map(|cgroup| cgroup.to_string_lossy().into_owned());
    let [victim, attacker] = &cgroups;
    Daemon::start_plain(
        "always_on",
        &["--interval", "2s", "--cgroup", victim, "--cgroup", attacker],
    )
}

/// Checks a service beside a server of which each request is another operation, and that
/// what is left out, as the daemon can't keep up, is the server's user's.
#[test]
fn paths() -> Result<()> {
    let Some(seen) = beside(floods(&["paths"]))? else {
        return Ok(());
    };
    theirs(&seen, "request_ring").map(drop)
}

/// A client that asks on one connection, half of it after it was told to go on.
const CLIENT: &str = r#"
import http.client, ssl, sys
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=context)
for n in range(int(sys.argv[2])):
    connection.request("GET", f"/half?{n}")
    connection.getresponse().read()
    if n == 0:
        print("begun", flush=True)
        sys.stdin.readline()
"#;

/// Sessions of both ends in one process, each with a request that gets no answer.
const SESSIONS: &str = r#"
import resource, socket, ssl, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(sys.argv[2], sys.argv[1])
client = ssl._create_unverified_context()
kept = []
for n in range(int(sys.argv[3])):
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    ends = [
        client.wrap_socket(left, do_handshake_on_connect=False),
        server.wrap_socket(right, server_side=True, do_handshake_on_connect=False),
    ]
    done = [False, False]
    while not all(done):
        for which, end in enumerate(ends):
            try:
                end.do_handshake()
                done[which] = True
            except ssl.SSLWantReadError:
                pass
    ends[0].send(f"GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    ends[1].recv(1000)
    kept.append(ends)
print(len(kept), flush=True)
time.sleep(60)
"#;

/// Checks a connection with TLS that pauses while another user begins handshakes on 24,000.
#[test]
fn handshakes() -> Result<()> {
    let seen = beside_tls(|attacker, nobody| {
        let mut flooding = attacker.own("observer-flood")?;
        attacker.start_as(flooding.args(["handshakes", "6"]), Some(nobody))?;
        std::thread::sleep(Duration::from_secs(7));
        Ok(())
    })?;
    was_flood(seen)
}

/// Checks a connection with TLS that pauses while another user has 20,000 sessions.
#[test]
fn sessions() -> Result<()> {
    let seen = beside_tls(|attacker, nobody| {
        let (key, certificate) = tls::certificate(attacker)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&key, readable)?;
        let file = attacker.folder().join("sessions.py");
        std::fs::write(&file, SESSIONS)?;
        // As many as a process may have open, at both ends; all stay until the client is done.
        for _ in 0..3 {
            let mut python = Command::new("python3");
            python.arg(&file).args([&key, &certificate]).arg("3000");
            let python = python.stdin(Stdio::null()).stdout(Stdio::piped());
            let mut flooding = attacker.join_as(python, Some(nobody))?.spawn()?;
            let mut line = String::new();
            let output = flooding.stdout.take().context("a pipe")?;
            BufReader::new(output).read_line(&mut line)?;
            ensure!(line == "3000\n", "the flood failed: {line:?}");
        }
        Ok(())
    })?;
    was_flood(seen)
}

/// Fails unless the flood's user, and nobody else, had too many TLS connections.
fn was_flood(seen: Option<Seen>) -> Result<()> {
    let Some(seen) = seen else { return Ok(()) };
    let refused = theirs(&seen, "tls_sessions")?;
    ensure!(refused > 0.0, "it was no flood");
    Ok(())
}

/// A client that asks on one connection before and after a flood, all of whose requests
/// are there at both ends.
fn beside_tls(flood: impl FnOnce(&mut Scene, &User) -> Result<()>) -> Result<Option<Seen>> {
    const ASKED: usize = 100;
    let Some(_turn) = turn() else { return Ok(None) };
    let nobody = User::from_name("nobody")?.context("a user without privileges")?;
    let mut attacker = Scene::new()?;
    let mut victim = Scene::new()?;
    let port = tls::nginx(&mut victim, "")?;
    let daemon = observe(&victim, &attacker)?;
    tls::until_seen(&daemon, &victim, port, "--http1.1")?;
    let file = victim.folder().join("client.py");
    std::fs::write(&file, CLIENT)?;
    let mut python = Command::new("python3");
    python
        .arg(&file)
        .args([port.to_string(), ASKED.to_string()]);
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = victim.join(&mut python)?.spawn()?;
    let mut begun = String::new();
    let output = client.stdout.take().context("a pipe")?;
    BufReader::new(output).read_line(&mut begun)?;
    flood(&mut attacker, &nobody)?;
    drop(client.stdin.take());
    ensure!(client.wait()?.success(), "the client failed");
    let seen = daemon.finish()?;
    eprintln!("lost: {:?}", seen.losses());
    for side in [kind::SERVER, kind::CLIENT] {
        let spans = seen.of(side, port);
        let asked = spans.iter().filter(|span| span.path() == "/half");
        let asked = asked.count();
        ensure!(asked == ASKED, "{asked} spans of {ASKED}");
    }
    Ok(Some(seen))
}

/// Checks a service beside 12,000 connections on which nothing is said, as many on which
/// TLS or a request begins and doesn't go on, a server of which each request is another
/// operation, somebody who asks for ever other names, and threads that wait in ever other
/// callers, all at once.
#[test]
fn all_at_once() -> Result<()> {
    const KINDS: &[&str] = &[
        "connections",
        "handshakes",
        "heads",
        "paths",
        "questions",
        "stacks",
    ];
    let Some(seen) = beside(floods(KINDS))? else {
        return Ok(());
    };
    for table in ["request_ring", "tls_sessions"] {
        theirs(&seen, table)?;
    }
    Ok(())
}
